"""A sample of a text is of the whole text, and what stands before a piece sets its state."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from isslim.compress.kinds.language.activations import UNSEEN_SHARE, collect_activations
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.training.evaluation import log_probs
from isslim.compress.statistics.pieces import (
    MAX_PIECES,
    WARM,
    Pieces,
    pieces_between,
    spread_pieces,
)
from tests.conftest import Trained


@pytest.mark.parametrize("size", [2, 99, 150, 964, 5000, 12_345, 200_000])
@pytest.mark.parametrize("count", [100, 2000, 10_000, 1_000_000])
def test_pieces_are_stretches_of_the_text_from_its_beginning_to_its_end(
    size: int, count: int
) -> None:
    found = spread_pieces(torch.arange(size), count)
    assert (found.rows.diff(dim=0) == 1).all()
    judged = found.flat
    assert len(judged) == found.count == len(set(judged.tolist()))  # none twice
    assert judged.tolist() == sorted(judged.tolist())
    assert found.count <= count
    if found.rows.shape[1] > 1:
        assert int(judged[0]) == found.warm <= WARM
        assert int(judged[-1]) == size - 1
    if count >= size:
        assert found.count > size - found.warm - MAX_PIECES
    assert found.rows.shape[1] <= MAX_PIECES


def test_text_of_one_token_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        spread_pieces(torch.zeros(1, dtype=torch.int64), 100)


@torch.no_grad()
def slowly(network: LanguageModel, pieces: Pieces) -> list[float]:
    """Log-probabilities of what is looked at, piece by piece and token by token."""
    found = []
    for piece in pieces.rows.t().tolist():
        state = network.zero_state(1)
        for step, (token, after) in enumerate(pairwise(piece), start=1):
            logits, state = network(torch.tensor([[token]]), state)
            if step >= pieces.warm:
                found.append(float(logits.flatten().double().log_softmax(0)[after]))
    return found


def test_log_probabilities_are_those_of_one_piece_after_the_other(trained: Trained) -> None:
    tokens = torch.randint(25, (700,), generator=torch.Generator().manual_seed(0))
    pieces = spread_pieces(tokens, 300)
    np.testing.assert_allclose(
        log_probs(trained.network, pieces), slowly(trained.network, pieces), atol=1e-5
    )  # float32


def test_warm_up_is_not_observed(trained: Trained) -> None:
    tokens = torch.arange(25).repeat(40)
    pieces = spread_pieces(tokens, 600)
    alone = Pieces(pieces.rows[pieces.warm :], 0)
    found, cold = (
        collect_activations(trained.network, pieces),
        collect_activations(trained.network, alone),
    )
    assert found.tokens == cold.tokens == pieces.count
    embedded = "layers.0"
    size = trained.network.declaration().axes["embedding"]
    for one, other in ((found, cold),):
        ours, theirs = (each.moments[embedded].mean[:size] for each in (one, other))
        np.testing.assert_allclose(ours, theirs, atol=1e-6)  # the same tokens; float32 sums
    assert not np.allclose(
        found.moments[embedded].mean[size:], cold.moments[embedded].mean[size:], atol=1e-3
    )


def test_tokens_that_the_text_lacks_are_observed_a_little(trained: Trained) -> None:
    tokens = torch.arange(20).repeat(100)  # 5 of the 25 tokens are not there
    found = collect_activations(trained.network, tokens)
    count = found.moments["layers.0"].count
    assert len(tokens) < count <= (1 + UNSEEN_SHARE) * len(tokens)
    assert found.frequencies is not None
    assert found.frequencies.tolist() == [100] * 20 + [0] * 5
    size = trained.network.declaration().axes["embedding"]
    weights = trained.network.arrays()["embedding.weight"].astype(np.float64)
    seen = weights[:20]
    expected = 100 * seen.T @ seen + (count - 2000) / 5 * weights[20:].T @ weights[20:]
    np.testing.assert_allclose(
        found.moments["layers.0"].second[:size, :size] * count, expected, atol=1e-2
    )  # float32


def test_frequencies_are_those_of_the_whole_text(trained: Trained) -> None:
    tokens = torch.arange(24).repeat_interleave(200)
    found = collect_activations(trained.network, spread_pieces(tokens, 500), whole=tokens)
    assert found.frequencies is not None
    assert found.frequencies.tolist() == [200] * 24 + [0]


@pytest.mark.parametrize(("length", "taken"), [(20_000, 5000), (9000, 4000), (60_000, 20_000)])
def test_pieces_between_share_no_token_with_those_that_were_taken(length: int, taken: int) -> None:
    text = torch.arange(length)
    own, found = spread_pieces(text, taken), pieces_between(text, taken, 2000)
    assert found is not None
    assert not set(found.flat.tolist()) & set(own.flat.tolist())
    assert 1000 <= found.count <= 2100
    assert (found.rows[1:] - found.rows[:-1] == 1).all()  # in the order of the text
    assert len(set(found.flat.tolist())) == found.count


@pytest.mark.parametrize(("length", "taken"), [(2100, 2000), (4000, 4000), (300, 250)])
def test_too_little_between_pieces_is_none(length: int, taken: int) -> None:
    assert pieces_between(torch.arange(length), taken, 2000) is None

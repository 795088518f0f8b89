"""The loss of predictions against the divergence that it estimates, computed in full."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from isslim.compress.kinds.language import probing
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.probing import DRAWN, PredictionLoss
from isslim.compress.statistics.pieces import Pieces, spread_pieces

VOCABULARY = 30
TEXT = torch.randint(VOCABULARY, (1500,), generator=torch.Generator().manual_seed(5))


def drawn(seed: int, scale: float = 0.6) -> LstmLanguageModel:
    network = LstmLanguageModel(LstmSpec(VOCABULARY, 8, (10,)))
    network.initialise(scale, torch.Generator().manual_seed(seed))
    return network.eval()


def disturbed(network: LstmLanguageModel, by: float) -> LstmLanguageModel:
    generator = np.random.default_rng(0)
    return network.rebuilt(
        {
            name: (array + by * generator.normal(size=array.shape)).astype(np.float32)
            for name, array in network.arrays().items()
        }
    )


@torch.no_grad()
def divergence(one: LstmLanguageModel, other: LstmLanguageModel, pieces: Pieces) -> float:
    """The slow way: a token at a time, over the whole vocabulary."""
    total, count = 0.0, 0
    for column in pieces.rows.t():
        states = [network.zero_state(1) for network in (one, other)]
        for place, token in enumerate(column[:-1]):
            logs = []
            for index, network in enumerate((one, other)):
                logits, states[index] = network(token.view(1, 1), states[index])
                logs.append(logits.double().log_softmax(-1).flatten())
            if place >= pieces.warm - 1:
                total += float((logs[0].exp() * (logs[0] - logs[1])).sum())
                count += 1
    return total / count


@pytest.mark.parametrize("by", [0.005, 0.02, 0.2])
def test_it_estimates_the_divergence_of_predictions(by: float) -> None:
    original, pieces = drawn(1), spread_pieces(TEXT, 600)
    other = disturbed(original, by)
    expected = divergence(original, other, pieces)
    assert PredictionLoss(original, pieces, 0).of(other) == pytest.approx(expected, rel=0.05)


def test_the_original_loses_nothing_and_the_same_tokens_are_drawn_again() -> None:
    original, pieces = drawn(1), spread_pieces(TEXT, 600)
    loss, other = PredictionLoss(original, pieces, 0), disturbed(original, 0.1)
    assert loss.of(original) == pytest.approx(0.0, abs=1e-9)
    assert loss.of(other) == loss.of(other) == PredictionLoss(original, pieces, 0).of(other)
    assert loss.of(other) != PredictionLoss(original, pieces, 1).of(other)


def test_passes_of_a_few_steps_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    original, pieces = drawn(1), spread_pieces(TEXT, 600)
    other = disturbed(original, 0.1)
    whole = PredictionLoss(original, pieces, 0).of(other)
    monkeypatch.setattr(probing, "ENTRIES", 7 * VOCABULARY * pieces.rows.shape[1])
    parts = PredictionLoss(original, pieces, 0)
    assert [len(tokens) for tokens, _ in parts._drawn] == [7] * 7 + [1]
    assert sum(tokens.numel() for tokens, _ in parts._drawn) == DRAWN * pieces.count
    assert parts.of(original) == pytest.approx(0.0, abs=1e-9)
    assert parts.of(other) == pytest.approx(whole, rel=0.1)

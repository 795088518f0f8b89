"""The basis of a linear axis: the function stays, and the best of every width comes first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from isslim.compress.kinds.language.activations import collect_activations
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.gru import GruLanguageModel, GruSpec
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.networks.rhn import RhnLanguageModel, RhnSpec
from isslim.compress.kinds.language.training.evaluation import perplexity
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import AxisMismatch, NetworkAxes
from isslim.compress.pruning.ranking import prune, rank_components
from isslim.compress.pruning.rotation import linear_axes, principal_axes, rotate, rotated_moments
from tests.conftest import WORDS, Trained

LINEAR: dict[str, LanguageModel] = {
    "lstm": LstmLanguageModel(LstmSpec(13, 6, (8, 5))),
    "gru": GruLanguageModel(GruSpec(13, 6, (8, 5))),
    "rhn": RhnLanguageModel(RhnSpec(13, 6, 8, 2)),
}
TIED: dict[str, LanguageModel] = {
    "lstm": LstmLanguageModel(LstmSpec(13, 5, (8, 5), tied=True)),
    "gru": GruLanguageModel(GruSpec(13, 5, (8, 5), tied=True)),
    "rhn": RhnLanguageModel(RhnSpec(13, 8, 8, 2, tied=True)),
}


def orthogonal(size: int) -> NDArray[np.float64]:
    basis, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(size, size)))
    return basis  # type: ignore[no-any-return]


def drawn(network: LanguageModel) -> LanguageModel:
    network.initialise(0.6, torch.Generator().manual_seed(3))
    return network.eval()


@torch.no_grad()
def log_probs(network: LanguageModel, tokens: torch.Tensor) -> NDArray[np.float32]:
    state, found = network.zero_state(tokens.shape[1]), []
    for start in range(0, len(tokens), 5):
        logits, state = network(tokens[start : start + 5], state)
        found.append(logits.log_softmax(-1))
    return torch.cat(found).numpy()


@pytest.mark.parametrize("name", LINEAR)
def test_rotation_keeps_the_function_with_carried_state(name: str) -> None:
    network = drawn(LINEAR[name])
    tokens = torch.randint(13, (20, 3), generator=torch.Generator().manual_seed(1))
    turned = network.rebuilt(
        rotate(network.arrays(), network.declaration(), "embedding", orthogonal(6))
    )
    assert not np.allclose(
        turned.arrays()["embedding.weight"], network.arrays()["embedding.weight"], atol=0.1
    )
    np.testing.assert_allclose(
        log_probs(turned, tokens), log_probs(network, tokens), rtol=0, atol=1e-5
    )


def test_only_an_untied_embedding_is_linear() -> None:
    assert all(linear_axes(network.declaration()) == ["embedding"] for network in LINEAR.values())
    assert all(linear_axes(network.declaration()) == [] for network in TIED.values())


@pytest.mark.parametrize("name", LINEAR)
def test_moments_of_the_rotated_network_are_those_that_it_is_observed_to_have(name: str) -> None:
    network = drawn(LINEAR[name])
    declaration, basis = network.declaration(), orthogonal(6)
    tokens = torch.randint(13, (600,), generator=torch.Generator().manual_seed(1))
    turned = network.rebuilt(rotate(network.arrays(), declaration, "embedding", basis))
    found = rotated_moments(
        collect_activations(network, tokens).moments, declaration, "embedding", basis
    )
    for site, expected in collect_activations(turned, tokens).moments.items():
        np.testing.assert_allclose(found[site].mean, expected.mean, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found[site].second, expected.second, rtol=0, atol=1e-5)


def test_first_columns_lose_no_more_than_any_other_basis_at_every_width() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(4000, 7)) @ generator.normal(size=(7, 7))
    matrix = generator.normal(size=(5, 7)) * np.array([3, 1, 1, 0.3, 0.1, 1, 2])
    covariance = np.cov(values.T, bias=True)

    def lost(basis: NDArray[np.float64]) -> float:
        """By least squares on the observations: what the reader loses through these columns."""
        centred = values - values.mean(0)
        seen, wanted = centred @ basis, centred @ matrix.T
        solution, *_ = np.linalg.lstsq(seen, wanted, rcond=None)
        return float(np.square(wanted - seen @ solution).mean())

    best = principal_axes(covariance, matrix.T @ matrix)
    np.testing.assert_allclose(best.T @ best, np.eye(7), rtol=0, atol=1e-10)
    plain = principal_axes(covariance)
    for width in range(1, 6):
        # Slow reference (Izenman): the error of the best fit of that rank is the rest of the fitted
        # values' spectrum.
        fitted = (values - values.mean(0)) @ matrix.T
        rest = np.linalg.svd(fitted, compute_uv=False)[width:]
        assert lost(best[:, :width]) == pytest.approx(
            np.square(rest).sum() / fitted.size, rel=1e-2, abs=1e-4
        )
        assert lost(best[:, :width]) <= lost(plain[:, :width]) + 1e-9
        for seed in range(20):
            other, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(7, width)))
            assert lost(best[:, :width]) <= lost(other) + 1e-9


def test_frequent_tokens_weigh_more() -> None:
    network = LstmLanguageModel(LstmSpec(3, 2, (4,)))
    with torch.no_grad():
        network.embedding.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 9.0]]))
    tokens = torch.tensor([0, 1] * 500 + [2])
    covariance = (
        collect_activations(network, tokens, streams=1).moments["layers.0"].covariance[:2, :2]
    )
    # The rare token's row is the longest, and still the axis of the frequent ones comes first.
    np.testing.assert_allclose(np.abs(principal_axes(covariance)[:, 0]), [1, 0], rtol=0, atol=1e-3)


def test_cut_of_a_trained_embedding_is_no_worse_than_without_rotation_at_any_width(
    trained: Trained,
) -> None:
    index = {word: position for position, word in enumerate(WORDS)}
    calibration, held_out = (
        torch.tensor([index[word] for word in path.read_text().replace("\n", " <eos> ").split()])
        for path in (trained.calibration, trained.held_out)
    )
    network, declaration = trained.network, trained.network.declaration()
    observed, base = collect_activations(network, calibration), perplexity(network, held_out)
    plain, turned = (
        rank_components(
            network.arrays(),
            declaration,
            observed,
            prunable=["embedding"],
            rotate_axes=each,
            min_kept=2,
        )
        for each in (False, True)
    )
    rises: list[tuple[float, float]] = []
    for width in (16, 8, 4, 3, 2):
        first, second = (prune(each, (24 - width) / 22 + 1e-9) for each in (plain, turned))
        assert first.declaration.axes["embedding"] == second.declaration.axes["embedding"] == width
        one, other = (
            perplexity(network.rebuilt(each.arrays), held_out) / base - 1
            for each in (first, second)
        )
        rises.append((one, other))
    assert all(other <= one + 0.0005 for one, other in rises)
    assert rises[-1][1] < min(
        0.012, 0.5 * rises[-1][0]
    )  # at two columns: a rise of 1 % in the place of 3 %


@pytest.mark.parametrize(
    ("basis", "axis", "why"),
    [
        (orthogonal(6) * 1.01, "embedding", "not orthogonal"),
        (np.full((6, 6), np.nan), "embedding", "not orthogonal"),
        (orthogonal(5), "embedding", "has shape"),
        (orthogonal(8), "units:lstm0", "not linear"),
    ],
)
def test_what_would_change_the_function_is_refused(basis: Any, axis: str, why: str) -> None:
    network = LINEAR["lstm"]
    with pytest.raises(AxisMismatch, match=why):
        rotate(network.arrays(), network.declaration(), axis, basis)


def test_axis_that_is_also_a_row_somewhere_is_not_linear() -> None:
    declared = LINEAR["lstm"].declaration()
    rows = axes.Segment("embedding", 6)
    hidden = NetworkAxes(
        declared.axes,
        {**declared.dimensions, "projection.weight": ((rows,), (axes.Segment(None, 3),))},
        declared.sites,
        {},
    )
    assert linear_axes(hidden) == []


def test_basis_of_a_covariance_that_rounding_made_indefinite_is_orthogonal() -> None:
    generator = np.random.default_rng(3)
    row, energy = generator.normal(size=8), generator.normal(size=(8, 8))
    covariance = np.outer(row, row) - 1e-3 * np.eye(8)
    assert np.linalg.eigvalsh(covariance)[0] < 0
    basis = principal_axes(covariance, energy.T @ energy)
    np.testing.assert_allclose(basis.T @ basis, np.eye(8), rtol=0, atol=1e-10)

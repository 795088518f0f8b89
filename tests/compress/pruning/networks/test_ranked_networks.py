"""Selection and repair against brute force, and the search against curves made by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from isslim.compress.kinds.language.activations import collect_activations
from isslim.compress.kinds.language.networks.lstm import (
    LstmLanguageModel,
    LstmSpec,
    declare,
    from_arrays,
)
from isslim.compress.kinds.language.training.evaluation import perplexity
from isslim.compress.pruning import axes
from isslim.compress.pruning.moments import Moments
from isslim.compress.pruning.ranking import Probe, bisect_share, prune, rank_components
from isslim.compress.pruning.repair import repair
from isslim.compress.pruning.selection import removal_order
from tests.compress.pruning.networks.test_axes_of_networks import random_network, scores


def observed_network(spec: LstmSpec) -> tuple[LstmLanguageModel, torch.Tensor]:
    network = random_network(spec)
    tokens = torch.randint(spec.vocabulary, (4000,), generator=torch.Generator().manual_seed(2))
    return network, tokens


def test_moments_merge_as_if_seen_together() -> None:
    values = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    merged = Moments.of(values[:13]) + Moments.of(values[13:])
    np.testing.assert_allclose(merged.mean, values.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(merged.covariance, np.cov(values.T, bias=True), rtol=1e-4, atol=1e-5)


def test_first_removal_is_the_cheapest_of_all_by_brute_force() -> None:
    generator = np.random.default_rng(3)
    values = generator.normal(size=(500, 6)) @ generator.normal(size=(6, 6))
    matrix = generator.normal(size=(9, 6))
    covariance = np.cov(values.T, bias=True)
    order = removal_order("a", covariance, matrix.T @ matrix, ridge=1e-9)

    def loss(gone: tuple[int, ...]) -> float:
        stay = [k for k in range(6) if k not in gone]
        mixing = np.linalg.solve(
            covariance[np.ix_(stay, stay)], covariance[np.ix_(stay, list(gone))]
        )
        error = (values - values.mean(0))[:, list(gone)] - (values - values.mean(0))[
            :, stay
        ] @ mixing
        return float(np.square(error @ matrix[:, list(gone)].T).sum(1).mean())

    assert order.components[0] == min(range(6), key=lambda k: loss((k,)))
    assert order.costs[0] == pytest.approx(loss((int(order.components[0]),)), rel=0.02)
    # Greedy: each next one is the best given those already gone.
    gone: tuple[int, ...] = ()
    for component in order.components:
        best = min((k for k in range(6) if k not in gone), key=lambda k: loss((*gone, k)))
        assert loss((*gone, int(component))) <= 1.05 * loss((*gone, best))
        gone = (*gone, int(component))


def test_dead_and_duplicate_units_go_first_and_cost_nothing() -> None:
    generator = np.random.default_rng(5)
    values = generator.normal(size=(400, 5))
    values[:, 1] = 0.0
    values[:, 4] = values[:, 2] * 2 + 1
    order = removal_order("a", np.cov(values.T, bias=True), np.eye(5))
    assert order.components[0] == 1
    assert order.components[1] in (2, 4)
    assert order.costs[1] < 0.01


@pytest.mark.parametrize(
    "spec", [LstmSpec(31, 6, (9, 7)), LstmSpec(31, 7, (9, 7), tied=True)], ids=["untied", "tied"]
)
def test_repair_of_redundant_units_loses_nothing(spec: LstmSpec) -> None:
    network = random_network(spec)
    arrays = network.arrays()
    # Unit 5 of layer 0 becomes a copy of unit 2 in everything that makes it; its readers differ.
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        gates = arrays[f"layers.0.{name}"]
        gates[5 :: spec.units[0]] = gates[2 :: spec.units[0]]
    arrays["layers.1.weight_ih_l0"][:, 5] *= 8
    network = from_arrays(arrays, tied=spec.tied)
    tokens = torch.randint(spec.vocabulary, (2000,), generator=torch.Generator().manual_seed(2))
    declaration = declare(spec)
    keep = {"units:lstm0": np.setdiff1d(np.arange(spec.units[0]), [5])}
    repaired = repair(arrays, declaration, keep, collect_activations(network, tokens).moments)
    small, _ = axes.select_components(repaired, declaration, keep)
    rows = tokens[:90].view(9, 10)
    whole = scores(network, rows)
    plain, _ = axes.select_components(arrays, declaration, keep)
    zeroed = np.abs(scores(from_arrays(plain, tied=spec.tied), rows) - whole).max()
    mended = np.abs(scores(from_arrays(small, tied=spec.tied), rows) - whole).max()
    assert zeroed > 0.2  # the fault that repair exists for
    # The ridge of 1e-3 shares the weight between the twins imperfectly: small, not zero.
    assert mended < 0.02 * zeroed


def test_repair_equals_least_squares_on_the_recorded_inputs() -> None:
    spec = LstmSpec(31, 6, (9, 7))
    network, tokens = observed_network(spec)
    declaration, arrays = declare(spec), network.arrays()
    keep = {"units:lstm1": np.array([0, 2, 3, 6])}
    repaired = repair(
        arrays,
        declaration,
        keep,
        collect_activations(network, tokens, streams=1, window=4000).moments,
    )
    with torch.no_grad():
        values, _ = network.hidden(tokens.view(-1, 1), network.zero_state(1))
    hidden = values[-1].flatten(0, 1).double().numpy()
    design = np.concatenate([hidden[:, keep["units:lstm1"]], np.ones((len(hidden), 1))], axis=1)
    wanted = hidden @ arrays["decoder.weight"].T + arrays["decoder.bias"]
    solution, *_ = np.linalg.lstsq(design, wanted, rcond=None)
    found = (
        design[:, :-1] @ repaired["decoder.weight"][:, keep["units:lstm1"]].T
        + repaired["decoder.bias"]
    )
    best = np.square(wanted - design @ solution).mean()
    # The ridge that tells other rows best costs a little on these.
    assert np.square(wanted - found).mean() <= 1.003 * best + 1e-9
    gone = np.setdiff1d(np.arange(7), keep["units:lstm1"])
    assert np.all(repaired["decoder.weight"][:, gone] == 0)


@pytest.mark.parametrize("tied", [False, True])
def test_pruned_equals_its_silent_reference(tied: bool) -> None:
    spec = LstmSpec(31, 7, (9, 7), tied=tied)
    network, tokens = observed_network(spec)
    declaration = declare(spec)
    removal_plan = rank_components(
        network.arrays(),
        declaration,
        collect_activations(network, tokens),
        prunable=tuple(declaration.axes),
    )
    pruned = prune(removal_plan, 0.5)
    rows = tokens[:90].view(9, 10)
    np.testing.assert_allclose(
        scores(from_arrays(pruned.arrays, tied=tied), rows),
        scores(from_arrays(pruned.reference, tied=tied), rows),
        rtol=0,
        atol=1e-5,
    )
    assert 0.3 < pruned.share <= 0.5
    assert axes.parameters(pruned.declaration) < 0.8 * axes.parameters(declaration)


@pytest.mark.parametrize("turned", [False, True])
def test_share_zero_is_the_original_and_the_same_job_gives_the_same_structure(turned: bool) -> None:
    spec = LstmSpec(31, 6, (9, 7))
    network, tokens = observed_network(spec)
    declaration = declare(spec)
    first, second = (
        rank_components(
            network.arrays(),
            declaration,
            collect_activations(network, tokens),
            prunable=tuple(declaration.axes),
            rotate_axes=turned,
        )
        for _ in range(2)
    )
    assert first.order == second.order
    whole = prune(first, 0.0)
    rows = tokens[:90].view(9, 10)
    np.testing.assert_allclose(
        scores(from_arrays(whole.arrays, tied=False), rows),
        scores(network, rows),
        rtol=0,
        atol=1e-5,
    )
    for name, array in network.arrays().items():
        if not turned or name not in ("embedding.weight", "layers.0.weight_ih_l0"):
            np.testing.assert_array_equal(whole.arrays[name], array)


def test_repair_beats_zeroing_on_a_trained_like_model() -> None:
    spec = LstmSpec(31, 16, (24, 24))
    network, tokens = observed_network(spec)
    declaration = declare(spec)
    removal_plan = rank_components(
        network.arrays(),
        declaration,
        collect_activations(network, tokens),
        prunable=("units:lstm0", "units:lstm1"),
    )
    pruned = prune(removal_plan, 0.5)
    zeroed, _ = axes.select_components(network.arrays(), declaration, pruned.keep)

    def distance(arrays: axes.Arrays) -> float:
        rows = tokens[:300].view(30, 10)
        return float(
            np.abs(scores(from_arrays(arrays, tied=False), rows) - scores(network, rows)).mean()
        )

    assert distance(pruned.arrays) < 0.8 * distance(zeroed)
    assert perplexity(from_arrays(pruned.arrays, tied=False), tokens) < 3 * perplexity(
        network, tokens
    )


@pytest.mark.parametrize("limit", [0.05, 0.33, 0.61, 0.97])
def test_search_finds_the_largest_share_within_a_monotone_budget(limit: float) -> None:
    tried = []

    def judge(share: float) -> Probe:
        tried.append(share)
        return Probe(share, share <= limit)

    found = bisect_share(judge, refinements=6)
    assert found is not None
    assert limit - 0.01 <= found <= limit
    assert len(tried) == len(set(tried))


def test_search_says_none_when_nothing_is_within() -> None:
    assert bisect_share(lambda share: Probe(share, False)) is None


def test_groups_of_removals_stay_close_to_one_by_one() -> None:
    generator = np.random.default_rng(7)
    values = generator.normal(size=(900, 40)) @ generator.normal(size=(40, 40))
    covariance, matrix = np.cov(values.T, bias=True), generator.normal(size=(60, 40))
    single = removal_order("a", covariance, matrix.T @ matrix, groups=1000)
    grouped = removal_order("a", covariance, matrix.T @ matrix, groups=10)
    assert len(set(single.components)) == len(set(grouped.components)) == 39

    def loss(gone: np.ndarray) -> float:
        stay = np.setdiff1d(np.arange(40), gone)
        mixing = np.linalg.solve(covariance[np.ix_(stay, stay)], covariance[np.ix_(stay, gone)])
        left = covariance[np.ix_(gone, gone)] - covariance[np.ix_(gone, stay)] @ mixing
        return float(np.trace(matrix[:, gone] @ left @ matrix[:, gone].T))

    # Four at once choose almost as well as one by one, and far better than chance.
    assert loss(grouped.components[:20]) < 1.5 * loss(single.components[:20])
    assert loss(grouped.components[:20]) < 0.8 * loss(np.arange(20))


def test_axes_product_of_layers_is_covered() -> None:
    for tied, layers in itertools.product((False, True), (1, 2, 3)):
        spec = LstmSpec(13, 6, (8,) * (layers - 1) + (6,), tied=tied)
        declare(spec).check(LstmLanguageModel(spec).arrays())

"""The latency curve against clocks made by hand, and the order of removal that follows from it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from isslim.compress.kinds.language.activations import collect_activations
from isslim.compress.kinds.language.latency_curve import (
    LatencyCurve,
    _not_negative,
    fit,
    measure_curve,
)
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec, declare
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import NetworkAxes
from isslim.compress.pruning.ranking import rank_components
from tests.compress.pruning.networks.test_ranked_networks import observed_network

SPEC = LstmSpec(50, 12, (16, 10))


def clock(declaration: NetworkAxes) -> float:
    """A host on which the second layer is slow per multiply-add, and the decoder costs nothing."""
    embedding, first, second = declaration.axes.values()
    return 0.3 + 1e-4 * 4 * first * (embedding + first) + 9e-4 * 4 * second * (first + second)


def sizes() -> list[NetworkAxes]:
    whole = declare(SPEC)
    shares = [
        (1, 1, 1),
        (0.75, 0.75, 0.75),
        (0.5, 0.5, 0.5),
        (0.25, 0.25, 0.25),
        (0.5, 1, 1),
        (1, 0.5, 1),
        (1, 1, 0.5),
    ]
    resized = []
    for each in shares:
        pairs = zip(each, whole.axes.items(), strict=True)
        resized.append(
            axes.resized(whole, {axis: round(share * size) for share, (axis, size) in pairs})
        )
    return resized


def test_curve_predicts_the_time_of_sizes_that_were_not_measured() -> None:
    curve = fit(sizes(), [clock(each) for each in sizes()])
    assert curve.is_trusted
    whole = declare(SPEC)
    for embedding, first, second in itertools.product((3, 11), (5, 13), (4, 9)):
        other = axes.resized(
            whole, {"embedding": embedding, "units:lstm0": first, "units:lstm1": second}
        )
        assert curve.milliseconds(other) == pytest.approx(clock(other), rel=0.02)


def test_clock_that_is_unsteady_is_not_trusted() -> None:
    noise = np.random.default_rng(0).uniform(0.5, 2.0, 7)
    assert not fit(
        sizes(), [clock(each) * factor for each, factor in zip(sizes(), noise, strict=True)]
    ).is_trusted


@pytest.mark.parametrize("times", [[], [1.0, 0.0], [1.0, float("nan")], [1.0]])
def test_times_that_are_none_are_refused(times: list[float]) -> None:
    with pytest.raises(ValueError, match="positive time"):
        fit(sizes()[:2], times)


def test_least_squares_without_negatives_equals_the_best_of_all_subsets() -> None:
    generator = np.random.default_rng(2)
    for _ in range(20):
        design, wanted = generator.normal(size=(9, 4)), generator.normal(size=9)
        best = np.inf
        for subset in itertools.chain.from_iterable(
            itertools.combinations(range(4), n) for n in range(5)
        ):
            columns = design[:, list(subset)]
            found, *_ = np.linalg.lstsq(columns, wanted, rcond=None)
            if (found >= 0).all():
                best = min(best, float(np.square(wanted - columns @ found).sum()))
        found = _not_negative(design, wanted)
        assert (found >= 0).all()
        assert float(np.square(wanted - design @ found).sum()) == pytest.approx(best, rel=1e-6)


def test_order_of_removal_follows_the_time_that_is_saved() -> None:
    network, tokens = observed_network(SPEC)
    observed = collect_activations(network, tokens)

    def share_of(axis: str, cost: Callable[[NetworkAxes], float]) -> float:
        order = rank_components(
            network.arrays(), declare(SPEC), observed, prunable=tuple(declare(SPEC).axes), cost=cost
        ).order
        return sum(each == axis for each, _ in order[:12]) / 12

    first, second = (
        LatencyCurve(0.1, {"layers.0": a, "layers.1": b, "decoder": c}, 0.0).milliseconds
        for a, b, c in ((1.0, 1e-3, 1e-3), (1e-3, 1e-3, 1.0))
    )
    assert share_of("units:lstm0", first) > share_of("units:lstm0", second)
    assert share_of("units:lstm1", second) > share_of("units:lstm1", first)


def test_curve_is_measured_on_real_graphs_and_leaves_nothing_behind(tmp_path: Path) -> None:
    torch.manual_seed(0)
    told: list[str] = []
    curve = measure_curve(
        LstmLanguageModel(LstmSpec(50, 8, (12, 8))).eval(),
        tmp_path,
        lambda done, message: told.append(message),
        pairs=3,
    )
    assert curve.rates.keys() == {"layers.0", "layers.1", "decoder"}
    assert curve.milliseconds(declare(LstmSpec(50, 8, (12, 8)))) > 0
    assert min([curve.fixed, *curve.rates.values()]) >= 0
    assert len(told) == 6
    assert list(tmp_path.iterdir()) == []

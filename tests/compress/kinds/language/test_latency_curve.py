"""The latency curve against clocks made by hand, and the order of removal that follows from it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isslim.compress.kinds.language.activations import collect_activations
from isslim.compress.kinds.language.latency_curve import (
    CACHED,
    SERIES,
    LatencyCurve,
    _not_negative,
    fit,
    measure_curve,
)
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.gru import GruLanguageModel, GruSpec
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec, declare
from isslim.compress.kinds.language.networks.rhn import RhnLanguageModel, RhnSpec
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import NetworkAxes
from isslim.compress.pruning.narrow import declare_narrow
from isslim.compress.pruning.ranking import rank_components
from tests.compress.pruning.networks.test_ranked_networks import observed_network

SPEC = LstmSpec(50, 12, (16, 10))


def clock(declaration: NetworkAxes) -> float:
    """A host on which recurrences are slow per multiply-add, and the decoder costs nothing."""
    embedding, first, second = declaration.axes.values()
    recurrent = 4 * (first * first + second * second)
    inward = 4 * (embedding * first + first * second)
    return 0.3 + 1e-4 * inward + 9e-4 * recurrent + 2e-3 * (first + second)


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
        (0.3, 0.8, 1),
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


def test_times_that_cannot_be_repeated_are_not_trusted() -> None:
    times = [clock(each) for each in sizes()]
    repeated = fit(sizes(), times, [1.1 * each for each in times])
    assert repeated.is_trusted
    assert repeated.error == pytest.approx(0.1, rel=0.1)
    whole = declare(SPEC)
    assert repeated.milliseconds(whole) == pytest.approx(1.05 * clock(whole), rel=0.02)
    again = [1.2 * times[0], *times[1:]]
    assert not fit(sizes(), times, again).is_trusted


def test_clock_that_is_unsteady_is_not_trusted() -> None:
    noise = np.random.default_rng(0).uniform(0.5, 2.0, 8)
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

    inward, decoder = (
        LatencyCurve({"fixed": 0.1, "product": a, "decoder": b}, 0.0).milliseconds
        for a, b in ((1.0, 1e-3), (1e-3, 1.0))
    )
    # The first layer's units are read by the second, whose own are read by the decoder.
    assert share_of("units:lstm0", inward) > share_of("units:lstm0", decoder)
    assert share_of("units:lstm1", decoder) > share_of("units:lstm1", inward)


def curve_of(network: LanguageModel, folder: Path, **asked: Any) -> tuple[LatencyCurve, list[str]]:
    told: list[str] = []
    curve = measure_curve(
        network, folder, lambda done, message: told.append(message), steps=3, batch=1, pairs=1,
        **asked,
    )  # fmt: skip
    assert list(folder.iterdir()) == []
    assert min(curve.rates.values()) >= 0
    assert curve.milliseconds(network.declaration()) > 0
    assert len(told) <= 12 + SERIES
    return curve, told


PLAIN = {"fixed", "units", "products", "product", "recurrent", "decoder"}
SCANS = {"scans", "scan", "scan units"}


@pytest.mark.parametrize("int8", [True, False])
def test_curve_is_measured_on_real_graphs_and_leaves_nothing_behind(
    int8: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = LstmLanguageModel(LstmSpec(50, 8, (12, 8))).eval()
    curve, told = curve_of(network, tmp_path, int8=int8)
    assert curve.rates.keys() == {*PLAIN, *SCANS, "blocks"}
    assert [each.removeprefix("latency curve: ") for each in told[:12]] == [
        "a graph with all layers at their full size",
        "a graph with all layers at 60% of their size",
        "a graph with all layers at 35% of their size",
        "a graph with LSTM layer 1 at 20% of its size",
        "a graph with LSTM layer 2 at 20% of its size",
        "a graph with embedding at 20% of its size",
        "a graph with narrow layers between layers",
        "a graph with narrow recurrences and 100% of its units",
        "a graph with narrow recurrences and 60% of its units",
        "a graph with narrow recurrences and 35% of its units",
        "a graph with a bottleneck before its softmax",
        "a graph with its softmax in blocks",
    ]


@pytest.mark.parametrize(
    ("network", "terms"),
    [
        (LstmLanguageModel(LstmSpec(50, 8, (12, 8), tied=True)), PLAIN | SCANS),
        (GruLanguageModel(GruSpec(20, 8, (12,))), PLAIN | SCANS),
        (RhnLanguageModel(RhnSpec(50, 8, 10, 2)), PLAIN),
    ],
)
def test_curves_have_the_terms_of_what_a_network_may_become(
    network: LanguageModel, terms: set[str], tmp_path: Path
) -> None:
    assert curve_of(network.eval(), tmp_path)[0].rates.keys() == terms


def test_a_gru_is_also_timed_as_a_scan(tmp_path: Path) -> None:
    network = GruLanguageModel(GruSpec(20, 8, (12,))).eval()
    curve, _ = curve_of(network, tmp_path, recurrence="scan")
    assert curve.rates.keys() == PLAIN | SCANS


def test_a_recurrence_of_limited_rank_pays_the_dispatch_of_a_scan() -> None:
    rates = {"recurrent": 2e-6, "units": 1e-4, "scan": 1e-6, "scans": 0.1, "scan units": 3e-4}
    curve = LatencyCurve(rates, 0.0)
    network = LstmLanguageModel(LstmSpec(50, 8, (100, 60)))
    (place,) = (each for each in network.narrow_places() if each.axis == "rank:lstm0.recurrent")
    narrow = declare_narrow(network.declaration(), place, 20)
    second = 2e-6 * 4 * 60 * 60 + 1e-4 * 60
    plain = 2e-6 * 4 * 100 * 100 + 1e-4 * 100
    scan = 0.1 + 1e-6 * (4 * 100 * 20 + 20 * 100) + 3e-4 * 100
    assert curve.milliseconds(network.declaration()) == pytest.approx(plain + second, rel=1e-12)
    assert curve.milliseconds(narrow) == pytest.approx(scan + second, rel=1e-12)


def test_what_exceeds_the_cache_has_a_rate_of_its_own() -> None:
    def time_of(units: int) -> float:
        weights = 4 * units * units
        return 1 + 1e-6 * weights + 3e-6 * max(0, weights - CACHED)

    sizes = (100, 300, 500, 700, 900, 1100)
    declarations = [declare(LstmSpec(50, 10, (units,))) for units in sizes]
    curve = fit(declarations, [time_of(units) for units in sizes])
    assert curve.is_trusted
    assert curve.milliseconds(declare(LstmSpec(50, 10, (1000,)))) == pytest.approx(
        time_of(1000), rel=0.02
    )

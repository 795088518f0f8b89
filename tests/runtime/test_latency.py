"""Records of runs that were timed in turn, on made-up time, against sums done by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from isslim.runtime.latency import (
    MAX_INTERVAL,
    MAX_SPREAD,
    _is_steady,
    baseline_session,
    time_in_turn,
)
from isslim.runtime.opening import OrtSession
from isslim.types.manifest import LatencyRecord, Ratio
from tests.runtime.made_up_time import UNIT, MadeUpTime

SHORTEST = 8
"""Units of a run that one run of the usual plan warms."""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    made = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:]
    )
    path = tmp_path_factory.mktemp("latency") / "graph.onnx"
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def call(
    time: MadeUpTime, walls: Sequence[float], cpus: Sequence[float] | None = None
) -> Callable[[], None]:
    """A call whose runs take `SHORTEST` units times what its round says, in each of four runs."""
    runs: list[int] = []

    def run() -> None:
        place = max(0, len(runs) - 2) // 4  # two runs come before the rounds
        runs.append(place)
        time.now += SHORTEST * UNIT * walls[place]
        time.own += SHORTEST * UNIT * (walls if cpus is None else cpus)[place]

    return run


def records(
    graph: Path,
    walls: dict[str, Sequence[float]],
    cpus: dict[str, Sequence[float]] | None = None,
    threads: int = 1,
    baseline: str = "original",
) -> dict[str, LatencyRecord]:
    """Records of calls that take so long in each round."""
    time = MadeUpTime()
    runs = {name: call(time, each, cpus and cpus[name]) for name, each in walls.items()}
    sessions = {name: OrtSession(graph, threads=threads) for name in walls}
    pairs = len(next(iter(walls.values())))
    return time_in_turn(runs, sessions, (30, 2), pairs=pairs, baseline=baseline, time=time)


def test_record_is_of_medians_and_ratios_of_the_rounds(graph: Path) -> None:
    generator = np.random.default_rng(0)
    original = generator.uniform(4.0, 4.2, 40)
    small = generator.uniform(2.0, 2.1, 40)
    found = records(graph, {"original": original.tolist(), "compressed": small.tolist()})
    ratios = np.sort(original / small)
    low, high = math.floor(20 - 0.98 * math.sqrt(40)), math.ceil(20 + 0.98 * math.sqrt(40))
    unit = 1e3 * SHORTEST * UNIT
    record = found["compressed"]
    assert (record.steps, record.batch, record.threads, record.device) == (30, 2, 1, "cpu")
    assert record.median_ms == pytest.approx(unit * np.median(small), rel=1e-9)
    assert record.p90_ms == pytest.approx(unit * np.quantile(small, 0.9), rel=1e-9)
    assert record.speedup == pytest.approx(np.median(ratios), rel=1e-9)
    assert record.speedup_low == pytest.approx(ratios[low], rel=1e-9)
    assert record.speedup_high == pytest.approx(ratios[high], rel=1e-9)
    assert record.cpu_ms == pytest.approx(unit * np.median(small), rel=1e-9)
    assert (record.basis, record.steady, record.against_int8) == ("wall", True, None)
    assert found["original"].speedup == 1.0


def test_every_record_is_compared_with_int8_alone_too(graph: Path) -> None:
    times = {"original": 4.0, "original-int8": 3.0, "compressed": 2.0, "compressed-int8": 1.0}
    found = records(graph, {name: [each] * 8 for name, each in times.items()})
    for name, each in times.items():
        assert found[name].speedup == 4.0 / each
        assert found[name].against_int8 == Ratio(median=3.0 / each, low=3.0 / each, high=3.0 / each)
        assert found[name].steady


def test_speed_of_the_machine_may_drift(graph: Path) -> None:
    drift = np.linspace(1.0, 3.0, 40)
    walls = {"original": (2.0 * drift).tolist(), "compressed": drift.tolist()}
    found = records(graph, walls)["compressed"]
    assert found.steady
    assert found.speedup_high - found.speedup_low < 1e-9


def test_baseline_is_the_original_where_none_is_named(graph: Path) -> None:
    time, names = MadeUpTime(), ("original", "compressed")
    runs = {name: call(time, [4.0] * 2) for name in names}
    sessions = {name: OrtSession(graph) for name in names}
    assert time_in_turn(runs, sessions, (1, 1), pairs=2, time=time)["compressed"].speedup == 1.0


def test_other_devices_are_timed_by_the_wall_alone(graph: Path) -> None:
    """The CPU's time says nothing of a GPU's work."""
    time, names = MadeUpTime(), ("original", "compressed")
    runs = {name: call(time, [4.0] * 2) for name in names}
    sessions = {name: OrtSession(graph) for name in names}
    for session in sessions.values():
        session.device = "cuda"  # opened on the CPU: a GPU is not needed to run made-up calls
    found = time_in_turn(runs, sessions, (1, 1), pairs=2, time=time)["compressed"]
    assert (found.device, found.cpu_ms, found.basis) == ("cuda", None, "wall")


def test_baseline_may_be_another(graph: Path) -> None:
    found = records(graph, {"a": [4.0] * 8, "b": [2.0] * 8}, baseline="b")
    assert (found["a"].speedup, found["b"].speedup) == (0.5, 1.0)


def test_missing_baseline_is_refused(graph: Path) -> None:
    sessions = {"b": OrtSession(graph), "a": OrtSession(graph)}
    assert baseline_session(sessions, "a") is sessions["a"]
    with pytest.raises(ValueError, match=r"the baseline 'original' is not among \['a', 'b'\]"):
        baseline_session(sessions, "original")


def test_busy_host_is_compared_by_cpu_time(graph: Path) -> None:
    walls = {"original": [8.0] * 20, "compressed": [8.0] * 20}
    cpus = {"original": [4.0] * 20, "compressed": [1.0] * 20}
    found = records(graph, walls, cpus)["compressed"]
    assert (found.basis, found.speedup, found.steady) == ("cpu", 4.0, True)
    assert found.cpu_ms == 1e3 * SHORTEST * UNIT
    assert found.median_ms == 8e3 * SHORTEST * UNIT
    few = {name: each[:14] for name, each in walls.items()}
    assert not records(graph, few, cpus)["compressed"].steady


def test_several_threads_are_timed_by_the_wall_alone(graph: Path) -> None:
    found = records(graph, {"original": [4.0] * 8, "compressed": [2.0] * 8}, threads=2)
    assert (found["compressed"].threads, found["compressed"].cpu_ms) == (2, None)
    assert found["compressed"].basis == "wall"


@pytest.mark.parametrize(("other", "steady"), [(1.19, True), (1.21, False)])
def test_figure_with_a_wide_interval_is_not_steady(graph: Path, other: float, steady: bool) -> None:
    """Half of the ratios are one number and half another, so that these end the interval."""
    original = [2.0, 2.0 * other] * 20
    found = records(graph, {"original": original, "compressed": [1.0] * 40})
    assert found["compressed"].speedup_high == pytest.approx(2.0 * other)
    assert found["compressed"].speedup_low == pytest.approx(2.0)
    assert found["compressed"].steady is steady


@pytest.mark.parametrize(("far", "steady"), [(1.59, True), (1.61, False)])
@pytest.mark.parametrize("above", [True, False])
def test_figure_of_rounds_that_lie_far_apart_is_not_steady(
    graph: Path, far: float, steady: bool, above: bool
) -> None:
    """A tenth of the rounds, on one side, is not left out of eight in ten."""
    original = [2.0] * 35 + [2.0 * far if above else 2.0 / far] * 5
    found = records(graph, {"original": original, "compressed": [1.0] * 40})["compressed"]
    assert found.speedup_low == found.speedup_high == 2.0
    assert found.steady is steady


def test_figure_at_both_limits_is_steady() -> None:
    # Half of the ratios end the interval, and a tenth the range of eight in ten.
    ratios = np.array([1.0] * 20 + [MAX_INTERVAL] * 20)
    assert _is_steady(ratios, np.ones(40))
    ratios = np.array([1.0] * 35 + [MAX_SPREAD] * 5)
    assert np.quantile(ratios, 0.9) == MAX_SPREAD
    assert _is_steady(ratios, np.ones(40))


def test_few_far_rounds_make_no_figure_unsteady(graph: Path) -> None:
    original = [1.0] * 3 + [2.0] * 34 + [9.0] * 3
    assert records(graph, {"original": original, "compressed": [1.0] * 40})["compressed"].steady


def test_figure_that_is_not_steady_against_int8_is_not_steady(graph: Path) -> None:
    walls = {"original": [2.0] * 40, "original-int8": [1.0, 1.3] * 20, "compressed": [1.0] * 40}
    found = records(graph, walls)
    assert not any(each.steady for each in found.values())
    del walls["original-int8"]
    assert all(each.steady for each in records(graph, walls).values())
    # And the other way round: only against the baseline it is not.
    walls = {"original": [2.0, 2.6] * 20, "original-int8": [2.0] * 40, "compressed": [1.0] * 40}
    assert not records(graph, walls)["compressed"].steady

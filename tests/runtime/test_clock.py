"""The clock behind every comparison: how long it takes, and what it says on a busy host."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch

from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.runtime import clock
from isslim.runtime.clock import BURST, Comparison, Timed, TimingPlan, interleave, ratio
from isslim.runtime.language.latency import compare
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.time_sources import SystemTime


def test_time_is_counted_from_the_first_run() -> None:
    plan = TimingPlan(seconds=0.0, max_seconds=0.5)
    runs: Counter[str] = Counter()

    def run(name: str) -> None:
        runs[name] += 1
        if runs[name] == 1:  # loading, as the first run of a large graph does
            time.sleep(0.3)

    found = interleave({name: partial(run, name) for name in ("original", "compressed")}, plan=plan)
    assert {name: len(each.wall) for name, each in found.timed.items()} == {
        "original": 1,
        "compressed": 1,
    }


def test_slow_runs_are_timed_once_a_round() -> None:
    plan = TimingPlan(slow=0.05, warm=0.0)
    runs: Counter[str] = Counter()

    def slow() -> None:
        runs["slow"] += 1
        time.sleep(0.08)

    def fast() -> None:
        runs["fast"] += 1

    found = interleave({"slow": slow, "fast": fast}, pairs=3, plan=plan)
    assert runs == {"slow": 1 + 3, "fast": 2 + 3 * (1 + BURST)}
    assert found.timed["slow"].wall.shape == (3, 1)
    assert (found.timed["slow"].wall >= 80).all()


def test_comparison_of_the_hopelessly_slow_ends_after_one_round() -> None:
    plan = TimingPlan(slow=0.01, max_seconds=0.02, seconds=0.01)
    runs: list[float] = []

    def slow() -> None:
        runs.append(1)
        time.sleep(0.03)

    assert len(interleave({"original": slow}, plan=plan).timed["original"].wall) == 1
    assert len(runs) == 2


def milliseconds(cpu: float, *waits: float) -> Timed:
    """Rounds of three runs that take so much CPU time; the wall adds what each run of a round waited."""
    return Timed(cpu + np.tile(np.array(waits or (0.0, 0.0, 0.0)), (20, 1)), np.full(20, cpu))


def test_a_larger_model_that_alone_is_interrupted_is_compared_by_cpu_time() -> None:
    # Of every burst two runs of the large model wait 9 ms for the processor: pairing and medians do
    # not help.
    large, small = milliseconds(3.0, 0.0, 9.0, 9.0), milliseconds(1.0)
    assert large.is_disturbed
    assert not small.is_disturbed
    found = Comparison({"original": large, "compressed": small}, busy=True)
    assert ratio(large.rounds("wall"), small.rounds("wall"))[0] == pytest.approx(12)
    assert found.basis == "cpu"
    assert found.settled(found.timed)
    assert ratio(large.rounds(found.basis), small.rounds(found.basis)) == pytest.approx((3, 3, 3))
    with pytest.raises(ValueError, match="not read"):
        Timed(large.wall).rounds("cpu")


def test_a_quiet_host_is_compared_by_the_wall() -> None:
    # A wait of microseconds in every run, and a long one now and then, are any system's own.
    timed = milliseconds(3.0, 0.01, 0.02, 0.01)
    timed.wall[7, 0] = 15.0
    assert not timed.is_disturbed
    found = Comparison({"original": timed}, busy=False)
    assert found.basis == "wall"
    assert found.settled(found.timed)


def test_cpu_time_is_not_relied_on_where_hardly_a_run_was_left_alone() -> None:
    cold = milliseconds(1.4)
    cold.cpu[3] = 1.0  # type: ignore[index]
    few = Timed(milliseconds(1.0).wall[:9], milliseconds(1.0).cpu[:9])  # type: ignore[index]
    for timed in (cold, few, Timed(milliseconds(1.0).wall)):
        found = Comparison({"original": timed, "compressed": milliseconds(0.3)}, busy=True)
        assert not found.settled(["original", "compressed"])
        assert found.basis == ("wall" if timed.cpu is None else "cpu")


class Ticking(SystemTime):
    """The system's clocks, said to move in steps of so many seconds."""

    def __init__(self, grain: float) -> None:
        self._grain = grain

    def cpu_grain(self) -> float:
        return self._grain


def test_clock_that_counts_ticks_is_not_believed() -> None:
    runs = {"original": lambda: sum(range(20_000))}
    assert interleave(runs, pairs=3, time=Ticking(0.01)).timed["original"].cpu is None
    assert interleave(runs, pairs=3, time=Ticking(1e-6)).timed["original"].cpu is not None
    for other in ({"threads": 2}, {"device": "cuda"}):
        assert interleave(runs, pairs=3, **other).timed["original"].cpu is None


def test_busy_host_is_waited_for_and_measured_once_more() -> None:
    runs: list[float] = []

    def interrupted_at_first() -> None:
        runs.append(1)
        until = time.thread_time() + 1e-3
        while time.thread_time() < until:
            pass
        if len(runs) < 30:
            time.sleep(0.002)

    found = interleave(
        {"original": interrupted_at_first}, plan=TimingPlan(seconds=0.0, patience=0.1)
    )
    assert len(runs) > 2 * clock.MIN_ROUNDS * BURST
    assert found.timed["original"].wall.shape == (clock.MIN_ROUNDS, BURST)


def test_interval_holds_the_median_in_95_of_100() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        _, low, high = ratio(np.exp(generator.normal(0, 0.3, 41)), np.ones(41))
        held += low <= 1 <= high
    assert held >= 930


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Processes that never rest."""
    spin = "print(flush=True)\nwhile True: pass"
    others = [
        subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE) for _ in range(count)
    ]
    try:
        for each in others:
            assert each.stdout is not None
            each.stdout.readline()
        yield
    finally:
        for each in others:
            each.kill()
            each.communicate()


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LanguageSession]:
    folder = tmp_path_factory.mktemp("clock")
    torch.manual_seed(0)
    for name, units in (("original", 192), ("compressed", 64)):
        export(
            LstmLanguageModel(LstmSpec(4000, units, (units, units))).eval(), folder / f"{name}.onnx"
        )
    return {
        name: LanguageSession(folder / f"{name}.onnx", threads=1)
        for name in ("original", "compressed")
    }


def test_one_thread_of_the_runtime_is_the_calling_thread(
    sessions: dict[str, LanguageSession],
) -> None:
    session, ids = sessions["original"], np.ones((30, 1), np.int64)
    state, lengths = session.zero_state(1), np.full(1, 30, np.int32)
    session.run(ids, ids, lengths, state)
    own, whole = time.thread_time(), time.process_time()
    for _ in range(20):
        session.run(ids, ids, lengths, state)
    assert time.thread_time() - own >= 0.9 * (time.process_time() - whole)


def test_neighbours_that_never_rest_do_not_change_the_figure(
    sessions: dict[str, LanguageSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISS_COMPARISON_SECONDS", "0.5")
    alone = compare(sessions, steps=30, batch=1)
    with neighbours(3):
        beside = compare(sessions, steps=30, batch=1)
    quiet = alone["original"].cpu_ms, alone["compressed"].cpu_ms
    assert None not in quiet
    expected = quiet[0] / quiet[1]  # type: ignore[operator]
    found = beside["compressed"]
    assert not found.steady or found.speedup == pytest.approx(expected, rel=0.15), (alone, beside)

"""The clock behind every comparison, on made-up time: how long it takes, and what it believes.

Most times are whole numbers of 1/1024 s, so that sums are exact.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from isslim.runtime.clock import (
    BURST,
    MAX_EXCESS,
    MAX_ROUNDS,
    MIN_BUSY_ROUNDS,
    MIN_ROUNDS,
    UNSETTLED,
    Comparison,
    Timed,
    TimingPlan,
    interleave,
    ratio,
)
from isslim.runtime.time_sources import SystemTime, grain_of
from tests.runtime.made_up_time import UNIT, MadeUpTime, sequence

QUICK = TimingPlan(seconds=5.0, max_seconds=64.0, patience=2.0, warm=0.0, warm_max=0.0, slow=1.0)
"""One run warms a call."""


def test_every_round_warms_and_times_every_call_in_turn() -> None:
    time, order = MadeUpTime(), list[str]()

    def run(name: str, seconds: float) -> None:
        order.append(name)
        time.now += seconds
        time.own += seconds

    calls = {"a": partial(run, "a", UNIT), "b": partial(run, "b", 3 * UNIT)}
    found = interleave(calls, pairs=2, plan=QUICK, time=time)
    assert "".join(order) == "ab" + "ab" + ("a" * (1 + BURST) + "b" * (1 + BURST)) * 2
    for name, units in (("a", 1), ("b", 3)):
        assert (found.timed[name].wall == np.full((2, BURST), 1e3 * units * UNIT)).all()
        assert (found.timed[name].cpu == np.full(2, 1e3 * units * UNIT)).all()  # type: ignore[union-attr]
    assert not found.busy


def test_least_cpu_time_of_a_round_is_of_warm_and_timed_runs() -> None:
    time = MadeUpTime()
    one = (8 * UNIT, 8 * UNIT)
    # Two runs before the rounds; then a run that warms and three that are timed, twice.
    runs = [one, one, (8 * UNIT, 2 * UNIT), one, one, one, one, one, (8 * UNIT, 3 * UNIT), one]
    found = interleave({"a": sequence(time, *runs)}, pairs=2, plan=QUICK, time=time)
    assert list(found.timed["a"].cpu) == [2e3 * UNIT, 3e3 * UNIT]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wall", "cpu", "threads", "device", "warming"),
    [
        (2, 1, 1, "cpu", 4),  # until its CPU time is that of the plan
        (2, 1, 2, "cpu", 2),  # by the wall, where CPU time is not read
        (2, 1, 1, "cuda", 2),
        (8, 1, 1, "cpu", 3),  # no longer than the plan's limit
        (16, 1, 1, "cpu", 2),  # which may be reached, not passed
        (8, 1, 2, "cpu", 1),
        (1, 1, 1, "cpu", 4),
    ],
)
def test_calls_are_warmed_for_a_time(
    wall: int, cpu: int, threads: int, device: str, warming: int
) -> None:
    plan = TimingPlan(warm=4 * UNIT, warm_max=16 * UNIT)
    time, runs = MadeUpTime(), list[float]()
    call = time.call(wall * UNIT, cpu * UNIT, runs)
    interleave({"a": call}, pairs=5, threads=threads, device=device, plan=plan, time=time)
    assert len(runs) == 2 + 5 * (warming + BURST)


def test_slow_runs_are_timed_once_a_round() -> None:
    time, slow, fast = MadeUpTime(), list[float](), list[float]()
    calls = {"slow": time.call(1 + UNIT, runs=slow), "fast": time.call(1.0, runs=fast)}
    found = interleave(calls, pairs=3, plan=QUICK, time=time)
    assert (len(slow), len(fast)) == (1 + 3, 2 + 3 * (1 + BURST))
    assert found.timed["slow"].wall.shape == (3, 1)
    assert (found.timed["slow"].wall == 1e3 * (1 + UNIT)).all()
    assert (found.timed["slow"].cpu == np.full(3, 1e3 * (1 + UNIT))).all()  # type: ignore[union-attr]


def test_slow_is_what_takes_long_on_the_wall() -> None:
    time, runs = MadeUpTime(), list[float]()
    interleave({"a": time.call(1 + UNIT, UNIT, runs)}, pairs=1, plan=QUICK, time=time)
    assert len(runs) == 2


def rounds(plan: TimingPlan, seconds: float = 0.125, pairs: int | None = None) -> int:
    """How many rounds there are of a call of so many seconds, of which a round makes four."""
    time = MadeUpTime()
    found = interleave({"a": time.call(seconds)}, pairs=pairs, plan=plan, time=time)
    return len(found.timed["a"].wall)


def test_comparison_goes_on_until_its_time_is_passed() -> None:
    assert rounds(QUICK) == 11  # ten rounds take 5 s
    assert rounds(TimingPlan(seconds=0.0, max_seconds=64.0, warm=0.0)) == MIN_ROUNDS == 7


def test_comparison_ends_at_the_limit_of_all_time() -> None:
    # 0.25 s before the rounds, of which each takes 0.5 s; one more begins at the limit itself.
    assert rounds(TimingPlan(max_seconds=3.0, warm=0.0)) == 6
    assert rounds(TimingPlan(max_seconds=2.75, warm=0.0)) == 6
    assert rounds(TimingPlan(max_seconds=2.7, warm=0.0)) == 5


def test_comparison_of_the_hopelessly_slow_ends_after_one_round() -> None:
    time, runs = MadeUpTime(), list[float]()
    plan = TimingPlan(slow=0.01, max_seconds=0.02, seconds=0.01)
    found = interleave({"original": time.call(0.03, runs=runs)}, plan=plan, time=time)
    assert len(found.timed["original"].wall) == 1
    assert len(runs) == 2


def test_time_is_counted_from_the_first_run() -> None:
    plan, time, runs = TimingPlan(seconds=0.0, max_seconds=0.5), MadeUpTime(), Counter[str]()

    def run(name: str) -> None:
        runs[name] += 1
        if runs[name] == 1:  # loading, as the first run of a large graph does
            time.now += 0.3
        time.own += UNIT

    calls = {name: partial(run, name) for name in ("original", "compressed")}
    found = interleave(calls, plan=plan, time=time)
    assert {name: len(each.wall) for name, each in found.timed.items()} == {
        "original": 1,
        "compressed": 1,
    }


def test_rounds_have_a_limit() -> None:
    assert rounds(QUICK, seconds=0.0) == MAX_ROUNDS == 301


def test_number_of_rounds_that_is_asked_for_is_kept_whatever_the_time() -> None:
    assert rounds(TimingPlan(seconds=0.0, max_seconds=0.0, warm=0.0), pairs=9) == 9
    assert rounds(QUICK, pairs=2) == 2
    assert rounds(QUICK, pairs=0) == 1


def test_time_of_a_comparison_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, expected in (("5", 11), ("4.9", 10)):
        monkeypatch.setenv("ISS_COMPARISON_SECONDS", seconds)
        time = MadeUpTime()
        assert len(interleave({"a": time.call(0.125)}, time=time).timed["a"].wall) == expected


@pytest.mark.parametrize(("seconds", "waited"), [("0.5", 0.5), ("3", 3.0), ("9", 3.0)])
def test_busy_host_is_waited_for_as_long_as_a_comparison_takes(
    seconds: str, waited: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISS_COMPARISON_SECONDS", seconds)
    time = MadeUpTime(tick=UNIT)  # which the thread never has
    assert interleave({"a": time.call(8 * UNIT, 4 * UNIT)}, time=time).busy
    assert waited / 2 < sum(time.slept) <= waited


def test_usual_plan() -> None:
    assert TimingPlan() == TimingPlan(
        seconds=3.0, max_seconds=60.0, patience=3.0, warm=0.005, warm_max=0.05, slow=1.0
    )


@pytest.mark.parametrize(("cpu", "busy"), [(48, False), (47, True)])
def test_host_is_busy_when_the_thread_had_less_than_95_of_100(cpu: int, busy: bool) -> None:
    time = MadeUpTime()
    found = interleave({"a": time.call(50 * UNIT, cpu * UNIT)}, pairs=3, plan=QUICK, time=time)
    assert not found.timed["a"].is_disturbed
    assert found.busy is busy
    assert found.basis == ("cpu" if busy else "wall")


def test_host_is_busy_when_a_call_is_disturbed_though_the_thread_had_all_the_time() -> None:
    time = MadeUpTime()
    calm, cold = (8 * UNIT, 8 * UNIT), (16 * UNIT, 16 * UNIT)
    disturbed = sequence(time, calm, calm, calm, cold, cold, cold)  # the first of a round is warm
    found = interleave(
        {"calm": time.call(UNIT), "disturbed": disturbed}, pairs=1, plan=QUICK, time=time
    )
    assert [found.timed[name].is_disturbed for name in ("calm", "disturbed")] == [False, True]
    assert found.busy


@pytest.mark.parametrize(("grain", "read"), [(0.0499e-3, True), (0.0501e-3, False)])
def test_clock_that_counts_ticks_is_not_believed(grain: float, read: bool) -> None:
    time = MadeUpTime(grain=grain)
    calls = {"short": time.call(1e-3), "long": time.call(0.5)}
    found = interleave(calls, pairs=3, plan=QUICK, time=time)
    for name in calls:
        assert (found.timed[name].cpu is not None) is read
    assert not found.busy
    for threads, device in ((2, "cpu"), (1, "cuda")):
        other = interleave(calls, pairs=3, threads=threads, device=device, plan=QUICK, time=time)
        assert other.timed["short"].cpu is None


def test_usual_round_tells_whether_the_clock_is_fine_enough() -> None:
    """One lucky round does not make it too coarse, nor one long one fine enough."""
    time = MadeUpTime(grain=0.05 * 8 * UNIT)
    long, short = (8 * UNIT, 8 * UNIT), (4 * UNIT, 4 * UNIT)
    runs = [long] * 6 + [short] * 4 + [long]
    found = interleave({"a": sequence(time, *runs)}, pairs=3, plan=QUICK, time=time)
    assert found.timed["a"].cpu is not None


def test_clock_that_stands_still_is_not_believed() -> None:
    time = MadeUpTime()
    found = interleave({"a": time.call(UNIT, 0.0)}, pairs=3, plan=QUICK, time=time)
    assert found.timed["a"].cpu is None
    assert not found.busy
    assert found.basis == "wall"


def test_clock_that_stood_still_in_one_round_is_not_believed() -> None:
    time = MadeUpTime()
    still = [(UNIT, 0.0)] * 2
    runs = [(UNIT, UNIT)] * 12 + still * 4 + [(UNIT, UNIT)]
    found = interleave({"a": sequence(time, *runs)}, pairs=9, plan=QUICK, time=time)
    assert found.timed["a"].cpu is None
    assert found.basis == "wall"


@pytest.mark.parametrize(
    ("switches", "threads", "device", "busy"),
    [
        (120, 2, "cpu", False),
        (121, 2, "cpu", True),
        (180, 3, "cpu", False),
        (181, 3, "cpu", True),
        (999, 1, "cuda", False),
        (999, 1, "cpu", False),
    ],
)
def test_host_of_several_threads_is_busy_when_they_are_interrupted(
    switches: int, threads: int, device: str, busy: bool
) -> None:
    """The 16 runs of the rounds take a second, in which 60 interruptions of a thread are usual."""
    time, runs = MadeUpTime(), list[float]()

    def run() -> None:
        runs.append(0)
        time.switches += {1: 1000, 2: 1000, 5: switches}.get(len(runs), 0)
        time.now += 1 / 16
        time.own += 1 / 16

    found = interleave({"a": run}, pairs=4, threads=threads, device=device, plan=QUICK, time=time)
    assert found.busy is busy
    assert found.basis == "wall"


def busy_at_first(time: MadeUpTime, busy: int) -> Callable[[], None]:
    """A call that waits for the processor in its first runs."""
    waiting, alone = (50 * UNIT, 20 * UNIT), (20 * UNIT, 20 * UNIT)
    return sequence(time, *[waiting] * busy, alone)


def test_busy_host_is_waited_for_and_measured_once_more() -> None:
    plan = TimingPlan(seconds=0.0, patience=0.4, warm=0.0, warm_max=0.0)
    # A look at the time takes 1/4096 s, all of which the thread has: it is left alone.
    time = MadeUpTime(tick=UNIT / 4, busy=UNIT / 4)
    found = interleave({"a": busy_at_first(time, 30)}, plan=plan, time=time)
    assert time.slept == [0.1]
    assert not found.busy
    assert found.timed["a"].wall.shape == (MIN_ROUNDS, BURST)
    assert (found.timed["a"].wall < 21e3 * UNIT).all()


def test_host_that_stays_busy_is_waited_for_no_longer_than_the_patience() -> None:
    plan = TimingPlan(seconds=0.0, patience=2.0, warm=0.0, warm_max=0.0)
    time = MadeUpTime(tick=UNIT / 4)  # the thread has nothing of the time that passes
    found = interleave({"a": busy_at_first(time, 10_000)}, plan=plan, time=time)
    assert time.slept == [0.25] * 8  # each look takes 0.02 s besides
    assert found.busy
    assert found.basis == "cpu"


@pytest.mark.parametrize(("share", "looks"), [(0.97, 1), (0.93, 3)])
def test_host_is_calm_when_the_thread_has_nearly_all_of_a_moment(share: float, looks: int) -> None:
    plan = TimingPlan(seconds=0.0, patience=0.2, warm=0.0, warm_max=0.0)
    tick = UNIT / 64  # so fine that a look more or less makes no difference
    time = MadeUpTime(tick=tick, busy=share * tick)
    interleave({"a": busy_at_first(time, 30)}, plan=plan, time=time)
    assert time.slept == [0.05] * looks  # with a moment of 0.02 s after each


def test_quiet_host_or_a_number_of_rounds_is_measured_once() -> None:
    plan = TimingPlan(seconds=0.0, patience=0.4, warm=0.0, warm_max=0.0)
    quiet, asked = MadeUpTime(), MadeUpTime()
    interleave({"a": quiet.call(UNIT)}, plan=plan, time=quiet)
    found = interleave({"a": busy_at_first(asked, 100)}, pairs=7, plan=plan, time=asked)
    assert quiet.slept == asked.slept == []
    assert found.busy


class Waking(MadeUpTime):
    """No time passes while it is looked at, until somebody sleeps."""

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self._tick = self._busy = UNIT / 4


@pytest.mark.parametrize(("spare", "slept"), [(0.0, [0.125]), (-UNIT, [])])
def test_busy_host_is_measured_once_more_where_that_fits(spare: float, slept: list[float]) -> None:
    # The first comparison takes 2 runs and 7 rounds of 4, of 50 units each.
    first, time = 30 * 50 * UNIT, Waking()
    plan = TimingPlan(
        seconds=0.25, patience=0.5, warm=0.0, warm_max=0.0, max_seconds=first + 0.75 + spare
    )
    interleave({"a": time.call(50 * UNIT, 20 * UNIT)}, plan=plan, time=time)
    assert time.slept == slept


def milliseconds(cpu: float, *waits: float, rounds: int = 20) -> Timed:
    """Rounds of three runs; the wall adds to their CPU time what each run of a round waited."""
    wall = cpu + np.tile(np.array(waits or (0.0, 0.0, 0.0)), (rounds, 1))
    return Timed(wall, np.full(rounds, cpu))


def test_time_of_a_round_is_its_median_on_the_wall_and_its_least_cpu_time() -> None:
    timed = Timed(np.array([[1.0, 9.0, 2.0], [4.0, 3.0, 8.0]]), np.array([0.5, 0.7]))
    assert list(timed.rounds("wall")) == [2.0, 4.0]
    assert list(timed.rounds("cpu")) == [0.5, 0.7]
    with pytest.raises(ValueError, match=r"^CPU time was not read$"):
        Timed(timed.wall).rounds("cpu")


@pytest.mark.parametrize(
    ("cpu", "wait", "disturbed"),
    [(10.0, 0.9, False), (10.0, 1.1, True), (0.05, 0.009, False), (0.05, 0.011, True)],
)
def test_call_is_disturbed_when_the_wall_says_much_more_than_the_cpu(
    cpu: float, wait: float, disturbed: bool
) -> None:
    assert milliseconds(cpu, wait, wait, wait).is_disturbed is disturbed
    assert not Timed(milliseconds(cpu, wait, wait, wait).wall).is_disturbed


@pytest.mark.parametrize(("usual", "unsettled"), [(1.14, False), (1.16, True)])
def test_call_is_unsettled_when_a_usual_round_is_far_from_the_best(
    usual: float, unsettled: bool
) -> None:
    cpu = np.full(21, usual)
    cpu[:10] = 1.0  # the median is of the others
    assert Timed(np.ones((21, 3)), cpu).is_unsettled is unsettled
    assert not Timed(np.ones((21, 3))).is_unsettled


def test_as_much_as_is_allowed_is_neither_disturbed_nor_unsettled() -> None:
    cpu = np.array([1.0, UNSETTLED, UNSETTLED])
    assert not Timed(np.ones((3, 3)), cpu).is_unsettled
    assert not Timed(np.full((1, 3), MAX_EXCESS), np.ones(1)).is_disturbed


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
    few = milliseconds(1.0, rounds=MIN_BUSY_ROUNDS - 1)
    for timed in (cold, few, Timed(milliseconds(1.0).wall)):
        found = Comparison({"original": timed, "compressed": milliseconds(0.3)}, busy=True)
        assert not found.settled(["original", "compressed"])
        assert found.settled(["compressed"]) is (timed.cpu is not None)
        assert found.basis == ("wall" if timed.cpu is None else "cpu")
    enough = Comparison({"original": milliseconds(1.0, rounds=MIN_BUSY_ROUNDS)}, busy=True)
    assert enough.settled(["original"])
    assert MIN_BUSY_ROUNDS == 15


@pytest.mark.parametrize(
    ("count", "low", "high"), [(1, 0, 0), (7, 0, 6), (16, 4, 12), (41, 14, 27), (100, 40, 60)]
)
def test_interval_is_of_order_statistics(count: int, low: int, high: int) -> None:
    generator = np.random.default_rng(count)
    ratios = np.arange(1.0, count + 1)
    times = generator.uniform(1, 2, count)
    baseline = times * generator.permutation(ratios)
    expected = (np.median(ratios), ratios[low], ratios[high])
    assert ratio(baseline, times) == pytest.approx(expected, rel=1e-12)
    if count > 7:  # by the binomial distribution it holds the median with 95 %
        missed = sum(math.comb(count, k) for k in (*range(low + 1), *range(high + 1, count + 1)))
        assert 1 - missed / 2**count >= 0.93


def test_interval_holds_the_median_in_95_of_100() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        _, low, high = ratio(np.exp(generator.normal(0, 0.3, 41)), np.ones(41))
        held += low <= 1 <= high
    assert held >= 930


class Stepping(MadeUpTime):
    """A CPU clock that moves in given steps, one every few looks."""

    def __init__(self, *steps: float) -> None:
        super().__init__(tick=UNIT)
        self._steps, self._looks = list(steps), 0

    def cpu(self) -> float:
        self._looks += 1
        if self._looks % 3 == 0 and self._steps:
            self.own += self._steps.pop(0)
        return self.own


def test_grain_is_the_smallest_of_five_steps() -> None:
    steps = [5 * UNIT, 3 * UNIT, 4 * UNIT, 2 * UNIT, 6 * UNIT, UNIT]
    assert grain_of(Stepping(*steps)) == 2 * UNIT
    assert grain_of(Stepping(*steps[1:])) == UNIT


def test_grain_of_a_clock_that_stands_still_is_endless() -> None:
    still = Stepping()
    began = still.now
    assert grain_of(still) == math.inf
    assert 0.1 < still.now - began < 0.1 + 4 * UNIT
    assert grain_of(Stepping(UNIT)) == UNIT


def test_systems_clocks_move() -> None:
    time = SystemTime()
    wall, cpu, switches = time.wall(), time.cpu(), time.interruptions()
    time.sleep(0.05)
    assert time.wall() - wall >= 0.05
    until = time.cpu() + 0.01
    while time.cpu() < until:
        pass
    assert 0.01 <= time.cpu() - cpu <= time.wall() - wall
    assert time.interruptions() >= switches
    assert 0 < time.cpu_grain() < 0.1
    assert time.cpu_grain() == time.cpu_grain()

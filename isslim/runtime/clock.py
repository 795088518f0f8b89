"""Times calls in turn, by wall-clock time and by the CPU time of the calling thread.

The machine's speed drifts; a ratio of two medians taken one after the other drifts with it. Each
round runs every call in a short burst, so that its ratio to the baseline is taken within a moment.
A burst's first runs, when the processor's caches hold another variant's weights, are not counted: a
server runs one model again and again.

On a busy host the operating system preempts runs, the more often the longer they are: wall-clock
time then makes a large model look far slower than it is, and no median or pairing helps. CPU time
does not advance meanwhile. So both are measured, and where they
disagree the host was busy: the comparison waits briefly and is repeated once, and if the host is
still busy the ratios are based on CPU time. The remaining effect of other processes is on the
caches; the least CPU time of a round is that of the run which they disturbed least. Where even that
varies, because no run was undisturbed for long enough, a call is `unsettled`, and no figure should
be derived from it.

CPU time is that of the calling thread, in which ONNX Runtime runs a graph if it may use but one.
With several threads, and on a GPU, only wall-clock time is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isslim.runtime.time_sources import SystemTime, TimeSource
from isslim.settings.timing import TimingSettings

MIN_ROUNDS, MAX_ROUNDS, BURST = 7, 301, 3
MIN_SHARE, MAX_EXCESS, EXCESS_MS = 0.95, 1.1, 0.01
"""A host is busy when the thread had less than this share of the time, or when the wall says so
many times the least CPU time."""
MIN_BUSY_ROUNDS = 15
"""Of a figure that is relied on though the host was busy: among fewer there may be no undisturbed
run."""
UNSETTLED = 1.15
"""A call is unsettled when the least CPU time of a usual round is so many times that of the best
round."""
BUSY_SWITCHES = 60.0
"""Times a second that one of several threads is interrupted: a neighbour that never rests takes
turns of some milliseconds."""
COARSEST = 0.05
"""A CPU clock with a coarser resolution than this share of a run cannot measure it."""
CALM_SECONDS = 0.02
"""A host is quiet when a thread runs undisturbed for this long."""

Times = NDArray[np.float64]
Basis = Literal["wall", "cpu"]


@dataclass(frozen=True)
class TimingPlan:
    """The duration of one comparison. All in seconds.

    Attributes:
        seconds: beyond `MIN_ROUNDS`.
        max_seconds: after which, warm-up included, no further round is begun; there is always one.
        patience: how long a busy host is waited for before the comparison is made once more.
        warm: uncounted runs at the start of a burst: at least one, and for so long.
        warm_max: on a busy host, warming takes no longer than this.
        slow: a run of so long is timed once a round, and warmed by its first run alone: cold caches
            are nothing to it.
    """

    seconds: float = 3.0
    max_seconds: float = 60.0
    patience: float = 3.0
    warm: float = 0.005
    warm_max: float = 0.05
    slow: float = 1.0

    @classmethod
    def lasting(cls, seconds: float) -> TimingPlan:
        """A comparison of so many seconds, which waits for a busy host no longer than these."""
        return cls(seconds=seconds, patience=min(seconds, cls.patience))


@dataclass(frozen=True)
class Timed:
    """The times of one call's runs, in milliseconds.

    Attributes:
        wall: wall-clock times, (R, K): a row for each round, a column for each run of its
            burst.
        cpu: the least CPU time of a round's runs in the calling thread, (R,); None where it does
            not measure the run.
    """

    wall: Times
    cpu: Times | None = None

    def rounds(self, basis: Basis) -> Times:
        """A time for each round, (R,): the median of its burst on the wall, or the least CPU time.

        Raises:
            ValueError: when CPU time is asked for and was not read.
        """
        if basis == "wall":
            return np.median(self.wall, axis=1)
        if self.cpu is None:
            raise ValueError("CPU time was not read")
        return self.cpu

    @property
    def is_disturbed(self) -> bool:
        """Whether wall-clock times are not those of undisturbed runs."""
        if self.cpu is None:
            return False
        wall, cpu = (float(np.median(self.rounds(basis))) for basis in ("wall", "cpu"))
        return wall > max(MAX_EXCESS * cpu, cpu + EXCESS_MS)

    @property
    def is_unsettled(self) -> bool:
        """Whether even the least CPU time of a round is usually not that of an undisturbed run."""
        return self.cpu is not None and float(np.median(self.cpu)) > UNSETTLED * float(
            self.cpu.min()
        )


@dataclass(frozen=True)
class Comparison:
    """Calls that were timed in turn.

    Attributes:
        timed: by name; in the same round at the same position.
        busy: whether the host was found to have other work meanwhile.
    """

    timed: dict[str, Timed]
    busy: bool

    @property
    def basis(self) -> Basis:
        """The clock for the comparison, the same for all calls."""
        return (
            "cpu"
            if self.busy and all(each.cpu is not None for each in self.timed.values())
            else "wall"
        )

    def settled(self, names: Iterable[str]) -> bool:
        """Whether the times of these calls may be published.

        On a quiet host always, on a busy one where CPU time is reliable.

        Args:
            names: of the calls.
        """
        few = [self.timed[name] for name in names]
        enough = all(len(each.wall) >= MIN_BUSY_ROUNDS and not each.is_unsettled for each in few)
        return not self.busy or (self.basis == "cpu" and enough)


def interleave(
    runs: Mapping[str, Callable[[], object]],
    *,
    pairs: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    plan: TimingPlan | None = None,
    time: TimeSource = SystemTime(),
) -> Comparison:
    """Times calls in turn, burst by burst: the loop behind every comparison.

    Args:
        runs: what is timed, by name, at least one; called again and again.
        pairs: rounds; None: as many as fit the plan, and once more where the host was busy.
        threads: that one call may use; CPU time is read where it is one.
        device: on which they run; CPU time is read on `cpu`.
        plan: how long it goes on; None: for `ISS_COMPARISON_SECONDS`.
        time: the clocks.

    Returns:
        Milliseconds of every run, and whether the host was busy.
    """
    plan = plan or TimingPlan.lasting(TimingSettings().comparison_seconds)
    until = time.wall() + plan.max_seconds
    reads_cpu = threads == 1 and device == "cpu"
    race = _Race(runs, pairs, threads, reads_cpu, plan, time)
    found = race.compare(until)
    is_late = time.wall() + plan.patience + plan.seconds > until
    if pairs is not None or not found.busy or is_late:
        return found
    _wait_for_calm(plan.patience, time)
    return race.compare(until)


@dataclass(frozen=True)
class _Race:
    """Calls that are timed in turn; see `interleave` for the attributes."""

    runs: Mapping[str, Callable[[], object]]
    pairs: int | None
    threads: int
    reads_cpu: bool
    plan: TimingPlan
    time: TimeSource

    def compare(self, until: float) -> Comparison:
        """One comparison, started without knowledge about the host.

        Args:
            until: on the wall; no further round is begun then.
        """
        slow = {name: self._once(name)[0] > 1e3 * self.plan.slow for name in self.runs}
        for name in self.runs:
            if not slow[name]:
                self._once(name)
        walls: dict[str, list[list[float]]] = {name: [] for name in self.runs}
        leasts: dict[str, list[float]] = {name: [] for name in self.runs}
        switches, began, worked = self.time.interruptions(), self.time.wall(), self.time.cpu()
        rounds = 0
        while not self._is_over(rounds, began, until):
            for name in self.runs:
                wall, least = self._burst(name, is_slow=slow[name])
                walls[name].append(wall)
                leasts[name].append(least)
            rounds += 1
        took, worked = self.time.wall() - began, self.time.cpu() - worked
        shortest = min(float(np.median(each)) for each in leasts.values())
        # A coarse clock that did not advance during a whole burst has measured nothing.
        stood_still = any(min(each) <= 0 for each in leasts.values())
        if self.reads_cpu and not stood_still and self._is_measured(shortest):
            timed = {n: Timed(np.array(walls[n]), np.array(leasts[n])) for n in self.runs}
            busy = worked < MIN_SHARE * took or any(each.is_disturbed for each in timed.values())
            return Comparison(timed, busy)
        timed = {name: Timed(np.array(walls[name])) for name in self.runs}
        often = BUSY_SWITCHES * self.threads * took
        busy = self.threads > 1 and self.time.interruptions() - switches > often
        return Comparison(timed, busy)

    def _is_over(self, rounds: int, began: float, until: float) -> bool:
        if self.pairs is not None:
            return rounds >= max(1, self.pairs)
        now = self.time.wall()
        if rounds == 0:
            return False  # there is always one round
        if now > until or rounds >= MAX_ROUNDS:
            return True
        return rounds >= MIN_ROUNDS and now - began > self.plan.seconds

    def _burst(self, name: str, *, is_slow: bool) -> tuple[list[float], float]:
        """The wall times of a call in one round, and the least CPU time, warm-up included."""
        least = math.inf if is_slow else self._warm(name)
        burst = [self._once(name) for _ in range(1 if is_slow else BURST)]
        return [wall for wall, _ in burst], min(least, *(cpu for _, cpu in burst))

    def _warm(self, name: str) -> float:
        """Runs until the caches are warm; returns the least CPU time."""
        # Time in which the thread did not run warms nothing: where CPU time is read, that is what
        # counts, up to a limit.
        until = self.time.wall() + self.plan.warm_max
        left, least = 1e3 * self.plan.warm, math.inf
        while True:
            wall, cpu = self._once(name)
            left, least = left - (cpu if self.reads_cpu else wall), min(least, cpu)
            if left <= 0 or self.time.wall() > until:
                return least

    def _once(self, name: str) -> tuple[float, float]:
        """Milliseconds of one run, in wall-clock and CPU time."""
        # The wall clock is read next to the run: reading the other one is a system call, which
        # would count for several percent of the shortest runs.
        run = self.runs[name]
        cpu, wall = self.time.cpu(), self.time.wall()
        run()
        wall, cpu = self.time.wall() - wall, self.time.cpu() - cpu
        return 1e3 * wall, 1e3 * cpu

    def _is_measured(self, shortest_ms: float) -> bool:
        """Whether the CPU clock is fine enough for a run of this many milliseconds."""
        return shortest_ms > 0 and 1e3 * self.time.cpu_grain() <= COARSEST * shortest_ms


def ratio(baseline: Times, times: Times) -> tuple[float, float, float]:
    """The median of the rounds' ratios baseline / times, and the ends of its 95 % interval.

    Args:
        baseline: of every round, (R,).
        times: of the same rounds, (R,).
    """
    ratios = np.sort(baseline / times)
    count = len(ratios)
    # Binomial order statistics: the interval holds the median with 95 %, whatever the distribution.
    spread = 0.98 * math.sqrt(count)
    low, high = (
        max(0, math.floor(count / 2 - spread)),
        min(count - 1, math.ceil(count / 2 + spread)),
    )
    return float(np.median(ratios)), float(ratios[low]), float(ratios[high])


def _wait_for_calm(seconds: float, time: TimeSource) -> None:
    """Sleeps until this thread runs uninterrupted for a moment, or until a time limit."""
    until = time.wall() + seconds
    while time.wall() < until:
        time.sleep(min(0.25, seconds / 4))
        wall, cpu = time.wall(), time.cpu()
        while time.wall() - wall < CALM_SECONDS:
            pass
        if time.cpu() - cpu > MIN_SHARE * (time.wall() - wall):
            return

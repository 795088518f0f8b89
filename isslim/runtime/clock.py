"""The clock behind every comparison: calls timed in turn, by the wall and by the CPU time of the thread that makes them.

The machine's speed drifts; a ratio of two medians taken one after the other drifts with it. Each
round runs every call in a short burst, so that its ratio to the baseline is taken within a moment.
A burst's first runs, which find the processor's caches full of another variant's weights, are not
counted: a server runs one model again and again.

On a busy host the operating system takes the processor away in the middle of a run, the more often
the longer the run: the clock on the wall then makes a large model look far slower than it is, and
no median or pairing helps. CPU time stands still meanwhile. So both are read, and where they
disagree the host was busy: the comparison waits a little and is made once more, and if the host is
still busy the ratios are of CPU time. What is left of the neighbours then is that they fill the
caches; the least CPU time of a round is that of the run which they disturbed least. Where even that
varies, because no run was left alone for long enough, a call is `unsettled`, and no figure should
be made of it.

CPU time is that of the calling thread, in which ONNX Runtime runs a graph if it may use but one.
With several threads, and on a GPU, only the wall is read.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MIN_ROUNDS, MAX_ROUNDS, BURST = 7, 301, 3
WARM_SECONDS, WARM_MAX_SECONDS = 0.005, 0.05
"""Uncounted runs at the start of a burst: at least one, and for so long; on a busy host never
longer than the second."""
SLOW_SECONDS = 1.0
"""A run of so long is timed once a round and warmed by its first run alone: cold caches are nothing
to it."""
SECONDS = 3.0
"""How long one comparison may take beyond `MIN_ROUNDS`."""
MAX_SECONDS = 60.0
"""After which, warm-up included, no further round is begun; there is always one."""
PATIENCE = 3.0
"""How long a busy host is waited for before the comparison is made once more."""
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
"""A CPU clock that moves in larger steps than this share of a run does not measure it."""

Times = NDArray[np.float64]
Basis = Literal["wall", "cpu"]


@dataclass(frozen=True)
class Timed:
    """What the runs of one call took, in milliseconds.

    Attributes:
        wall: by the clock on the wall, (R, K): a row for each round, a column for each run of its
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
        """Whether what the wall says is not the time of an undisturbed run."""
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
        busy: whether the host had other work meanwhile, as far as that can be seen.
    """

    timed: dict[str, Timed]
    busy: bool

    @property
    def basis(self) -> Basis:
        """The clock to compare by, the same for all calls."""
        return (
            "cpu"
            if self.busy and all(each.cpu is not None for each in self.timed.values())
            else "wall"
        )

    def settled(self, names: Iterable[str]) -> bool:
        """Whether figures may be made of these calls: on a quiet host always, on a busy one where CPU time is to be trusted."""
        few = [self.timed[name] for name in names]
        enough = all(len(each.wall) >= MIN_BUSY_ROUNDS and not each.is_unsettled for each in few)
        return not self.busy or (self.basis == "cpu" and enough)


def interleave(
    runs: Mapping[str, Callable[[], object]],
    *,
    pairs: int | None = None,
    threads: int = 1,
    device: str = "cpu",
) -> Comparison:
    """Times calls in turn, burst by burst: the one loop behind every comparison.

    Args:
        runs: what is timed, by name; called again and again.
        pairs: rounds; None: as many as fit a few seconds, and once more where the host was busy.
        threads: that one call may use; CPU time is read where it is one.
        device: on which they run; CPU time is read on `cpu`.

    Returns:
        Milliseconds of every run, and whether the host was busy.
    """
    until = time.perf_counter() + MAX_SECONDS
    reads_cpu = threads == 1 and device == "cpu"
    found = _compared(runs, pairs, threads, until, reads_cpu=reads_cpu)
    if pairs is not None or not found.busy or time.perf_counter() + PATIENCE + SECONDS > until:
        return found
    _wait_for_calm(PATIENCE)
    return _compared(runs, pairs, threads, until, reads_cpu=reads_cpu)


def _compared(
    runs: Mapping[str, Callable[[], object]],
    pairs: int | None,
    threads: int,
    until: float,
    *,
    reads_cpu: bool,
) -> Comparison:
    """One comparison, begun on a host of which nothing is known."""

    def once(name: str) -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.thread_time()
        runs[name]()
        return 1e3 * (time.perf_counter() - wall), 1e3 * (time.thread_time() - cpu)

    def warm(name: str) -> float:
        """Runs until the caches are warm; returns the least CPU time."""
        # Time in which the thread did not run warms nothing: where CPU time is read, that is what
        # counts, up to a limit.
        left, until = (
            1e3 * WARM_SECONDS,
            time.perf_counter() + (WARM_MAX_SECONDS if reads_cpu else WARM_SECONDS),
        )
        least = math.inf
        while True:
            wall, cpu = once(name)
            left, least = left - (cpu if reads_cpu else wall), min(least, cpu)
            if left <= 0 or time.perf_counter() > until:
                return least

    slow = {name: once(name)[0] > 1e3 * SLOW_SECONDS for name in runs}
    for name in runs:
        if not slow[name]:
            once(name)
    walls: dict[str, list[list[float]]] = {name: [] for name in runs}
    leasts: dict[str, list[float]] = {name: [] for name in runs}
    began, worked, switches, rounds = time.perf_counter(), time.thread_time(), _interruptions(), 0
    while True:
        for name in runs:
            least = math.inf if slow[name] else warm(name)
            burst = [once(name) for _ in range(1 if slow[name] else BURST)]
            walls[name].append([wall for wall, _ in burst])
            leasts[name].append(min(least, *(cpu for _, cpu in burst)))
        rounds += 1
        enough = pairs if pairs is not None else MIN_ROUNDS
        late = pairs is not None or rounds >= MAX_ROUNDS or time.perf_counter() - began > SECONDS
        exhausted = pairs is None and time.perf_counter() > until
        if (rounds >= enough and late) or exhausted:
            break
    took, worked = time.perf_counter() - began, time.thread_time() - worked
    shortest = min((float(np.median(each)) for each in leasts.values()), default=0.0)
    if reads_cpu and shortest > 0 and 1e3 * _grain() <= COARSEST * shortest:
        timed = {name: Timed(np.array(walls[name]), np.array(leasts[name])) for name in runs}
        busy = worked < MIN_SHARE * took or any(each.is_disturbed for each in timed.values())
    else:
        timed = {name: Timed(np.array(walls[name])) for name in runs}
        busy = threads > 1 and _interruptions() - switches > BUSY_SWITCHES * threads * took
    return Comparison(timed, busy)


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


def _interruptions() -> int:
    """How often the system took the processor from one of this process's threads so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _wait_for_calm(seconds: float) -> None:
    """Sleeps until this thread is let run for a moment without being interrupted, or for so long."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        time.sleep(min(0.25, seconds / 4))
        wall, cpu = time.perf_counter(), time.thread_time()
        while time.perf_counter() - wall < 0.02:
            pass
        if time.thread_time() - cpu > MIN_SHARE * (time.perf_counter() - wall):
            return


@cache
def _grain() -> float:
    """The steps in which the thread's CPU clock moves, in seconds: some systems count it in ticks of milliseconds."""
    steps: list[float] = []
    until = time.perf_counter() + 0.1
    while len(steps) < 5 and time.perf_counter() < until:
        last = now = time.thread_time()
        while now == last and time.perf_counter() < until:
            now = time.thread_time()
        steps.append(now - last)
    return min((each for each in steps if each > 0), default=math.inf)

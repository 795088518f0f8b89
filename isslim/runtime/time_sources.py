"""The clocks that calls are timed by: a protocol, and the system's."""

from __future__ import annotations

import math
import resource
import time
from functools import cache
from typing import Protocol

GRAIN_SECONDS = 0.1
"""How long the resolution of the CPU clock is measured."""


class TimeSource(Protocol):
    """The clocks that are read while calls are timed. Times are in seconds."""

    def wall(self) -> float:
        """Wall-clock time from an arbitrary origin."""

    def cpu(self) -> float:
        """CPU time of the calling thread from an arbitrary origin."""

    def cpu_grain(self) -> float:
        """The resolution of `cpu`; infinity where it does not advance."""

    def interruptions(self) -> int:
        """Involuntary context switches of this process so far."""

    def sleep(self, seconds: float) -> None:
        """Sleeps."""


class SystemTime:
    """The clocks of this machine."""

    def wall(self) -> float:
        """See `TimeSource`."""
        return time.perf_counter()

    def cpu(self) -> float:
        """See `TimeSource`."""
        return time.thread_time()

    def cpu_grain(self) -> float:
        """See `TimeSource`; some systems count in ticks of milliseconds."""
        return _system_grain()

    def interruptions(self) -> int:
        """See `TimeSource`."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw

    def sleep(self, seconds: float) -> None:
        """See `TimeSource`."""
        time.sleep(seconds)


def grain_of(source: TimeSource) -> float:
    """The smallest of some steps that the CPU clock of a source was seen to make, in seconds.

    Infinity where it did not advance for `GRAIN_SECONDS`.
    """
    steps: list[float] = []
    until = source.wall() + GRAIN_SECONDS
    while len(steps) < 5 and source.wall() < until:
        last = now = source.cpu()
        while now == last and source.wall() < until:
            now = source.cpu()
        steps.append(now - last)
    return min((each for each in steps if each > 0), default=math.inf)


@cache
def _system_grain() -> float:
    return grain_of(SystemTime())

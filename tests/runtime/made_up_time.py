"""Time that passes as a test says, for what times calls."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, cycle

UNIT = 1 / 1024
"""Seconds."""


class MadeUpTime:
    """Time that passes when a call works, when somebody sleeps, and `tick` at every look at it.

    Args:
        tick: seconds that pass while the time on the wall is read; `busy` of it has the thread.
        grain: of the CPU clock.
    """

    def __init__(self, tick: float = 0.0, busy: float = 0.0, grain: float = 0.0) -> None:
        self.now, self.own, self.switches = 1000.0, 500.0, 7
        self.slept: list[float] = []
        self._tick, self._busy, self._grain = tick, busy, grain

    def wall(self) -> float:
        self.now += self._tick
        self.own += self._busy
        return self.now

    def cpu(self) -> float:
        return self.own

    def cpu_grain(self) -> float:
        return self._grain

    def interruptions(self) -> int:
        return self.switches

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def call(
        self, wall: float, cpu: float | None = None, runs: list[float] | None = None
    ) -> Callable[[], None]:
        """A call that takes so many seconds; they are noted in `runs`."""

        def run() -> None:
            self.now += wall
            self.own += wall if cpu is None else cpu
            if runs is not None:
                runs.append(wall)

        return run


def sequence(time: MadeUpTime, *runs: tuple[float, float]) -> Callable[[], None]:
    """A call that takes (wall, CPU) seconds, one pair after another, the last one for ever."""
    left = list(runs)

    def run() -> None:
        wall, cpu = left.pop(0) if len(left) > 1 else left[0]
        time.now += wall
        time.own += cpu

    return run


def in_turn(time: MadeUpTime, units: tuple[float, ...]) -> Callable[[], None]:
    """A call that takes so many units, those of one round after those of another, and again."""
    # Two runs come before the rounds, which are of four if a run takes five units or more.
    left = chain(units[:1] * 2, cycle([each for each in units for _ in range(4)]))

    def run() -> None:
        time.call(next(left) * UNIT)()

    return run

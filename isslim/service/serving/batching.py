"""Jobs, the runs that they ask for, and which comes next: fair, and shared where it pays.

A job is a generator: it yields the runs that it needs, is resumed with their results once all of
them have ended, and returns its answer. It never knows what else was computed in the same run, nor
when.

Between jobs, turns are taken by cost, as in start-time fair queueing (Goyal et al. 1996): a run's
tag is where its job's previous one ended, but not before the present, and the least tag comes next.
A job that asks for little is therefore not held up by one that asks for much. What else waits for
the same runner may join the run whose turn it is. Nothing is waited for: what has gathered while
others ran is the next batch, and what comes alone runs alone, at once.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

from isslim.runtime.run_control import RunControl

Result = TypeVar("Result")
Owned = TypeVar("Owned", bound="Account")
MAX_LOOKED_AT = 64
"""Waiting runs from which those that join one are chosen."""


@dataclass(frozen=True)
class Lane:
    """A limit on parallel runs of one owner, independent of free slots.

    Attributes:
        owner: what the runs share, such as a process; each owner has one lane.
        width: number of parallel runs; None for no limit.
    """

    owner: Hashable
    width: int | None = None


@dataclass(frozen=True)
class Done:
    """The result of a run.

    Attributes:
        output: the runner's.
        seconds: of the run, shared out by cost among all that took part in it.
    """

    output: Any
    seconds: float


class Runner(Protocol):
    """What runs inputs; runners that are equal share their runs."""

    @property
    def lane(self) -> Lane:
        """Of its runs."""

    def choose(self, inputs: Sequence[Any]) -> Sequence[int]:
        """Which of the waiting inputs the next run takes; 0 is among them.

        Args:
            inputs: those that wait, the most urgent first.
        """

    def run(self, inputs: Sequence[Any], control: RunControl) -> Sequence[tuple[Any, float]]:
        """Runs inputs together.

        Args:
            inputs: as chosen.
            control: may stop the run.

        Returns:
            For each input its output, and what it cost, in the unit of `Run.cost`.
        """


@dataclass(frozen=True)
class Run:
    """A run that a job asks for.

    Attributes:
        runner: runs it.
        input: of the run.
        cost: expected, in tokens or what compares to them.
    """

    runner: Runner
    input: Any
    cost: float


Job = Generator[Sequence[Run], Sequence[Done], Result]


@dataclass(frozen=True)
class _Alone:
    """Runs one function."""

    work: Callable[[RunControl], Any]
    cost: float

    @property
    def lane(self) -> Lane:
        """Nobody else's."""
        return Lane(self)

    def choose(self, inputs: Sequence[Any]) -> Sequence[int]:
        """The first alone."""
        return [0]

    def run(self, inputs: Sequence[Any], control: RunControl) -> Sequence[tuple[Any, float]]:
        """What the function returns.

        Args:
            inputs: of no meaning.
            control: handed to it.
        """
        return [(self.work(control), self.cost)]


def alone(work: Callable[[RunControl], object], cost: float = 1.0) -> Job[Done]:
    """A job, or a part of one, of one run that is shared with nobody.

    Args:
        work: what is run; it ends soon after its control is stopped.
        cost: in the unit of `Run.cost`.
    """
    (done,) = yield [Run(_Alone(work, cost), None, cost)]
    return done


class Account:
    """What a job was given so far.

    Attributes:
        finish: the tag at which its runs so far end.
        is_background: whether it only runs what nobody waits for: all others come first.
    """

    finish: float = 0.0
    is_background: bool = False

    def is_over(self) -> bool:
        """Whether the job's time is over: it gets no further turn."""
        return False


@dataclass(frozen=True)
class Turn(Generic[Owned]):
    """A run in the queue; without one, the job itself is to be resumed.

    Attributes:
        account: of its job.
        lane: that it needs.
        run: what is to be run.
        index: which of its job's current runs it is.
    """

    account: Owned
    lane: Lane
    run: Run | None = None
    index: int = 0


@dataclass
class _Line(Generic[Owned]):
    """What waits for one lane and how many of it are running.

    Turns of the background come last, and otherwise the least tag first.
    """

    lane: Lane
    waiting: list[tuple[bool, float, int, Turn[Owned]]] = field(default_factory=list)
    running: int = 0

    def is_ready(self) -> bool:
        width = self.lane.width
        return bool(self.waiting) and (width is None or self.running < width)


class FairQueue(Generic[Owned]):
    """The turns that wait. Not for several threads at a time."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, _Line[Owned]] = {}
        self._now, self._order = 0.0, count()

    def put(self, turn: Turn[Owned]) -> None:
        """Adds a turn; a run stands behind those of its job."""
        account, tag = turn.account, self._now
        # What a job has computed is not held back by what it cost: it goes on at once.
        if turn.run is not None:
            tag = max(tag, account.finish)
            account.finish = tag + turn.run.cost
        line = self._lines.get(turn.lane.owner)
        if line is None:
            line = self._lines[turn.lane.owner] = _Line(turn.lane)
        insort(line.waiting, (account.is_background, tag, next(self._order), turn))

    def is_ready(self) -> bool:
        """Whether `take` would find something."""
        return any(line.is_ready() for line in self._lines.values())

    def take(self) -> list[Turn[Owned]]:
        """What is to be run next, together; empty when nothing can be. It is `ended` later."""
        while ready := [line for line in self._lines.values() if line.is_ready()]:
            line = min(ready, key=lambda each: each.waiting[0][:3])
            seen = line.waiting[:MAX_LOOKED_AT]
            line.waiting[:MAX_LOOKED_AT] = [each for each in seen if not each[3].account.is_over()]
            if line.waiting:
                return self._taken(line)
            self._forget(line)
        return []

    def _taken(self, line: _Line[Owned]) -> list[Turn[Owned]]:
        is_background, tag, _, first = line.waiting[0]
        if not is_background:
            self._now = max(self._now, tag)
        chosen = [0]
        if first.run is not None:
            seen = line.waiting[:MAX_LOOKED_AT]
            inputs = [
                turn.run.input
                for background, _, _, turn in seen
                if turn.run is not None and background is is_background
            ]
            chosen = sorted(first.run.runner.choose(inputs))
        turns = [line.waiting[index][3] for index in chosen]
        for index in reversed(chosen):
            del line.waiting[index]
        line.running += 1
        return turns

    def ended(self, turns: Sequence[Turn[Owned]]) -> None:
        """Frees the lane of what `take` returned."""
        line = self._lines[turns[0].lane.owner]
        line.running -= 1
        self._forget(line)

    def drop(self, account: Owned) -> None:
        """Removes all turns of a job."""
        for line in list(self._lines.values()):
            line.waiting = [each for each in line.waiting if each[3].account is not account]
            self._forget(line)

    def _forget(self, line: _Line[Owned]) -> None:
        """Keeps no lane that nobody uses."""
        if not line.waiting and not line.running:
            del self._lines[line.lane.owner]

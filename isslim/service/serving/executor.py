"""Runs work beside the event loop: a few runs at once, in lanes where need be, each stoppable.

A run holds one of a few slots. One that takes long gives its slot up and goes on: others begin
beside it, so that a few long runs delay nobody for longer than `PATIENCE_SECONDS`. At its request's
deadline, or when its sender has left, the task that awaits a run is cancelled: the answer goes out
at once, and the run is told to stop. Its lane is free when it really has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from isslim.runtime.run_control import RunControl
from isslim.service.serving.admission import Ticket
from isslim.service.serving.thread_pool import ThreadPool

Result = TypeVar("Result")
PATIENCE_SECONDS = 0.5
"""As long as that a run keeps its slot."""
MAX_LONG_RUNS = 16
"""That gave their slots up. More keep theirs: each takes a thread, and memory for its arrays."""
MAX_OF_A_MODEL = 8
"""Runs of one model at once, when they share a process with others."""


@dataclass(frozen=True)
class Lane:
    """Runs that take turns, whatever slots are free.

    Attributes:
        owner: what they share, such as a process; of the same owner there is one lane.
        width: how many run at once.
    """

    owner: object
    width: int


def shared_lane(model: object) -> Lane:
    """The lane of a model that is run in this process: whoever published it chose what it takes.

    A tokenizer that never ends, and that nothing stops, takes a few threads for ever; others are
    left.
    """
    return Lane(model, MAX_OF_A_MODEL)


def own_lanes(sessions: Iterable[object]) -> list[Lane]:
    """The lanes of sessions that make one run after the other, each in a process of its own."""
    return [Lane(session, 1) for session in sessions]


class _Run:
    """One piece of work in the pool.

    Attributes:
        control: stops it.
        lanes: that it holds until it really has ended.
        awaited: its end, for the request; cancelled with it.
        long: whether it gave its slot up.
        patience: ends with its slot given up.
    """

    patience: asyncio.TimerHandle

    def __init__(self, lanes: list[asyncio.Semaphore]) -> None:
        self.control, self.lanes, self.long = RunControl(), lanes, False
        self.awaited: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class Executor:
    """A bounded pool of threads. ONNX Runtime lets go of the interpreter while it runs.

    Args:
        runs_at_once: slots.
    """

    def __init__(self, runs_at_once: int) -> None:
        self._pool = ThreadPool(runs_at_once + MAX_LONG_RUNS, "run")
        self._slots = asyncio.Semaphore(runs_at_once)
        self._lanes: WeakKeyDictionary[Any, asyncio.Semaphore] = WeakKeyDictionary()
        self._running: set[_Run] = set()
        self._long_runs = 0

    async def submit(
        self, work: Callable[[RunControl], Result], ticket: Ticket, lanes: Sequence[Lane] = ()
    ) -> Result:
        """Runs work in the pool, when it is its turn.

        Args:
            work: what to do; ends soon after the control that it is given is stopped.
            ticket: of the request; its wait is added to.
            lanes: the work takes turns with others of them.

        Returns:
            What `work` returned.
        """
        # In one order whoever asks: two requests would else wait for one another for ever.
        ordered = sorted(lanes, key=lambda lane: id(lane.owner))
        run = await self._turn(ticket, [self._semaphore(lane) for lane in ordered])
        self._begin(run, work)
        ticket.begun = True
        try:
            result: Result = await run.awaited
        except asyncio.CancelledError:
            run.control.stop()
            raise
        return result

    async def _turn(self, ticket: Ticket, lanes: list[asyncio.Semaphore]) -> _Run:
        """Waits until a run may begin; it then holds its lanes and a slot."""
        asked, held = time.perf_counter(), list[asyncio.Semaphore]()
        try:
            # The slot last: whoever waits for a long run of their own lane must hold none.
            for turn in (*lanes, self._slots):
                await turn.acquire()
                held.append(turn)
        except asyncio.CancelledError:
            for turn in held:
                turn.release()
            raise
        finally:
            ticket.queue_seconds += time.perf_counter() - asked
        return _Run(lanes)

    def _semaphore(self, lane: Lane) -> asyncio.Semaphore:
        found = self._lanes.get(lane.owner)
        if found is None:
            found = self._lanes[lane.owner] = asyncio.Semaphore(lane.width)
        return found

    def _begin(self, run: _Run, work: Callable[[RunControl], object]) -> None:
        def ended(result: object, error: BaseException | None) -> None:
            self._ended(run)
            if run.awaited.cancelled():
                return  # its request was answered, or has nobody to answer
            if error is None:
                run.awaited.set_result(result)
            else:
                run.awaited.set_exception(error)

        self._running.add(run)
        self._pool.begin(lambda: work(run.control), ended)
        loop = asyncio.get_running_loop()
        run.patience = loop.call_later(PATIENCE_SECONDS, self._give_up_slot, run)

    def _give_up_slot(self, run: _Run) -> None:
        if self._long_runs < MAX_LONG_RUNS:
            self._long_runs += 1
            run.long = True
            self._slots.release()
        else:
            loop = asyncio.get_running_loop()
            run.patience = loop.call_later(PATIENCE_SECONDS, self._give_up_slot, run)

    def _ended(self, run: _Run) -> None:
        self._running.discard(run)
        run.patience.cancel()
        for lane in run.lanes:
            lane.release()
        if run.long:
            self._long_runs -= 1
        else:
            self._slots.release()

    def close(self) -> None:
        """Stops all runs and waits for none, as one may be that nothing stops."""
        for run in list(self._running):
            run.control.stop()
        self._pool.close()

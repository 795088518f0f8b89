"""Runs work in threads: a limited number of stoppable runs in parallel, in lanes where needed.

A run holds one of a few slots. A long run gives up its slot and continues: others can start, so
that a few long runs delay nobody for longer than `PATIENCE_SECONDS`. At the request's deadline, or
when its sender has disconnected, the task that awaits a run is cancelled: the answer is sent
immediately, and the run is asked to stop. Its lane is free once it has actually stopped.
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
"""How long a run keeps its slot."""
MAX_LONG_RUNS = 16
"""Most runs without a slot. Further ones keep theirs: each takes a thread and memory."""
MAX_OF_A_MODEL = 8
"""Parallel runs of one model, when they share a process with others."""


@dataclass(frozen=True)
class Lane:
    """A limit on parallel runs of one owner, independent of free slots.

    Attributes:
        owner: what the runs share, such as a process; each owner has one lane.
        width: number of parallel runs.
    """

    owner: object
    width: int


def shared_lane(model: object) -> Lane:
    """The lane of a model that runs in this process; its publisher determines what a run costs.

    A tokenizer that never ends and cannot be stopped occupies a few threads forever; others remain.
    """
    return Lane(model, MAX_OF_A_MODEL)


def own_lanes(sessions: Iterable[object]) -> list[Lane]:
    """The lanes of sessions that run sequentially, each in its own process."""
    return [Lane(session, 1) for session in sessions]


class _Run:
    """One piece of work in the pool.

    Attributes:
        control: stops it.
        lanes: lanes that it holds until it has actually ended.
        awaited: its result, for the request; cancelled with it.
        long: whether it gave up its slot.
        patience: timer after which it gives up its slot.
    """

    patience: asyncio.TimerHandle

    def __init__(self, lanes: list[asyncio.Semaphore]) -> None:
        self.control, self.lanes, self.long = RunControl(), lanes, False
        self.awaited: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class Executor:
    """A bounded pool of threads. ONNX Runtime releases the interpreter lock while it runs.

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
        """Runs work in the pool, in its turn.

        Args:
            work: the function to run; it ends soon after its control is stopped.
            ticket: of the request; the wait is added to it.
            lanes: the work takes turns with others of them.

        Returns:
            The result of `work`.
        """
        # Always in the same order: otherwise two requests could deadlock.
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
            # The slot last: a request that waits for its lane must not hold one.
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
                return  # its request was answered, or the sender has disconnected
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
        """Stops all runs without waiting, since some may not be stoppable."""
        for run in list(self._running):
            run.control.stop()
        self._pool.close()

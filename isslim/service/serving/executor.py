"""Runs work beside the event loop: a few runs at once, in lanes where need be, each of which can be stopped.

A run holds one of a few slots. One that takes long gives its slot up and goes on: others begin beside
it, so that a few long runs delay nobody for longer than `PATIENCE_SECONDS`. At its request's deadline,
or when its sender has left, the awaiting task is cancelled: the answer goes out at once, and the run is
told to stop. Its lane is free when it really has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from isslim.runtime.run_control import RunControl
from isslim.service.serving.admission import Ticket

Result = TypeVar("Result")
PATIENCE_SECONDS = 0.5
"""As long as that a run keeps its slot."""
MAX_LONG_RUNS = 16
"""That gave their slots up. More keep theirs: each takes a thread, and memory for its arrays."""
MAX_ENCODING = 4
"""Requests of one model whose inputs are encoded at once."""


@dataclass(frozen=True)
class Lane:
    """Runs that take turns, whatever slots are free.

    Attributes:
        owner: what they share, such as a process; of the same owner there is one lane.
        width: how many run at once.
    """

    owner: object
    width: int


def encoding_lane(model: object) -> Lane:
    """The lane in which inputs of a model are encoded: whoever published it chose how.

    A tokenizer that takes for ever keeps a few threads, and no other model from answering.
    """
    return Lane(model, MAX_ENCODING)


class _Run:
    """One piece of work in the pool.

    Attributes:
        control: stops it.
        lanes: that it holds until it really has ended.
        long: whether it gave its slot up.
        future: its end.
        patience: ends with its slot given up.
    """

    future: asyncio.Future[Any]
    patience: asyncio.TimerHandle

    def __init__(self, lanes: list[asyncio.Semaphore]) -> None:
        self.control, self.lanes, self.long = RunControl(), lanes, False


class Executor:
    """A bounded pool of threads. ONNX Runtime lets go of the interpreter while it runs.

    Args:
        runs_at_once: slots.
    """

    def __init__(self, runs_at_once: int) -> None:
        self._pool = ThreadPoolExecutor(runs_at_once + MAX_LONG_RUNS, thread_name_prefix="run")
        self._slots = asyncio.Semaphore(runs_at_once)
        self._lanes: WeakKeyDictionary[Any, asyncio.Semaphore] = WeakKeyDictionary()
        self._running: set[_Run] = set()
        self._long_runs = 0

    async def submit(
        self, work: Callable[[RunControl], Result], ticket: Ticket, lane: Lane | None = None
    ) -> Result:
        """Runs work in the pool, when it is its turn.

        Args:
            work: what to do; ends soon after the control that it is given is stopped.
            ticket: of the request; its wait is added to.
            lane: the work takes turns with others of it; None: it waits for nothing but a slot.

        Returns:
            What `work` returned.
        """
        asked, turns = time.perf_counter(), [self._slots]
        if lane is not None:
            # First the lane: whoever waits for a long run of their own lane must hold no slot.
            turns.insert(0, self._semaphore(lane))
        held: list[asyncio.Semaphore] = []
        try:
            for turn in turns:
                await turn.acquire()
                held.append(turn)
        except BaseException:
            for turn in held:
                turn.release()
            raise
        finally:
            ticket.queue_seconds += time.perf_counter() - asked
        ticket.begun = True
        run = self._begin(work, held[:-1])
        try:
            # Not the future itself: with its task it would be cancelled, and its lane be free.
            await asyncio.wait((run.future,))
        except asyncio.CancelledError:
            run.control.stop()
            raise
        result: Result = run.future.result()
        return result

    def _semaphore(self, lane: Lane) -> asyncio.Semaphore:
        found = self._lanes.get(lane.owner)
        if found is None:
            found = self._lanes[lane.owner] = asyncio.Semaphore(lane.width)
        return found

    def _begin(self, work: Callable[[RunControl], object], lanes: list[asyncio.Semaphore]) -> _Run:
        run, loop = _Run(lanes), asyncio.get_running_loop()
        run.future = loop.run_in_executor(self._pool, work, run.control)
        run.patience = loop.call_later(PATIENCE_SECONDS, self._give_up_slot, run)
        run.future.add_done_callback(lambda _: self._ended(run))
        self._running.add(run)
        return run

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
        if not run.future.cancelled():
            run.future.exception()  # looked at: nobody else may be there any more to do so

    def close(self) -> None:
        """Stops all runs and waits for none: one that cannot be stopped must not hold the service."""
        for run in list(self._running):
            run.control.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

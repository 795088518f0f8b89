"""Runs jobs in threads: a limited number of stoppable runs in parallel, in a fair order.

A run holds one of a few slots. A thread that has ended a run goes on with the next turn itself,
since every switch to another thread costs as much as a short text. A long run gives up its slot and
continues: others can start, so that a few long runs delay nobody for longer than
`PATIENCE_SECONDS`. At the request's deadline, or when its sender has disconnected, the task that
awaits a job is cancelled: the answer is sent immediately, and a run that nobody else shares is
asked to stop. Its lane is free once it has actually stopped.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar

from isslim.runtime.run_control import RunControl
from isslim.service.serving.admission import Ticket
from isslim.service.serving.batching import Account, Done, FairQueue, Job, Lane, Run, Turn

Result = TypeVar("Result")
PATIENCE_SECONDS, ENCODING_SECONDS = 0.5, 0.02
"""How long a run keeps its slot, and a job's own code, which encodes a text or makes an answer: for
a text of megabytes that takes as long as a hundred runs of a short one."""
MAX_LONG_RUNS = 16
"""Most runs without a slot. Further ones keep theirs: each takes a thread and memory."""
MAX_OF_A_MODEL = 8
"""Jobs of one model that are resumed in parallel: its publisher determines what that costs. A
tokenizer that never ends and cannot be stopped occupies a few threads forever; others remain."""
NO_RESULT = Done(None, 0.0)


class _Task(Account):
    """A job that is awaited.

    Attributes:
        job: the generator.
        ticket: of the request.
        lane: in which it is resumed.
        loop: that awaits it.
        awaited: its result.
        results: of its current runs, as they end.
        missing: how many of them have not ended.
        busy_seconds: what was computed for it.
        has_ended: whether it returned, or failed.
    """

    def __init__(self, job: Job[Any], ticket: Ticket, owner: Hashable | None) -> None:
        self.job, self.ticket = job, ticket
        self.is_background = ticket.is_background
        self.lane = Lane(self if owner is None else owner, MAX_OF_A_MODEL)
        self.loop = asyncio.get_running_loop()
        self.awaited: asyncio.Future[Any] = self.loop.create_future()
        self.results: list[Done] | None = None
        self.missing, self.busy_seconds, self.has_ended = 0, 0.0, False

    def is_over(self) -> bool:
        """Whether nobody waits for its result any more: it may not begin another run."""
        return self.has_ended or self.awaited.done() or time.monotonic() > self.ticket.deadline

    def end(self, result: object, error: BaseException | None = None) -> None:
        """Hands the result or the error over to the loop, from any thread.

        Args:
            result: of the job.
            error: that it raised; None: none.
        """
        self.has_ended = True
        with suppress(RuntimeError):  # the loop is closed: nobody awaits the result any more
            self.loop.call_soon_threadsafe(self._end, result, error)

    def _end(self, result: object, error: BaseException | None) -> None:
        if self.awaited.done():
            return  # its request was answered, or the sender has disconnected
        if error is None:
            self.awaited.set_result(result)
        else:
            self.awaited.set_exception(error)


@dataclass(eq=False)
class _Current:
    """What one thread is running.

    Attributes:
        turns: that share it.
        control: stops it; None: it is a job's own code, which nothing stops.
        began: the time, by `time.monotonic`.
        is_long: whether it gave up its slot.
    """

    turns: list[Turn[_Task]]
    control: RunControl | None
    began: float = field(default_factory=time.monotonic)
    is_long: bool = False

    @classmethod
    def of(cls, turns: list[Turn[_Task]]) -> _Current:
        """What `FairQueue.take` returned."""
        return cls(turns, None if turns[0].run is None else RunControl())

    def stop(self) -> None:
        """Ends a run."""
        if self.control is not None:
            self.control.stop()

    def takes_long(self) -> bool:
        """Whether it is to give up its slot."""
        patience = ENCODING_SECONDS if self.control is None else PATIENCE_SECONDS
        return not self.is_long and time.monotonic() - self.began >= patience


class Executor:
    """A bounded pool of threads. ONNX Runtime releases the interpreter lock while it runs.

    Args:
        runs_at_once: slots.
        observe: called with the number of inputs of each run.
    """

    def __init__(
        self, runs_at_once: int, observe: Callable[[float], object] = lambda inputs: None
    ) -> None:
        self._observe = observe
        self._slots, self._max_threads = runs_at_once, runs_at_once + MAX_LONG_RUNS
        self._lock = threading.Lock()
        self._queue, self._current = FairQueue[_Task](), set[_Current]()
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._threads = self._idle = self._woken = self._long = 0
        self._timer: tuple[asyncio.AbstractEventLoop, asyncio.TimerHandle] | None = None
        self._closed = False

    async def submit(
        self, job: Job[Result], ticket: Ticket, owner: Hashable | None = None
    ) -> Result:
        """Runs a job.

        Args:
            job: the generator, not begun.
            ticket: of the request; the time in which nothing was computed for it is added to it.
            owner: of the code that the job itself runs, such as a model's tokenizer.

        Returns:
            What the job returned.
        """
        asked, task = time.perf_counter(), _Task(job, ticket, owner)
        with self._lock:
            self._queue.put(Turn(task, task.lane))
            wakes = self._reserve()
        if wakes:
            self._wake.put(True)
        self._watch(task.loop)
        try:
            result: Result = await task.awaited
        except asyncio.CancelledError:
            self._abandon(task)
            raise
        finally:
            waited = time.perf_counter() - asked - task.busy_seconds
            ticket.queue_seconds += max(0.0, waited)  # two of its runs may overlap
        return result

    def close(self) -> None:
        """Stops all runs without waiting, since some may not be stoppable."""
        with self._lock:
            self._closed = True
            for current in self._current:
                current.stop()
            for _ in range(self._threads):
                self._wake.put(False)

    def _abandon(self, task: _Task) -> None:
        with self._lock:
            self._queue.drop(task)
            for current in self._current:
                if all(turn.account.is_over() for turn in current.turns):
                    current.stop()

    def _slots_taken(self) -> int:
        return len(self._current) - self._long

    def _reserve(self) -> bool:
        """Reserves a thread if there is something for it to do; with the lock.

        Where it did, the thread is woken by the caller, without the lock: it would wait for that.
        """
        if self._slots_taken() + self._woken >= self._slots or not self._queue.is_ready():
            return False
        if self._idle:
            self._idle -= 1
        elif self._threads < self._max_threads:
            self._threads += 1
            name = f"run-{self._threads}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
        else:
            return False
        self._woken += 1
        return True

    def _work(self) -> None:
        """A thread. It never delays the end of the process: some runs cannot be stopped."""
        while self._wake.get():
            current = self._next(None)
            while current is not None:
                if current.control is None:
                    self._resume(current.turns[0].account)
                else:
                    self._run(current.turns, current.control)
                current = self._next(current)

    def _next(self, ended: _Current | None) -> _Current | None:
        """What this thread runs next.

        Args:
            ended: what it has run; None when it was woken.
        """
        with self._lock:
            if ended is None:
                self._woken -= 1
            else:
                self._current.discard(ended)
                self._long -= ended.is_long
                self._queue.ended(ended.turns)
            has_slot = self._slots_taken() < self._slots and not self._closed
            turns = self._queue.take() if has_slot else []
            if not turns:
                self._idle += 1
                return None
            current = _Current.of(turns)
            self._current.add(current)
            wakes = self._reserve()
        if wakes:
            self._wake.put(True)
        return current

    def _resume(self, task: _Task) -> None:
        """Lets a job go on, to its next runs or to its end."""
        began, runs, result, error = time.perf_counter(), list[Run](), None, None
        task.ticket.begun = True
        try:
            runs = list(task.job.send(task.results))  # type: ignore[arg-type]
        except StopIteration as returned:
            result = returned.value
        except BaseException as raised:  # any error is passed to whoever awaits the result
            error = raised
        task.busy_seconds += time.perf_counter() - began
        if not runs:
            task.end(result, error)
            return
        with self._lock:
            task.results, task.missing = [NO_RESULT] * len(runs), len(runs)
            for index, run in enumerate(runs):
                self._queue.put(Turn(task, run.runner.lane, run, index))

    def _run(self, turns: Sequence[Turn[_Task]], control: RunControl) -> None:
        self._observe(len(turns))
        outcomes = _outcomes(turns, control)
        with self._lock:
            for turn, (done, unspent, error) in zip(turns, outcomes, strict=True):
                task = turn.account
                task.busy_seconds += done.seconds
                task.finish -= unspent
                if error is not None:
                    self._queue.drop(task)
                    task.end(None, error)
                elif task.results is not None:
                    task.results[turn.index] = done
                    task.missing -= 1
                    if not task.missing:
                        self._queue.put(Turn(task, task.lane))

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Looks for long runs while there are any; called on the loop."""
        if self._timer is None or self._timer[0] is not loop:
            self._timer = loop, loop.call_later(ENCODING_SECONDS, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Takes the slots of long runs."""
        self._timer, wakes = None, 0
        with self._lock:
            for current in self._current:
                if current.takes_long() and self._long < MAX_LONG_RUNS:
                    current.is_long = True
                    self._long += 1
                    wakes += self._reserve()
            is_busy = bool(self._current) or self._woken > 0
        for _ in range(wakes):
            self._wake.put(True)
        if is_busy and not self._closed:
            self._watch(loop)


Outcome = tuple[Done, float, BaseException | None]
"""A result, how much less it cost than expected, and the error in place of a result."""


def _outcomes(turns: Sequence[Turn[Any]], control: RunControl) -> list[Outcome]:
    """Runs turns together.

    Args:
        turns: of one runner.
        control: stops the run.
    """
    runs = [turn.run for turn in turns if turn.run is not None]
    began = time.perf_counter()
    try:
        found = runs[0].runner.run([run.input for run in runs], control)
    except BaseException as error:  # any error is passed to whoever awaits the result
        if len(turns) == 1 or control.stopped:
            return [(NO_RESULT, 0.0, error)] * len(turns)
        # One of them is to blame, and the others are not to know.
        return [outcome for turn in turns for outcome in _outcomes([turn], control)]
    seconds = time.perf_counter() - began
    total = sum(cost for _, cost in found)
    return [
        (Done(output, seconds * cost / total), run.cost - cost, None)
        for run, (output, cost) in zip(runs, found, strict=True)
    ]

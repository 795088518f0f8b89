"""Jobs beside the event loop: slots, lanes, long runs, runs that are given up, errors."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from isslim.runtime.run_control import RunControl
from isslim.service.serving import executor as module
from isslim.service.serving.admission import Ticket
from isslim.service.serving.batching import Done, Job, Lane, Run, alone
from isslim.service.serving.executor import MAX_OF_A_MODEL, Executor

PATIENCE = 0.1


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", PATIENCE)


class Held:
    """Work that lasts until it is let go of or stopped."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.stopped = False

    def __call__(self, control: RunControl) -> str:
        with control.on_stop(self.go.set):
            self.begun.set()
            assert self.go.wait(20)
        self.stopped |= control.stopped
        return "held"


def quick(control: RunControl) -> str:
    return threading.current_thread().name


@dataclass(eq=False)
class Recorder:
    """Runs letters together, and remembers which; an `x` is refused.

    Attributes:
        batches: what was run together.
        before: done in each run.
    """

    width: int | None = 1
    most: int = 8
    batches: list[str] = field(default_factory=list)
    before: Callable[[RunControl], object] = quick

    @property
    def lane(self) -> Lane:
        return Lane(self, self.width)

    def choose(self, inputs: Sequence[str]) -> Sequence[int]:
        return range(min(self.most, len(inputs)))

    def run(self, inputs: Sequence[str], control: RunControl) -> list[tuple[str, float]]:
        self.before(control)
        self.batches.append("".join(inputs))
        if "x" in inputs:
            raise LookupError("no such letter")
        return [(each.upper(), 1.0) for each in inputs]


def letters(runner: Recorder, text: str) -> Job[str]:
    """Runs a text's letters one after the other."""
    result = ""
    for letter in text:
        (done,) = yield [Run(runner, letter, 1.0)]
        result += done.output
    return result


def with_executor(slots: int, test: Callable[[Executor], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        executor = Executor(slots)
        try:
            await asyncio.wait_for(test(executor), 20)
        finally:
            executor.close()

    asyncio.run(run())


async def begun(held: Held) -> None:
    while not held.begun.is_set():
        await asyncio.sleep(0.005)


async def submitted(
    executor: Executor, *jobs: Job[Any], owner: object = None
) -> list[asyncio.Task[Any]]:
    """Jobs that wait for their turns, in this order."""
    tasks = []
    for job in jobs:
        tasks.append(asyncio.create_task(executor.submit(job, Ticket(), owner)))
        await asyncio.sleep(0)
    return tasks


def test_run_waits_for_a_slot_until_the_one_before_it_has_ended_or_takes_long() -> None:
    async def test(executor: Executor) -> None:
        held, ticket = Held(), Ticket()
        (first,) = await submitted(executor, alone(held))
        await begun(held)
        began = time.perf_counter()
        done = await executor.submit(alone(quick), ticket)
        assert done.output.startswith("run-")
        assert PATIENCE / 2 < ticket.queue_seconds <= time.perf_counter() - began
        assert not first.done()
        held.go.set()
        assert (await first).output == "held"
        again = Ticket()
        await executor.submit(alone(quick), again)
        assert again.queue_seconds < PATIENCE / 2

    with_executor(1, test)


def test_slots_are_given_back_once_each() -> None:
    """Five long runs, and later as many at once as there are slots, and no more."""

    async def test(executor: Executor) -> None:
        held = [Held() for _ in range(5)]
        tasks = await submitted(executor, *map(alone, held))
        for each in held:
            await begun(each)
        for each in held:
            each.go.set()
        await asyncio.gather(*tasks)
        most, now, lock = 0, 0, threading.Lock()

        def count(control: RunControl) -> None:
            nonlocal most, now
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.02)
            with lock:
                now -= 1

        await asyncio.gather(*(executor.submit(alone(count), Ticket()) for _ in range(12)))
        assert most == 2

    with_executor(2, test)


def test_runs_of_a_lane_take_turns_and_hold_no_slot_while_they_wait() -> None:
    async def test(executor: Executor) -> None:
        held = Held()
        runner = Recorder(before=held, most=1)
        tasks = await submitted(executor, letters(runner, "a"), letters(runner, "b"))
        await begun(held)
        await asyncio.sleep(2 * PATIENCE)
        await executor.submit(alone(quick), Ticket())
        assert runner.batches == []
        held.go.set()
        assert await asyncio.gather(*tasks) == ["A", "B"]
        assert runner.batches == ["a", "b"]

    with_executor(1, test)


def test_jobs_of_a_model_that_never_go_on_leave_threads_for_others() -> None:
    async def test(executor: Executor) -> None:
        go, stuck = threading.Event(), [0]

        def endless() -> Job[str]:
            stuck[0] += 1
            assert go.wait(20)
            yield from ()
            return "ended"

        tasks = await submitted(executor, *(endless() for _ in range(20)), owner="model")
        while stuck[0] < MAX_OF_A_MODEL:
            await asyncio.sleep(0.01)
        assert (await executor.submit(alone(quick), Ticket(), "other")).output
        assert stuck[0] == MAX_OF_A_MODEL
        go.set()
        assert await asyncio.gather(*tasks) == ["ended"] * 20

    with_executor(1, test)


def test_long_text_is_encoded_beside_the_runs_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code of a job gives up its slot sooner than a run would, which it never does here."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 60.0)

    async def test(executor: Executor) -> None:
        begun, go = threading.Event(), threading.Event()

        def encoding() -> Job[str]:
            begun.set()
            assert go.wait(20)
            yield from ()
            return "encoded"

        (first,) = await submitted(executor, encoding())
        while not begun.is_set():
            await asyncio.sleep(0.002)
        await executor.submit(alone(quick), Ticket())
        assert not first.done()
        go.set()
        assert await first == "encoded"

    with_executor(1, test)


def test_what_has_gathered_during_a_run_is_the_next_one() -> None:
    async def test(executor: Executor) -> None:
        held = Held()
        runner = Recorder(before=held)
        tasks = await submitted(executor, letters(runner, "a"))
        await begun(held)
        others = await submitted(executor, *(letters(runner, text) for text in ("bc", "d", "ef")))
        held.go.set()
        assert await asyncio.gather(*tasks, *others) == ["A", "BC", "D", "EF"]
        assert runner.batches == ["a", "bde", "cf"]

    with_executor(1, test)


def test_results_of_several_runs_come_back_in_their_order_with_their_share_of_the_time() -> None:
    async def test(executor: Executor) -> None:
        def slow(control: RunControl) -> None:
            time.sleep(0.03)

        def job() -> Job[list[Done]]:
            return list((yield [Run(runner, letter, 1.0) for letter in "abc"]))

        runner, ticket = Recorder(before=slow), Ticket()
        done = await executor.submit(job(), ticket)
        assert [each.output for each in done] == ["A", "B", "C"]
        assert runner.batches == ["abc"]
        assert all(each.seconds == done[0].seconds for each in done)
        assert 0.03 <= sum(each.seconds for each in done) < 3 * 0.03
        assert ticket.queue_seconds < 0.03

    with_executor(1, test)


def test_run_whose_request_is_cancelled_is_stopped_and_keeps_its_lane_until_it_has_ended() -> None:
    async def test(executor: Executor) -> None:
        held = Held()
        runner = Recorder(before=held)
        (task,) = await submitted(executor, letters(runner, "a"))
        await begun(held)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await executor.submit(letters(runner, "b"), Ticket()) == "B"
        assert held.stopped

    with_executor(1, test)


def test_shared_run_goes_on_for_the_others_when_one_of_its_requests_is_cancelled() -> None:
    async def test(executor: Executor) -> None:
        first, second = Held(), Held()
        turns = iter((first, second))
        runner = Recorder(before=lambda control: next(turns)(control))
        (blocking,) = await submitted(executor, letters(runner, "a"))
        await begun(first)
        leaving, staying = await submitted(executor, letters(runner, "b"), letters(runner, "c"))
        first.go.set()
        await begun(second)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert not second.go.is_set()
        second.go.set()
        assert [await blocking, await staying] == ["A", "C"]
        assert runner.batches == ["a", "bc"]
        assert not second.stopped

    with_executor(1, test)


def test_request_that_is_cancelled_while_it_waits_takes_no_turn() -> None:
    async def test(executor: Executor) -> None:
        held, runner = Held(), Recorder()
        (first,) = await submitted(executor, alone(held))
        await begun(held)
        (waiting,) = await submitted(executor, letters(runner, "a"))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        held.go.set()
        await first
        await executor.submit(alone(quick), Ticket())
        assert runner.batches == []

    with_executor(1, test)


def test_request_whose_time_is_over_before_its_turn_is_never_run() -> None:
    async def test(executor: Executor) -> None:
        held, late, runner = Held(), Ticket(deadline=time.monotonic()), Recorder()
        (first,) = await submitted(executor, alone(held))
        await begun(held)
        waiting = asyncio.create_task(executor.submit(letters(runner, "a"), late))
        await asyncio.sleep(0)
        held.go.set()
        await first
        await executor.submit(letters(runner, "b"), Ticket())
        assert runner.batches == ["b"]
        assert not late.begun
        waiting.cancel()

    with_executor(1, test)


def test_error_of_a_run_reaches_its_request_alone_and_the_slot_is_free() -> None:
    async def test(executor: Executor) -> None:
        for _ in range(3):
            held = Held()
            runner = Recorder(before=held)
            (first,) = await submitted(executor, letters(runner, "a"))
            await begun(held)
            texts = ("b", "x", "c")
            tasks = await submitted(executor, *(letters(runner, text) for text in texts))
            held.go.set()
            found = await asyncio.gather(first, *tasks, return_exceptions=True)
            assert [found[0], found[1], found[3]] == ["A", "B", "C"]
            assert isinstance(found[2], LookupError)
            assert runner.batches == ["a", "bxc", "b", "x", "c"]
        await executor.submit(alone(quick), Ticket())

    with_executor(1, test)


def test_error_of_a_job_reaches_its_request() -> None:
    def fail() -> Job[None]:
        yield from ()
        raise LookupError("no such thing")

    async def test(executor: Executor) -> None:
        for _ in range(3):
            with pytest.raises(LookupError, match="no such thing"):
                await executor.submit(fail(), Ticket())

    with_executor(1, test)


def test_closing_stops_what_runs() -> None:
    async def test(executor: Executor) -> None:
        held = Held()
        (task,) = await submitted(executor, alone(held))
        await begun(held)
        executor.close()
        while not held.stopped:
            await asyncio.sleep(0.005)
        task.cancel()

    with_executor(1, test)

"""Runs beside the event loop: slots, lanes, runs that take long, runs that are given up, errors."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from isslim.runtime.run_control import RunControl
from isslim.service.serving import executor as module
from isslim.service.serving.admission import Ticket
from isslim.service.serving.executor import Executor, Lane, own_lanes

PATIENCE = 0.1


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", PATIENCE)


class Owner:
    """What a lane is of."""


class Held:
    """Work that lasts until it is let go of or stopped."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.stopped = False

    def __call__(self, control: RunControl) -> str:
        with control.on_stop(self.go.set):
            self.begun.set()
            assert self.go.wait(20)
        self.stopped = control.stopped
        return "held"


def quick(control: RunControl) -> str:
    return threading.current_thread().name


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


def test_run_waits_for_a_slot_until_the_one_before_it_has_ended_or_takes_long() -> None:
    async def test(executor: Executor) -> None:
        held, ticket = Held(), Ticket()
        first = asyncio.create_task(executor.submit(held, Ticket()))
        await begun(held)
        began = time.perf_counter()
        assert (await executor.submit(quick, ticket)).startswith("run-")
        assert PATIENCE / 2 < ticket.queue_seconds <= time.perf_counter() - began
        assert not first.done()
        held.go.set()
        assert await first == "held"
        again = Ticket()
        await executor.submit(quick, again)
        assert again.queue_seconds < PATIENCE / 2

    with_executor(1, test)


def test_slots_are_given_back_once_each() -> None:
    """Five long runs, and later as many at once as there are slots, and no more."""

    async def test(executor: Executor) -> None:
        held = [Held() for _ in range(5)]
        tasks = [asyncio.create_task(executor.submit(each, Ticket())) for each in held]
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

        await asyncio.gather(*(executor.submit(count, Ticket()) for _ in range(12)))
        assert most == 2

    with_executor(2, test)


def test_runs_of_a_lane_take_turns_and_hold_no_slot_while_they_wait() -> None:
    async def test(executor: Executor) -> None:
        owner, held, second = Owner(), Held(), Held()
        first = asyncio.create_task(executor.submit(held, Ticket(), [Lane(owner, 1)]))
        await begun(held)
        waiting = asyncio.create_task(executor.submit(second, Ticket(), [Lane(owner, 1)]))
        await asyncio.sleep(2 * PATIENCE)
        assert not second.begun.is_set()
        await executor.submit(quick, Ticket())
        held.go.set()
        await begun(second)
        second.go.set()
        assert [await first, await waiting] == ["held", "held"]

    with_executor(1, test)


def test_lanes_that_are_asked_for_in_any_order_never_wait_for_one_another() -> None:
    async def test(executor: Executor) -> None:
        owners = [Owner(), Owner(), Owner()]
        orders = [own_lanes(order) for order in (owners, owners[::-1], owners[1:] + owners[:1])]
        await asyncio.gather(
            *(executor.submit(quick, Ticket(), lanes) for lanes in orders for _ in range(20))
        )

    with_executor(3, test)


def test_run_whose_request_is_cancelled_is_stopped_and_keeps_its_lane_until_it_has_ended() -> None:
    async def test(executor: Executor) -> None:
        owner, held = Owner(), Held()
        task = asyncio.create_task(executor.submit(held, Ticket(), [Lane(owner, 1)]))
        await begun(held)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await executor.submit(quick, Ticket(), [Lane(owner, 1)])
        assert held.stopped

    with_executor(1, test)


def test_request_that_is_cancelled_while_it_waits_takes_no_turn() -> None:
    async def test(executor: Executor) -> None:
        owner, held = Owner(), Held()
        first = asyncio.create_task(executor.submit(held, Ticket(), [Lane(owner, 1)]))
        await begun(held)
        never = Held()
        waiting = asyncio.create_task(executor.submit(never, Ticket(), [Lane(owner, 1)]))
        await asyncio.sleep(0.02)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        held.go.set()
        await first
        await executor.submit(quick, Ticket(), [Lane(owner, 1)])
        assert not never.begun.is_set()

    with_executor(1, test)


def test_error_of_a_run_reaches_its_request_and_the_slot_is_free() -> None:
    def fail(control: RunControl) -> None:
        raise LookupError("no such thing")

    async def test(executor: Executor) -> None:
        for _ in range(3):
            with pytest.raises(LookupError, match="no such thing"):
                await executor.submit(fail, Ticket())
        await executor.submit(quick, Ticket())

    with_executor(1, test)


def test_closing_stops_what_runs() -> None:
    async def test(executor: Executor) -> None:
        held = Held()
        task = asyncio.create_task(executor.submit(held, Ticket()))
        await begun(held)
        executor.close()
        assert await task == "held"
        assert held.stopped

    with_executor(1, test)

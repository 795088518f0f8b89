"""How the block of an admitted request ends: with its own errors, or at the deadline."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import Request
from starlette.types import Message

from isslim.service.metrics import Metrics
from isslim.service.problems import RequestError
from isslim.service.serving.admission import WATCH_AFTER_SECONDS, Admission

SETTING = "ISS_SOME_SECONDS"


def asked(*headers: tuple[bytes, bytes], leaves_after: float = 60) -> Request:
    """A request whose sender closes the connection after so many seconds."""

    async def receive() -> Message:
        await asyncio.sleep(leaves_after)
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": list(headers), "state": {}}, receive)


@pytest.mark.parametrize("seconds", [0.01, WATCH_AFTER_SECONDS + 0.05])
def test_block_ends_at_its_deadline_whether_it_was_watched_or_not(seconds: float) -> None:
    async def run() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(RequestError, match=f"after {seconds:g} s") as refused:
            async with Admission(1, Metrics()).admit(asked(), seconds, SETTING):
                await asyncio.sleep(60)
        assert refused.value.kind == "overloaded"
        return loop.time() - began

    assert seconds <= asyncio.run(run()) < 30


def test_block_ends_when_its_sender_has_left() -> None:
    async def run() -> None:
        request = asked(leaves_after=0.01)
        with pytest.raises(RequestError) as refused:
            async with Admission(1, Metrics()).admit(request, 60, SETTING):
                await asyncio.sleep(60)
        assert refused.value.kind == "client-left"

    asyncio.run(run())


def test_a_blocks_own_errors_are_not_those_of_its_deadline() -> None:
    """Those of a storage that does not answer in time, say."""

    async def run() -> None:
        admission = Admission(1, Metrics())
        for error in (TimeoutError("storage"), ValueError("storage")):
            with pytest.raises(type(error), match="storage"):
                async with admission.admit(asked(), 60, SETTING):
                    raise error

    asyncio.run(run())


def test_an_error_of_time_that_the_deadline_brought_is_that_of_the_deadline() -> None:
    async def run() -> None:
        async with Admission(1, Metrics()).admit(asked(), 0.01, SETTING):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise TimeoutError from None

    with pytest.raises(RequestError) as refused:
        asyncio.run(run())
    assert refused.value.kind == "overloaded"


def test_only_so_many_are_admitted_and_those_that_ended_are_not_counted() -> None:
    async def run() -> None:
        admission = Admission(1, Metrics())
        for _ in range(2):
            async with admission.admit(asked(), 60, SETTING):
                with pytest.raises(RequestError, match="1 requests are running or waiting"):
                    async with admission.admit(asked(), 60, SETTING):
                        pass

    asyncio.run(run())

"""Calls over gRPC: their messages read within limits, their ids, their lines in the log.

gRPC reads a message whole, and tells nobody how long it is before it is there. Until a call asks
for its message, however, the connection takes only a small part of it: what bounds the memory is
how many calls read at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from isslim.service.access.caller import Caller
from isslim.service.large_bodies import LargeBodies, LargePlace
from isslim.service.problems import RequestError, problem_of
from isslim.service.request_id import HEADER, take_id
from isslim.store.tracing import is_tracing, request_span

_LOG = logging.getLogger("service")
_REQUESTS = logging.getLogger("service.requests")
READS_AT_ONCE, READ_SECONDS = 2, 0.5
"""Calls that read their message at once, and the seconds after which one that is not there yet
counts as large, so that those who send slowly hold up nobody else."""
STREAMS_AT_ONCE = 16
"""Streams of one process: each may be sent a message at any time."""
MAX_TEXT, MAX_ID = 2000, 128
"""Characters of an error, which travels in a header, and of a message's id in the log."""
QUIET = ("ServerLive", "ServerReady")
"""Methods that monitoring calls every few seconds: they are not logged."""
REQUEST_ID = HEADER.decode()
_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
    507: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
"""By the status of a problem; what is invalid has the others."""
Call: TypeAlias = grpc.aio.ServicerContext


class MessageReader:
    """Reads the messages of calls, of which only a few are large or on their way.

    Args:
        large: the bodies in memory that are larger than ordinary ones, those of HTTP included.
    """

    def __init__(self, large: LargeBodies) -> None:
        self._large = large
        self._reads = asyncio.Semaphore(READS_AT_ONCE)
        self._streams = STREAMS_AT_ONCE

    @asynccontextmanager
    async def of_call(self, call: Call, kind: Any) -> AsyncIterator[Any]:
        """The only message of a call; it is in memory until the block ends.

        Args:
            call: that sends it.
            kind: class of the message.

        Raises:
            RequestError: (overloaded) when it is large, or slow, and as many others are;
                (invalid-request) when there is none, or it is no such message.
        """
        place = LargePlace(self._large)
        try:
            yield await self._read(call, kind, place)
        finally:
            place.give_back()

    async def _read(self, call: Call, kind: Any, place: LargePlace) -> Any:
        reading: asyncio.Future[Any] | None = None
        try:
            async with self._reads:
                reading = asyncio.ensure_future(call.read())
                await asyncio.wait((reading,), timeout=READ_SECONDS)
            if not reading.done():
                _refuse(place.take())
            content = await reading
            if content is grpc.aio.EOF:
                raise RequestError("invalid-request", "the call holds no message")
            return self._parsed(content, kind, place)
        finally:
            if reading is not None:
                reading.cancel()

    @contextmanager
    def of_stream(self, content: bytes, kind: Any) -> Iterator[Any]:
        """A message of a stream, which was read; it is in memory until the block ends.

        Args:
            content: the message.
            kind: its class.

        Raises:
            RequestError: (overloaded) when it is large and as many others are; (invalid-request)
                when it is no such message.
        """
        place = LargePlace(self._large)
        try:
            yield self._parsed(content, kind, place)
        finally:
            place.give_back()

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Counts a stream for the duration of the block.

        Raises:
            RequestError: (overloaded) when there are too many.
        """
        if self._streams == 0:
            raise RequestError("overloaded", f"{STREAMS_AT_ONCE} streams are open; share one")
        self._streams -= 1
        try:
            yield
        finally:
            self._streams += 1

    def _parsed(self, content: bytes, kind: Any, place: LargePlace) -> Any:
        if len(content) > self._large.ordinary:
            _refuse(place.take())
        else:
            place.give_back()  # it was only slow
        try:
            return kind.FromString(content)
        except DecodeError as error:
            name = kind.DESCRIPTOR.name
            raise RequestError("invalid-request", f"the message is no {name}") from error


def _refuse(refusal: RequestError | None) -> None:
    if refusal is not None:
        raise refusal


def identified(call: Call) -> str:
    """The id of a call: its sender's own or a new one; its answer ends with it.

    Args:
        call: that begins.
    """
    sent = next((v for name, v in call.invocation_metadata() or () if name == REQUEST_ID), b"")
    chosen = take_id(sent.encode() if isinstance(sent, str) else sent).decode()
    set_trailing(call, REQUEST_ID, chosen)
    return chosen


def set_trailing(call: Call, name: str, value: str) -> None:
    """Sets what comes after the answer of a call, whatever the answer is.

    Args:
        call: that is answered.
        name: of the metadata.
        value: of it, in place of an earlier one.
    """
    others = [each for each in call.trailing_metadata() or () if each[0] != name]
    call.set_trailing_metadata((*others, (name, value)))


@dataclass
class CallRecord:
    """What the log and the audit trail say of an answer.

    Attributes:
        method: that was called.
        message_id: of the message, as its sender chose it.
        status: of the answer.
        http_status: the same, as HTTP has it.
        caller: who called; None: that is not known, or no matter.
        subject: what was changed.
    """

    method: str
    message_id: str = ""
    status: grpc.StatusCode = grpc.StatusCode.OK
    http_status: int = 200
    caller: Caller | None = None
    subject: str | None = None

    def refuse(self, refusal: Refusal) -> None:
        """The answer is an error."""
        self.status, self.http_status = refusal.code, refusal.http_status


@contextmanager
def recorded(method: str) -> Iterator[CallRecord]:
    """Writes a line about an answer at the end of the block.

    Args:
        method: that was called.
    """
    record, began = CallRecord(method), time.perf_counter()
    try:
        yield record
    except asyncio.CancelledError:
        record.status = grpc.StatusCode.CANCELLED
        raise
    finally:
        if method not in QUIET:
            seconds = time.perf_counter() - began
            facts = {"method": "gRPC", "route": method, "status": record.status.name}
            if record.message_id:
                facts["id"] = record.message_id[:MAX_ID]
            _REQUESTS.info("request", extra={**facts, "ms": round(1e3 * seconds, 3)})


class Refusal(NamedTuple):
    """An answer that is an error.

    Attributes:
        code: of gRPC.
        text: what is told.
        http_status: the code as HTTP has it.
    """

    code: grpc.StatusCode
    text: str
    http_status: int


def traced(method: str, call: Call) -> AbstractContextManager[object]:
    """A span for the duration of the block, below the sender's own if it names one.

    Args:
        method: that was called.
        call: with the metadata of its sender.
    """
    if not is_tracing() or method in QUIET:
        return nullcontext()
    metadata = call.invocation_metadata() or ()
    return request_span(f"gRPC {method}", lambda: {n: v for n, v in metadata if isinstance(v, str)})


def refusal_of(error: Exception) -> Refusal:
    """What is told of an error; one of the service's own is logged."""
    problem = problem_of(error)
    if problem.status == 500:
        _LOG.error("a call failed", exc_info=error)
    # Frames and what they wait for refer to each other, and hold the message: without this it
    # would be in memory until the collector looks for such cycles.
    error.__traceback__ = None
    code = _CODES.get(problem.status, grpc.StatusCode.INVALID_ARGUMENT)
    return Refusal(code, problem.detail[:MAX_TEXT], problem.status)

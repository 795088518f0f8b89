"""Answers that are written while they are computed: server-sent events, in the request's own task.

The framework sends a stream from another task than the one that began the request. A deadline holds
for one task: here all of it is the request's, so that what ends a run in time ends its stream too.
Every event waits until the connection takes it: a reader that is slow holds up its own run, and
never fills the memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from isslim.service.problems import INTERNAL, problem_of
from isslim.service.serving.admission import ticket_of
from isslim.types.schemas.problems import ProblemDocument

NO_CACHE = {"cache-control": "no-cache", "x-accel-buffering": "no"}
"""Headers of event streams, which no proxy should keep or collect."""
EVENT_STREAM = "text/event-stream"


class EventSender:
    """Sends events; the first one begins the answer.

    Args:
        send: of the connection.

    Attributes:
        begun: whether the answer has begun: its status cannot change any more.
        headers: of the answer, in addition to those of all event streams.
    """

    def __init__(self, send: Send) -> None:
        self._send, self.begun = send, False
        self.headers: dict[str, str] = {}

    async def send(self, events: bytes) -> None:
        """Sends formatted events, and waits until the connection has room for more."""
        if not self.begun:
            self.begun = True
            start = Response(headers={**NO_CACHE, **self.headers}, media_type=EVENT_STREAM)
            # Its length is not known.
            headers = [pair for pair in start.raw_headers if pair[0] != b"content-length"]
            message: dict[str, Any] = {"type": "http.response.start", "status": 200}
            await self._send({**message, "headers": headers})
        await self._send({"type": "http.response.body", "body": events, "more_body": True})

    async def end(self) -> None:
        """Ends the answer."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


Answer = Callable[[EventSender], Awaitable[Response | None]]
"""Computes an answer: returns it whole, or sends it as events and returns None."""


class LiveResponse(Response):
    """An answer that is computed as it is sent; errors before its first event are usual ones.

    Args:
        answer: computes it.
        fault: the event that says what is wrong, where that turns out after the first event.
    """

    def __init__(self, answer: Answer, fault: Callable[[ProblemDocument], bytes]) -> None:
        super().__init__()
        self._answer, self._fault = answer, fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Computes and sends it."""
        events = EventSender(send)
        try:
            whole = await self._answer(events)
        except Exception as error:
            if not events.begun:
                raise
            problem = problem_of(error)
            if (ticket := ticket_of(scope)) is not None:
                ticket.late_status = problem.status
            await events.send(self._fault(problem))
            await events.end()
            if problem.type == INTERNAL:
                raise  # for the log
            return
        if whole is not None:
            await whole(scope, receive, send)
        else:
            await events.end()

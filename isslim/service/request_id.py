"""The id of a request: the sender's own or a new one, in the answer, in logs and in problems."""

from __future__ import annotations

import os
import re
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = b"x-request-id"
_SANE = re.compile(rb"[A-Za-z0-9._:+/=-]{1,128}")
"""What is taken from a sender: no more, since it is written to logs."""
_CURRENT: ContextVar[str | None] = ContextVar("request_id", default=None)


def header_of(scope: Scope, name: bytes) -> bytes:
    """The first value of a header; empty where there is none.

    Args:
        scope: of a request.
        name: in lower case.
    """
    for each, value in scope["headers"]:
        if each == name:
            return bytes(value)
    return b""


def request_id() -> str | None:
    """The id of the request that this task or thread works for; None outside of any."""
    return _CURRENT.get()


def take_id(sent: bytes) -> bytes:
    """The id of the request that this task works for from now on.

    Args:
        sent: with the request; taken if it is short and plain.
    """
    chosen = sent if _SANE.fullmatch(sent) else os.urandom(16).hex().encode()
    # Never reset: each request has a context of its own, and the handler of a failure comes after
    # what calls this.
    _CURRENT.set(chosen.decode())
    return chosen


class RequestId:
    """Gives every request an id.

    Args:
        app: what comes behind.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Takes the sender's id if it is short and plain, or makes one."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        chosen = take_id(header_of(scope, HEADER))

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [pair for pair in message["headers"] if pair[0] != HEADER]
                message["headers"] = [*others, (HEADER, chosen)]
            await send(message)

        await self._app(scope, receive, named)

"""Which variants of which model gave an answer, as a header, and what comes after the answer."""

from __future__ import annotations

import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isslim.service.serving.admission import ticket_of
from isslim.service.serving.trials import Trials

HEADER = "x-isslim-model"
LEFT = 499
"""Status of what has none: the task ended before there was an answer."""


class ServedModel:
    """Names the model in every answer that one gave, whatever the protocol.

    Args:
        app: what comes behind.
        trials: are told of every answer once it was sent.
    """

    def __init__(self, app: ASGIApp, trials: Trials) -> None:
        self._app, self._trials = app, trials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Adds the header."""
        status, began = LEFT, time.perf_counter()

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status, ticket = message["status"], ticket_of(scope)
                if ticket is not None and ticket.variants:
                    MutableHeaders(scope=message)[HEADER] = ticket.served
            await send(message)

        try:
            await self._app(scope, receive, named)
        except Exception:
            status = 500  # perhaps after an answer had begun
            raise
        finally:
            ticket = ticket_of(scope)
            if ticket is not None:
                seconds = time.perf_counter() - began
                self._trials.answered(ticket, ticket.late_status or status, seconds)

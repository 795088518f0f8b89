"""The header `x-isslim-model`: which variants of which model gave an answer."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isslim.service.serving.admission import ticket_of

HEADER = "x-isslim-model"


class ServedModel:
    """Names the model in every answer that one gave, whatever the protocol.

    Args:
        app: what comes behind.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Adds the header."""

        async def named(message: Message) -> None:
            ticket = ticket_of(scope)
            if message["type"] == "http.response.start" and ticket is not None and ticket.variants:
                names = [f"{ticket.model}:{variant}" for variant in ticket.variants]
                MutableHeaders(scope=message)[HEADER] = ", ".join(names)
            await send(message)

        await self._app(scope, receive, named)

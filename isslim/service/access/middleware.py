"""Access as ASGI middleware: before the body is read, whatever answers behind it."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isslim.service.access.caller import PLACE
from isslim.service.access.control import AccessControl
from isslim.service.problems import SAFETY, RequestError, answer, problem_of

_READ = frozenset(
    (b"authorization", b"x-api-key", b"host", b"origin", b"sec-fetch-site"),
)


class Access:
    """Refuses requests that may not be asked, and says of all answers how browsers handle them.

    Args:
        app: what comes behind.
        control: the rules.
    """

    def __init__(self, app: ASGIApp, control: AccessControl) -> None:
        self._app, self._control = app, control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers or forwards a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there is nothing to be had by another protocol
            await send({"type": "websocket.close", "code": 1008})
            return

        async def safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                more = [pair for pair in SAFETY if pair[0] not in there]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        try:
            self._admit(scope)
        except RequestError as refusal:
            problem = problem_of(refusal)
            headers = {"www-authenticate": "Bearer"} if problem.status == 401 else {}
            await answer(scope["path"], problem, headers)(scope, receive, safely)
            return
        await self._app(scope, receive, safely)

    def _admit(self, scope: Scope) -> None:
        """Notes who asks.

        Raises:
            RequestError: when it is not answered.
        """
        # The first of each name, as servers and proxies take it.
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in _READ:
                headers.setdefault(name, value)
        control = self._control
        if control.hosts is not None:
            refusal = control.hosts.refusal(scope, headers)
            if refusal is not None:
                raise refusal
        scopes = control.permissions.scopes_of(scope["method"], scope["path"])
        client = scope.get("client")
        caller = control.caller(
            headers.get(b"authorization", b"") if scopes else b"",
            headers.get(b"x-api-key", b"") if scopes else b"",
            client[0] if client else "",
        )
        scope[PLACE] = caller
        control.check(caller, scopes)

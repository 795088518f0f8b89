"""Access as ASGI middleware: before the body is read, whatever answers behind it."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isslim.service.access.caller import PLACE
from isslim.service.access.control import AccessControl
from isslim.service.access.rates import Allowance, RateExceeded
from isslim.service.access.trail import LEFT, Trail
from isslim.service.problems import SAFETY, RequestError, answer, problem_of

_READ = frozenset((b"authorization", b"x-api-key", b"host", b"origin", b"sec-fetch-site"))
Header = tuple[bytes, bytes]


class Access:
    """Refuses requests that may not be asked, and notes those that change something.

    It also says of all answers how browsers handle them.

    Args:
        app: what comes behind.
        control: the rules.
        trail: of what is changed.
    """

    def __init__(self, app: ASGIApp, control: AccessControl, trail: Trail) -> None:
        self._app, self._control, self._trail = app, control, trail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers or forwards a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":  # there is nothing to be had by another protocol
            await send({"type": "websocket.close", "code": 1008})
        elif self._control.permissions.changes(scope["method"], scope["path"]):
            await self._noted(scope, receive, send)
        else:
            await self._checked(scope, receive, send)

    async def _noted(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As `_checked`, with an entry in the trail, also where it fails or its sender leaves.

        The entry is there before the answer ends: who has an answer finds it in the trail.
        """
        status, subject, method, path = LEFT, None, scope["method"], scope["path"]
        is_noted = False

        async def note() -> None:
            nonlocal is_noted
            is_noted = True
            await self._trail.note(scope.get(PLACE), method, path, status, subject)

        async def seen(message: Message) -> None:
            nonlocal status, subject
            if message["type"] == "http.response.start":
                status = message["status"]
                named = dict(message["headers"]).get(b"location")
                subject = None if named is None else named.decode("latin-1")
            elif not message.get("more_body") and not is_noted:
                await note()
            await send(message)

        try:
            await self._checked(scope, receive, seen)
        except Exception:
            status = 500
            raise
        finally:
            if not is_noted:
                await note()

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        more: tuple[Header, ...] = SAFETY

        async def safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(pair for pair in more if pair[0] not in there),
                ]
            await send(message)

        try:
            left = self._admit(scope)
        except RequestError as refusal:
            problem, headers = problem_of(refusal), dict[str, str]()
            if problem.status == 401:
                headers["www-authenticate"] = "Bearer"
            if isinstance(refusal, RateExceeded):
                headers["retry-after"] = str(refusal.allowance.reset)
                more = (*SAFETY, *refusal.allowance.headers)
            await answer(scope["path"], problem, headers)(scope, receive, safely)
            return
        if left is not None:
            more = (*SAFETY, *left.headers)
        await self._app(scope, receive, safely)

    def _admit(self, scope: Scope) -> Allowance | None:
        """Notes who asks.

        Raises:
            RequestError: when it is not answered.
        """
        # The first of each name, as servers and proxies take it.
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in _READ:
                headers.setdefault(name, value)
        control, client = self._control, scope.get("client")
        if control.hosts is not None:
            refusal = control.hosts.refusal(scope, headers)
            if refusal is not None:
                raise refusal
        scopes = control.permissions.scopes_of(scope["method"], scope["path"])
        caller = control.caller(
            headers.get(b"authorization", b"") if scopes else b"",
            headers.get(b"x-api-key", b"") if scopes else b"",
            client[0] if client else "",
        )
        scope[PLACE] = caller
        return control.admit(caller, scopes)

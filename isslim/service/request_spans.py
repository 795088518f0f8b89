"""Spans of the requests that reach their functions directly; the framework traces all others."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isslim.service.middleware import QUIET
from isslim.store.tracing import is_tracing, request_span


class DirectPaths:
    """Which requests are traced here.

    The framework's own tracing takes several times as long as such a request does besides.

    Attributes:
        routes: methods and paths of the direct routes, once they are known.
    """

    def __init__(self) -> None:
        self.routes: Container[tuple[str, str]] = ()

    def hold(self, scope: Mapping[str, object]) -> bool:
        """Whether a request is one of them."""
        return (scope.get("method"), scope.get("path")) in self.routes

    def exclude(self, scope: Mapping[str, object]) -> bool:
        """Whether the framework leaves a request alone: one of them, or one of monitoring."""
        return self.hold(scope) or str(scope.get("path", "")).startswith(QUIET)


class RequestSpans:
    """Makes them.

    Args:
        app: what comes behind.
        paths: which requests are traced.
    """

    def __init__(self, app: ASGIApp, paths: DirectPaths) -> None:
        self._app, self._paths = app, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forwards everything."""
        if not is_tracing() or scope["type"] != "http" or not self._paths.hold(scope):
            await self._app(scope, receive, send)
            return
        status = 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method, path, headers = scope["method"], scope["path"], scope["headers"]
        with request_span(f"{method} {path}", lambda: _texts(headers)) as span:
            try:
                await self._app(scope, receive, noted)
            finally:
                if span is not None:
                    span.facts |= {
                        "http.request.method": method,
                        "http.route": path,
                        "url.path": path,
                        "url.scheme": scope.get("scheme", "http"),
                        "http.response.status_code": status,
                    }
                    span.failed = status >= 500


def _texts(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}

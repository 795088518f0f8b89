"""ASGI middleware: limits on bodies, enforced while they stream in, and request metrics."""

from __future__ import annotations

import logging
import time
from contextlib import suppress

from prometheus_client import Histogram
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isslim.service.problems import STATUS, document

_LOG = logging.getLogger("service.requests")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
UPLOADS = ("/compress", "/inspect", "/sweeps")
"""Paths that take files."""
_QUIET = ("/health", "/metrics")
"""Paths that monitoring polls every few seconds: counted, not logged."""


class _TooLarge(Exception):
    """The body exceeded its limit."""


class BodyLimit:
    """Refuses bodies above a limit with a problem document.

    Args:
        app: what comes behind.
        limit: bytes of an ordinary request.
        upload_limit: bytes of a request that uploads.
    """

    def __init__(self, app: ASGIApp, limit: int, upload_limit: int) -> None:
        self._app, self._limit, self._upload_limit = app, limit, upload_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Counts incoming bytes; answers 413 as soon as there are too many."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._upload_limit if scope["path"] in UPLOADS else self._limit
        declared = next(
            (value for name, value in scope["headers"] if name == b"content-length"), b"0"
        )
        if declared.isdigit() and int(declared) > limit:
            await _too_large(limit)(scope, receive, send)
            return
        received, started, exceeded = 0, False, False

        async def counted() -> Message:
            nonlocal received, exceeded
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                exceeded = True
                raise _TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            # The framework answers 400 to any error while it parses a body; the correct answer
            # follows below.
            if started or not exceeded:
                started = True
                await send(message)

        with suppress(_TooLarge):
            await self._app(scope, counted, noted)
        if exceeded and not started:
            await _too_large(limit)(scope, receive, send)


def _too_large(limit: int) -> Response:
    return document(
        413,
        "too-large",
        STATUS["too-large"][1],
        f"the body is larger than the limit of {limit:,} bytes",
    )


class RequestMetrics:
    """Times and logs every request; the metric names the template of its route, never the path.

    Args:
        app: what comes behind.
        histogram: of seconds, by method, route and status.
    """

    def __init__(self, app: ASGIApp, histogram: Histogram) -> None:
        self._app, self._histogram = app, histogram

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forwards everything."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = 500, time.perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            seconds = time.perf_counter() - started
            # Clients may invent methods; a metric's labels are a closed set.
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._histogram.labels(method, route, str(status)).observe(seconds)
            if not scope["path"].startswith(_QUIET):
                facts = {"method": method, "route": route, "path": scope["path"], "status": status}
                _LOG.info("request", extra={**facts, "ms": round(1e3 * seconds, 3)})

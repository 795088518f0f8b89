"""ASGI middleware: limits on bodies, enforced while they stream in, and request metrics."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isslim.service.large_bodies import LargeBodies, LargePlace
from isslim.service.metrics import Metrics
from isslim.service.problems import RequestError, noted_problem, refused
from isslim.service.request_id import header_of

_LOG = logging.getLogger("service.requests")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
UPLOADS = ("/compress", "/inspect", "/sweeps")
"""Paths that take files."""
QUIET = ("/health", "/metrics", "/v2/health")
"""Paths that monitoring polls every few seconds: counted, not logged."""


class _Refused(Exception):
    """The body is read no further."""


@dataclass(frozen=True)
class BodyLimits:
    """Bytes that the body of a request may have.

    Attributes:
        ordinary: of most requests.
        upload: of those in `UPLOADS`.
        run: of the runs of a graph, which take arrays.
    """

    ordinary: int
    upload: int
    run: int

    def of(self, path: str) -> int:
        """The limit of a path."""
        if path in UPLOADS:
            return self.upload
        return self.run if is_run(path) else self.ordinary


def is_run(path: str) -> bool:
    """Whether a path is that of a run of a graph."""
    return (path.startswith("/models/") and path.endswith("/run")) or (
        path.startswith("/v2/models/") and path.endswith("/infer")
    )


class BodyLimit:
    """Refuses bodies above a limit.

    The body of a run may be much larger than that of others and is held in memory: only a few such
    bodies are taken at once.

    Args:
        app: what comes behind.
        limits: of bodies.
        large: those of runs that are in memory.
    """

    def __init__(self, app: ASGIApp, limits: BodyLimits, large: LargeBodies) -> None:
        self._app, self._limits, self._large = app, limits, large

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Counts incoming bytes; answers 413 as soon as there are too many."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limits.of(scope["path"])
        if _declared_bytes(scope) > limit:
            await refused(_too_large(limit), scope, receive, send)
            return
        received, started = 0, False
        place, refusal = LargePlace(self._large), None

        async def counted() -> Message:
            nonlocal received, refusal
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                refusal = _too_large(limit)
            elif received > self._large.ordinary and is_run(scope["path"]):
                refusal = place.take()
            if refusal is not None:
                raise _Refused
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            # The framework answers 400 to any error while it parses a body; the correct answer
            # follows below.
            if started or refusal is None:
                started = True
                await send(message)

        try:
            with suppress(_Refused):
                await self._app(scope, counted, noted)
        finally:
            place.give_back()
        if refusal is not None and not started:
            await refused(refusal, scope, receive, send)


def _declared_bytes(scope: Scope) -> int:
    """The length that a request names; 0 where it names none."""
    named = header_of(scope, b"content-length")
    return int(named) if named.isdigit() else 0


def _too_large(limit: int) -> RequestError:
    return RequestError("too-large", f"the body is larger than the limit of {limit:,} bytes")


class RequestMetrics:
    """Times and logs every request; the metric names the template of its route, never the path.

    Args:
        app: what comes behind.
        metrics: where its seconds are recorded, by method, route and status.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

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
            self._metrics.requests.labels(method, route, str(status)).observe(seconds)
            if status >= 400:
                # Above a rate by whatever refuses it, before its route or in it.
                kind = "rate-limited" if status == 429 else noted_problem(scope)
                self._metrics.note_refusal(kind)
            if not scope["path"].startswith(QUIET):
                facts = {"method": method, "route": route, "path": scope["path"], "status": status}
                _LOG.info("request", extra={**facts, "ms": round(1e3 * seconds, 3)})

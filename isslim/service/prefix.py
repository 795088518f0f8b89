"""The address below which a reverse proxy shows the service, such as `/models-of-us`."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit, urlunsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isslim.service.request_id import header_of


class Prefix:
    """Takes the prefix off the paths of requests, and puts it before the addresses of answers.

    Behind this, paths are what they are without a proxy: limits, permissions and the direct routes
    know nothing of it. A proxy may leave the prefix on the path, or take it off itself.

    Args:
        app: what comes behind.
        prefix: begins with a slash, and does not end with one.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app, self._prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forwards a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if path == self._prefix or path.startswith(f"{self._prefix}/"):
            raw = scope.get("raw_path")
            scope = {**scope, "path": path[len(self._prefix) :] or "/"}
            if raw is not None:
                scope["raw_path"] = raw[len(self._prefix.encode()) :] or b"/"
        host, path = header_of(scope, b"host").decode("latin-1"), scope["path"]

        async def prefixed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    (name, self._address(value, host, path) if name == b"location" else value)
                    for name, value in message["headers"]
                ]
            await send(message)

        await self._app(scope, receive, prefixed)

    def _address(self, location: bytes, host: str, path: str) -> bytes:
        """An address below the prefix; those of other hosts stay.

        Args:
            location: as the service has it.
            host: that was asked.
            path: that was asked; it may have come without the slash that relative addresses need.
        """
        text = location.decode("latin-1")
        there = urlsplit(text)
        if there.netloc and there.netloc != host:
            return location
        # Of its own the path alone: scheme, name and port are the proxy's to know.
        own = urljoin(path, urlunsplit(("", "", there.path or "/", there.query, there.fragment)))
        return f"{self._prefix}{own}".encode("latin-1")

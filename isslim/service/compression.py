"""ASGI middleware: answers are compressed where the request accepts gzip, files never."""

from __future__ import annotations

import re
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipResponder, IdentityResponder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_FILE = re.compile("/models/[^/]+/files/.+", re.DOTALL)
_WEIGHT = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


class Compression:
    """The framework's compression, which looks for `gzip` anywhere in `Accept-Encoding`.

    Files of a bundle are sent as they are: their `ETag` names the bytes of which `Range` takes a
    part, and compressed ones would be others.

    Args:
        app: what comes behind.
        options: as of the framework's `GZipResponder`.
    """

    def __init__(self, app: ASGIApp, /, **options: Any) -> None:
        self._app, self._options = app, options
        self._plain = {name: value for name, value in options.items() if name != "compresslevel"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forwards everything."""
        if scope["type"] != "http" or _FILE.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        forward: Send = send

        async def compressed(message: Message) -> None:
            nonlocal forward
            if message["type"] == "http.response.start" and not self._is_small(message):
                forward = self._responder(scope, send).send_with_compression
            await forward(message)

        await self._app(scope, receive, compressed)

    def _is_small(self, start: Message) -> bool:
        """Whether an answer says that it is too short to be compressed."""
        for name, value in start["headers"]:
            if name == b"content-length":
                return int(value) < int(self._plain["minimum_size"])
        return False

    def _responder(self, scope: Scope, send: Send) -> IdentityResponder:
        if accepts_gzip(",".join(Headers(scope=scope).getlist("accept-encoding"))):
            responder: IdentityResponder = GZipResponder(self._app, **self._options)
        else:
            # It names `Accept-Encoding` in `Vary`, for caches that serve others too.
            responder = IdentityResponder(self._app, **self._plain)
        responder.send = send
        return responder


def accepts_gzip(header: str) -> bool:
    """Whether `Accept-Encoding` accepts gzip (RFC 9110, section 12.5.3).

    A coding's name is compared whole and in any case; `*` stands for those that are not named, and
    a weight of 0 refuses. A weight that is not one refuses too: plain bytes can always be read.
    """
    weights: dict[str, bool] = {}
    for each in header.lower().split(","):
        coding, _, rest = each.partition(";")
        name, _, value = rest.partition("=")
        value = value.strip() if name.strip() == "q" else "0" if rest.strip() else "1"
        accepted = _WEIGHT.fullmatch(value) is not None and float(value) > 0
        weights.setdefault(coding.strip(), accepted)
    named = weights.get("gzip", weights.get("x-gzip"))
    return weights.get("*", False) if named is None else named

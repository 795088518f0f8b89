"""Answers as JSON, with the time of every stage in the `Server-Timing` header."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from fastapi import Response
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

JSON = "application/json"
PART_BYTES = 1 << 16
"""Of an answer, sent at a time: compressing it takes a few milliseconds."""


def json_with_server_timing(answer: BaseModel, stages: Mapping[str, float]) -> Response:
    """An answer as JSON, serialised in one timed pass, unlike the framework's way.

    Args:
        answer: the body.
        stages: milliseconds of the previous stages, in order; `serialize` is added.
    """
    began = time.perf_counter()
    body = answer.model_dump_json()
    return json_response(body, {**stages, "serialize": 1e3 * (time.perf_counter() - began)})


def json_response(body: str | bytes | Sequence[bytes], stages: Mapping[str, float]) -> Response:
    """An answer that was serialised before.

    Args:
        body: JSON, or its parts, which are not put together where they are large: that alone holds
            up others for as long as a short run takes.
        stages: milliseconds of the stages, in order.
    """
    headers = server_timing(stages)
    parts = (
        [body.encode()] if isinstance(body, str) else [body] if isinstance(body, bytes) else body
    )
    if sum(map(len, parts)) > PART_BYTES:
        return ResponseInParts(parts, headers)
    return Response(b"".join(parts), media_type=JSON, headers=headers)


class ResponseInParts(Response):
    """A large response: between its parts, which may be compressed on their way, others go on.

    Args:
        parts: of the body, JSON.
        headers: of the response, besides those of every one.
    """

    def __init__(self, parts: Sequence[bytes], headers: Mapping[str, str]) -> None:
        length = {"content-length": str(sum(map(len, parts)))}
        super().__init__(media_type=JSON, headers={**headers, **length})
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the parts."""
        head = {"type": "http.response.start", "status": self.status_code}
        await send({**head, "headers": self.raw_headers})
        held = bytearray()
        for part in self._parts:
            for first in range(0, len(part), PART_BYTES):
                held += part[first : first + PART_BYTES]
                if len(held) >= PART_BYTES:
                    body = bytes(held[:PART_BYTES])
                    del held[:PART_BYTES]
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": bytes(held), "more_body": False})


def server_timing(stages: Mapping[str, float]) -> dict[str, str]:
    """The header: milliseconds of each stage, in order."""
    return {"server-timing": ", ".join(f"{name};dur={value:.3f}" for name, value in stages.items())}

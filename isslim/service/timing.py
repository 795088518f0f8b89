"""Answers as JSON, with the time of every stage in the `Server-Timing` header."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from fastapi import Response
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

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


def json_response(body: str | bytes, stages: Mapping[str, float]) -> Response:
    """An answer that was serialised before.

    Args:
        body: JSON.
        stages: milliseconds of the stages, in order.
    """
    kind = Response if len(body) <= PART_BYTES else ResponseInParts
    return kind(body, media_type="application/json", headers=server_timing(stages))


class ResponseInParts(Response):
    """A large response: between its parts, which may be compressed on their way, others go on."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the parts."""
        head = {"type": "http.response.start", "status": self.status_code}
        await send({**head, "headers": self.raw_headers})
        body = memoryview(self.body)
        for first in range(0, len(body), PART_BYTES):
            last = first + PART_BYTES
            part, more = bytes(body[first:last]), last < len(body)
            await send({"type": "http.response.body", "body": part, "more_body": more})
            await asyncio.sleep(0)


def server_timing(stages: Mapping[str, float]) -> dict[str, str]:
    """The header: milliseconds of each stage, in order."""
    return {"server-timing": ", ".join(f"{name};dur={value:.3f}" for name, value in stages.items())}

"""JSON bodies: bounded before they are parsed, large ones parsed beside the event loop.

The parser holds the interpreter until it is done, and so does whoever makes Python's objects of
what it read: of a body of some megabytes that may be seconds, in which nothing else is answered. So
the values of a large body are counted first, by NumPy, which lets go of the interpreter.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from isslim.service.problems import RequestError, issues_of
from isslim.types.schemas.common import TooMany

Body = TypeVar("Body", bound=BaseModel)
SMALL_BYTES = 1 << 16
"""Parsed at once: another thread would take longer to begin."""
CHUNK_BYTES = 1 << 20
"""Counted at a time."""
MAX_NESTED, MAX_MEMBERS = 100_000, 5_000
"""Lists and objects of one body, and members of its objects: each costs as much as many numbers."""
ROOM = 1000
"""Values of a body beside those that a limit counts."""
QUOTE, BACKSLASH = ord('"'), ord("\\")


@dataclass(frozen=True)
class BodyLimits:
    """What one body may hold.

    Attributes:
        values: numbers, texts, lists and objects.
        items: of the lists that name a limit of their own, by its key (see `at_most`).
        hint: what else the sender can do; empty: nothing.
    """

    values: int
    items: Mapping[str, int]
    hint: str = ""


class BodyReader:
    """Parses bodies; large ones one after the other, so that their memory is bounded."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="parse")

    async def read(self, content: bytes, schema: type[Body], limits: BodyLimits) -> Body:
        """A body as its schema has it.

        Args:
            content: the body, JSON.
            schema: of the request.
            limits: what it may hold.

        Raises:
            RequestError: (invalid-request) with the first issues; (too-large) when it holds more
                than it may.
        """
        if len(content) <= SMALL_BYTES:
            return _parsed(content, schema, limits)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, _bounded, content, schema, limits)

    def close(self) -> None:
        """Parses nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


async def json_content(request: Request) -> bytes:
    """The body of a request that says that it is JSON, and is UTF-8 as JSON must be.

    Raises:
        RequestError: (invalid-request) when it says otherwise: a page elsewhere may send any other
            type without being asked.
        HTTPException: (400) when it is not UTF-8.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    main, _, sub = kind.partition("/")
    content = await request.body()
    if main != "application" or not (sub == "json" or sub.endswith("+json")):
        found = f"'{kind}'" if kind else "none"
        raise RequestError(
            "invalid-request", f"/body: the content type is {found}; send application/json"
        )
    try:
        codecs.utf_8_decode(content, "strict", True)
    except UnicodeDecodeError as error:
        raise HTTPException(400, "There was an error parsing the body") from error
    return content.removeprefix(codecs.BOM_UTF8)


def _parsed(content: bytes, schema: type[Body], limits: BodyLimits) -> Body:
    try:
        return schema.model_validate_json(content, context=limits.items)
    except ValidationError as error:
        raise _refusal(error) from None  # it holds the whole body


def _refusal(error: ValidationError) -> RequestError:
    for each in error.errors(include_url=False, include_input=False):
        cause = each.get("ctx", {}).get("error")
        if isinstance(cause, TooMany):
            return RequestError("too-large", str(cause))
    issues = issues_of(error, "body")
    detail = "; ".join(f"{each['pointer']}: {each['detail']}" for each in issues[:5])
    return RequestError("invalid-request", detail, issues)


def _bounded(content: bytes, schema: type[Body], limits: BodyLimits) -> Body:
    found = count_values(content)
    for number, most, what in (
        (found.values, limits.values, "values"),
        (found.nested, MAX_NESTED, "lists and objects"),
        (found.members, MAX_MEMBERS, "members of objects"),
    ):
        if number > most:
            raise RequestError(
                "too-large", f"the body holds {number:,} {what}; at most {most:,}{limits.hint}"
            )
    return _parsed(content, schema, limits)


@dataclass(frozen=True)
class ValueCounts:
    """What a JSON text holds; of one that is not valid, what its valid beginning holds at most.

    Attributes:
        values: upper bound of numbers, texts, lists, objects and words such as null.
        nested: lists and objects.
        members: of objects.
    """

    values: int
    nested: int
    members: int


def count_values(content: bytes) -> ValueCounts:
    """Counts commas, brackets and colons outside of texts.

    A backslash outside of a text is no JSON: the parser stops there, and it does not matter what is
    made of the rest.
    """
    commas = brackets = colons = 0
    inside, backslashes = 0, 0
    for first in range(0, len(content), CHUNK_BYTES):
        chunk = np.frombuffer(content, np.uint8, min(CHUNK_BYTES, len(content) - first), first)
        quotes = chunk == QUOTE
        escaped, backslashes = _escaped(chunk, backslashes)
        if escaped is not None:
            quotes &= ~escaped
        # Sums that wrap around at 256 keep whether they are odd: an odd one is inside of a text.
        passed = np.cumsum(quotes, dtype=np.uint8)
        outside = ((passed + np.uint8(inside)) & 1) == 0
        inside = (inside + int(passed[-1])) & 1
        commas += _count(chunk, b",", outside)
        brackets += _count(chunk, b"[", outside) + _count(chunk, b"{", outside)
        colons += _count(chunk, b":", outside)
    return ValueCounts(values=commas + brackets + 1, nested=brackets, members=colons)


def _count(chunk: NDArray[np.uint8], sign: bytes, where: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero((chunk == sign[0]) & where))


def _escaped(chunk: NDArray[np.uint8], backslashes: int) -> tuple[NDArray[np.bool_] | None, int]:
    """Which bytes stand behind an odd number of backslashes.

    Args:
        chunk: of the text, (N,).
        backslashes: how many stand at the end of what came before it.

    Returns:
        bool (N,), None where none is; and how many backslashes stand at the chunk's end.
    """
    is_backslash = chunk == BACKSLASH
    if not backslashes and not is_backslash.any():
        return None, 0
    positions = np.arange(len(chunk))
    # Of each place the last one up to it that holds another sign; what came before has negative
    # places.
    others = np.maximum.accumulate(np.where(is_backslash, -1 - backslashes, positions))
    before = positions - others  # backslashes up to each place, its own included
    run = np.concatenate([[backslashes], before[:-1]])
    return (run & 1) == 1, int(before[-1])

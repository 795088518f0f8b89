"""JSON bodies: bounded before they are parsed; large ones are parsed in a thread.

Parsing holds the interpreter lock, as does the creation of Python objects from the result: for a
body of some megabytes that may take seconds in which nothing else is answered. Therefore the values
of a large body are counted first, by NumPy, which releases the lock.
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
from isslim.service.routing import content_type, unsupported
from isslim.types.schemas.common import TooMany

Body = TypeVar("Body", bound=BaseModel)
SMALL_BYTES = 1 << 14
"""Bytes up to which a body is parsed directly: another thread would take longer to start."""
CHUNK_BYTES = 1 << 20
"""Bytes that are counted at a time."""
MAX_NESTED, MAX_MEMBERS = 100_000, 5_000
"""Limit on lists and objects of a body, and on members: each costs as much as many numbers."""
ROOM = 1000
"""Allowance for values of a body besides those that a limit counts."""
QUOTE, BACKSLASH = ord('"'), ord("\\")


@dataclass(frozen=True)
class BodyLimits:
    """The limits of one body.

    Attributes:
        values: numbers, texts, lists and objects.
        items: of the lists with their own limit, by its key (see `at_most`).
        hint: an alternative for the sender, if there is one.
    """

    values: int
    items: Mapping[str, int]
    hint: str = ""


class BodyReader:
    """Parses bodies; large ones sequentially, so that their memory is bounded."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="parse")

    async def read(self, content: bytes, schema: type[Body], limits: BodyLimits) -> Body:
        """A body, validated by its schema.

        Args:
            content: the body, JSON.
            schema: of the request.
            limits: of the body.

        Raises:
            RequestError: (invalid-request) with the first issues; (too-large) when it exceeds
                its limits.
        """
        if len(content) <= SMALL_BYTES:
            return _parsed(content, schema, limits)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, _bounded, content, schema, limits)

    def close(self) -> None:
        """Stops parsing."""
        self._pool.shutdown(wait=False, cancel_futures=True)


async def json_content(request: Request) -> bytes:
    """The body of a request with the content type JSON, in UTF-8 as JSON must be.

    Raises:
        RequestError: (unsupported-media-type) when it has another type: web pages of other origins
            may send those without permission.
        HTTPException: (400) when it is not UTF-8.
    """
    main, _, sub = content_type(request).partition("/")
    if main != "application" or not (sub == "json" or sub.endswith("+json")):
        raise unsupported(request, "application/json")
    content = await request.body()
    try:
        codecs.utf_8_decode(content, "strict", True)
    except UnicodeDecodeError as error:
        place = f"byte {error.start} is {content[error.start]:#04x}"
        raise HTTPException(400, f"The body is not in UTF-8, as JSON has to be: {place}") from error
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
    """Counts of a JSON text; for an invalid one, upper bounds for its valid beginning.

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

    A backslash outside of a text is invalid JSON: the parser stops there, and the counts of the
    rest do not matter.
    """
    commas = brackets = colons = 0
    inside, backslashes = 0, 0
    for first in range(0, len(content), CHUNK_BYTES):
        chunk = np.frombuffer(content, np.uint8, min(CHUNK_BYTES, len(content) - first), first)
        quotes = chunk == QUOTE
        escaped, backslashes = _escaped(chunk, backslashes)
        if escaped is not None:
            quotes &= ~escaped
        # Sums that wrap around at 256 keep their parity: an odd one is inside a text.
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
    """Which bytes follow an odd number of backslashes.

    Args:
        chunk: of the text, (N,).
        backslashes: number at the end of the preceding text.

    Returns:
        bool (N,), None if there are none; and the number of backslashes at the chunk's end.
    """
    is_backslash = chunk == BACKSLASH
    if not backslashes and not is_backslash.any():
        return None, 0
    positions = np.arange(len(chunk))
    # For each position the last one up to it with another character; the preceding text has
    # negative positions.
    others = np.maximum.accumulate(np.where(is_backslash, -1 - backslashes, positions))
    before = positions - others  # backslashes up to each position, inclusive
    run = np.concatenate([[backslashes], before[:-1]])
    return (run & 1) == 1, int(before[-1])

"""Server-sent events: read, and taken up again where a connection broke off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import httpx

MEDIA_TYPE = "text/event-stream"
SILENCE_SECONDS = 15.0
"""The service sends something every 5 seconds: after such a silence, a proxy withholds it."""
PATIENCE_SECONDS = 20.0
"""How long a service that was reached before may be away, such as for a restart."""


class EventsUnavailable(Exception):
    """No events are to be had at this address; poll instead."""


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        name: its kind, such as `job`.
        data: its content.
    """

    name: str
    data: str


@dataclass
class Position:
    """Where a stream of events stands, from one connection to the next.

    Attributes:
        last_id: of the last event that was received; empty: none.
        retry_seconds: pause before the next connection, as the service asks for it.
    """

    last_id: str = ""
    retry_seconds: float = 1.0


Connect = Callable[[dict[str, str]], AbstractContextManager[httpx.Response]]
"""Sends a request with further headers; the answer's body is yet to be read."""


def follow(connect: Connect) -> Iterator[Event]:
    """The events of one address, over as many connections as it takes.

    It ends when the service says that there are no more (204).

    Args:
        connect: requests the events.

    Raises:
        EventsUnavailable: when something else is answered, or nothing for too long.
        TransportError: when no connection can be made; where there was one before, for longer than
            a restart takes.
    """
    position = Position()
    connected: float | None = None
    while True:
        headers = {"accept": MEDIA_TYPE}
        if position.last_id:
            headers["last-event-id"] = position.last_id
        try:
            with connect(headers) as response:
                if response.status_code == httpx.codes.NO_CONTENT:
                    return
                _check(response)
                try:
                    yield from read_events(lines_of(response.iter_bytes()), position)
                finally:
                    connected = time.monotonic()
        except httpx.ReadTimeout as error:
            raise EventsUnavailable(f"nothing for {SILENCE_SECONDS:g} seconds") from error
        except httpx.TransportError:
            if connected is None or time.monotonic() - connected > PATIENCE_SECONDS:
                raise
        time.sleep(position.retry_seconds)


def _check(response: httpx.Response) -> None:
    kind = response.headers.get("content-type", "").partition(";")[0]
    if not response.is_success or kind != MEDIA_TYPE:
        raise EventsUnavailable(f"answered with {response.status_code} and '{kind}'")


def lines_of(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines without their ends; what follows the last end is no line yet, and is dropped.

    Only the standard's own ends count: a text may hold other characters that Python, and `httpx`
    with it, takes for the end of a line.
    """
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode()


def read_events(lines: Iterable[str], position: Position) -> Iterator[Event]:
    """The events of one connection; one that was cut off is dropped.

    Args:
        lines: without their ends.
        position: is updated with every event.
    """
    name, data, event_id = "message", list[str](), position.last_id
    for line in lines:
        if not line:
            position.last_id = event_id
            if data:
                yield Event(name, "\n".join(data))
            name, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
        elif field == "id":
            event_id = value
        elif field == "retry" and value.isdecimal():
            position.retry_seconds = int(value) / 1000

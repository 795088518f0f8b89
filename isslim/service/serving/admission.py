"""Which requests are admitted, and how each ends: answered, at its deadline, or abandoned."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from fastapi import Request

from isslim.service.metrics import Metrics
from isslim.service.problems import RequestError

WATCH_AFTER_SECONDS = 0.25
"""Seconds after which a sender is watched: most answers are faster, and a task for each request
would cost more than it saves."""


@dataclass
class Ticket:
    """The facts about an admitted request; they label the metrics of its wait.

    Only existing names belong here: they become labels, and a client could invent any number of
    others.

    Attributes:
        model: id of the model, once it is loaded.
        device: where it runs, once its variants are open.
        variants: its variants, once they are open.
        queue_seconds: its total wait so far, for models to load and for its turns.
        begun: whether one of its runs has started.
    """

    model: str = ""
    device: str = ""
    variants: Sequence[str] = ()
    queue_seconds: float = 0.0
    begun: bool = False

    @property
    def queue_ms(self) -> float:
        """The wait in milliseconds."""
        return 1e3 * self.queue_seconds


class Admission:
    """Counts the requests that wait or run, and refuses further ones at a limit.

    Args:
        limit: how many may wait or run.
        metrics: where they are counted, and their waits recorded.
    """

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self._limit, self._metrics = limit, metrics
        self._pending = 0

    @asynccontextmanager
    async def admit(self, request: Request, seconds: float, setting: str) -> AsyncIterator[Ticket]:
        """Admits a request for the duration of the block, at most until its deadline.

        Args:
            request: whose body was read.
            seconds: until its deadline.
            setting: the name of the deadline's setting, for the refusal.

        Raises:
            RequestError: (overloaded) when too many wait or run, or when none of its runs had
                started at the deadline; (deadline-exceeded) when one had; (client-left) when the
                sender closed the connection.
        """
        ticket = Ticket()
        with self._counted(ticket):
            async with _ended_in_time(request, seconds, setting, ticket):
                yield ticket

    @contextmanager
    def _counted(self, ticket: Ticket) -> Iterator[None]:
        if self._pending >= self._limit:
            raise RequestError(
                "overloaded",
                f"{self._pending} requests are running or waiting; try again in a second",
            )
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)
            for variant in ticket.variants or [""]:
                self._metrics.queued.labels(ticket.model, variant, ticket.device).observe(
                    ticket.queue_seconds
                )

    def _count(self, change: int) -> None:
        self._pending += change
        self._metrics.pending.set(self._pending)


@asynccontextmanager
async def _ended_in_time(
    request: Request, seconds: float, setting: str, ticket: Ticket
) -> AsyncIterator[None]:
    """Cancels what the block waits for at the deadline, or when the sender has disconnected."""
    loop = asyncio.get_running_loop()
    sender = _Sender(request)
    try:
        async with asyncio.timeout(seconds) as scope:
            watching = loop.call_later(WATCH_AFTER_SECONDS, sender.watch, scope)
            try:
                yield
            finally:
                watching.cancel()
                sender.ignore()
    except TimeoutError as error:
        if not scope.expired():
            raise  # raised by the block: by a storage that does not answer, say
        if sender.left:
            raise RequestError("client-left", "the connection was closed") from error
        if not ticket.begun:
            raise RequestError(
                "overloaded", f"its turn had not come after {seconds:g} s; try again"
            ) from error
        raise RequestError(
            "deadline-exceeded",
            f"it had not ended after {seconds:g} s, which is what {setting} allows; ask for less",
        ) from error


class _Sender:
    """The client's end of the connection.

    Attributes:
        left: whether it closed the connection while it was watched.
    """

    def __init__(self, request: Request) -> None:
        self._request, self.left = request, False
        self._task: asyncio.Task[None] | None = None

    def watch(self, scope: asyncio.Timeout) -> None:
        """Ends the scope once the connection is closed."""
        self._task = asyncio.get_running_loop().create_task(self._wait(scope))

    def ignore(self) -> None:
        """Ends the watch."""
        if self._task is not None:
            self._task.cancel()

    async def _wait(self, scope: asyncio.Timeout) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass  # the empty end of a body that was already read
        self.left = True
        scope.reschedule(asyncio.get_running_loop().time())

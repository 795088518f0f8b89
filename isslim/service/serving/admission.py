"""Which requests are admitted, and how each ends: answered, at its deadline, or abandoned."""

from __future__ import annotations

import asyncio
import math
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import TracebackType

from fastapi import Request
from starlette.types import Scope

from isslim.service.error_shapes import protocol_of
from isslim.service.metrics import Metrics, RunLabels
from isslim.service.problems import RequestError
from isslim.service.request_id import request_id
from isslim.service.serving.destinations import Destination
from isslim.service.serving.repeatable import Repeatable
from isslim.types.manifest import VariantName

TIMEOUT_HEADER = "x-request-timeout-ms"
USER_HEADER = "x-user"
WATCH_AFTER_SECONDS = 0.25
"""Seconds after which a request's sender and its deadline are watched: most answers are faster, and
a task and two timers for each request would cost more than they save."""


@dataclass(frozen=True)
class Limit:
    """A deadline.

    Attributes:
        seconds: until it.
        source: the setting, header or parameter that says so.
        by_sender: whether the request asks for it.
    """

    seconds: float
    source: str
    by_sender: bool = False

    def refusal(self, begun: bool) -> RequestError:
        """What is answered at the deadline.

        Args:
            begun: whether a run had started.
        """
        if begun:
            return RequestError(
                "deadline-exceeded",
                f"it had not ended after {self.seconds:g} s, which is what {self.source} allows; "
                "ask for less",
            )
        kind = "deadline-exceeded" if self.by_sender else "overloaded"
        return RequestError(kind, f"its turn had not come after {self.seconds:g} s; try again")


UNLIMITED = Limit(math.inf, "")


@dataclass
class Ticket:
    """The facts about an admitted request; they label the metrics of its wait.

    Only existing names belong here: they become labels, and a client could invent any number of
    others.

    Attributes:
        model: id of the model, once it is loaded.
        name: of the model, then.
        protocol: by which the request came.
        device: where it runs, once its variants are open.
        variants: its variants, once they are open.
        queue_seconds: its total wait so far, for models to load and for its turns, and for others
            in runs that it shared.
        begun: whether one of its runs has started.
        deadline: by `time.monotonic`; no run starts after it.
        key: of the sender, or else of the request: an alias sends equal ones to the same model.
        destination: where the request goes, once the meaning of its model's name is known.
        is_background: whether nobody waits for it.
        repeatable: how to answer it again, for a comparison; None: its kind is not compared.
        late_status: of a fault after the answer had begun; None: there was none.
        limit: of the deadline.
        scope: ends the request then.
    """

    model: str = ""
    name: str = ""
    protocol: str = ""
    device: str = ""
    variants: Sequence[str] = ()
    queue_seconds: float = 0.0
    begun: bool = False
    deadline: float = math.inf
    key: str = ""
    destination: Destination | None = None
    is_background: bool = False
    repeatable: Repeatable | None = None
    late_status: int | None = None
    limit: Limit = UNLIMITED
    scope: asyncio.Timeout | None = None

    def end_within(self, seconds: float, source: str) -> None:
        """Brings the deadline forward, if this one is earlier.

        Args:
            seconds: from now, as the sender asks.
            source: what says so.
        """
        until = time.monotonic() + seconds
        if self.scope is not None and until < self.deadline:
            self.scope.reschedule(asyncio.get_running_loop().time() + seconds)
            self.deadline, self.limit = until, Limit(seconds, source, by_sender=True)

    @property
    def variant(self) -> VariantName | None:
        """The variant of the alias that the request asks; None: it chooses itself."""
        return None if self.destination is None else self.destination.variant

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Adds the duration of the block to the wait."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.queue_seconds += time.perf_counter() - began

    @property
    def labels(self) -> RunLabels:
        """What its times are recorded under."""
        return RunLabels(self.name, self.model, self.device, self.protocol)

    @property
    def served(self) -> str:
        """Which variants answer, as `<id>:<variant>` in their order; empty until they are open."""
        return ", ".join(f"{self.model}:{variant}" for variant in self.variants)

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
        metrics.limit.set(limit)

    def is_half_full(self) -> bool:
        """Whether more than half of those that may wait or run do."""
        return 2 * self._pending > self._limit

    @asynccontextmanager
    async def admit(self, request: Request, seconds: float, setting: str) -> AsyncIterator[Ticket]:
        """Admits a request for the duration of the block, at most until its deadline.

        Args:
            request: whose body was read; it may ask for an earlier deadline.
            seconds: until its deadline.
            setting: the name of the deadline's setting, for the refusal.

        Raises:
            RequestError: (overloaded) when too many wait or run, or when none of its runs had
                started at the service's deadline; (deadline-exceeded) when one had, or at the
                request's own; (client-left) when the sender closed the connection;
                (invalid-request) when it asks for a deadline that is none.
        """
        requested = requested_seconds(request)
        limit = Limit(seconds, setting)
        if requested is not None and requested < seconds:
            limit = Limit(requested, TIMEOUT_HEADER, by_sender=True)
        ticket = Ticket(
            deadline=time.monotonic() + limit.seconds,
            key=_key(request),
            limit=limit,
            protocol=protocol_of(request.scope.get("path")),
        )
        request.state.ticket = ticket
        if self._pending >= self._limit:
            raise RequestError(
                "overloaded",
                f"{self._pending} requests are running or waiting; try again in a second",
            )
        self._count(1)
        try:
            async with _InTime(request, ticket):
                yield ticket
        finally:
            self._count(-1)
            for variant in ticket.variants or [""]:
                labels = ticket.labels.of(variant)
                self._metrics.queued.labels(*labels).observe(ticket.queue_seconds)

    def _count(self, change: int) -> None:
        self._pending += change
        self._metrics.pending.set(self._pending)


def ticket_of(scope: Scope) -> Ticket | None:
    """The ticket of a request that was admitted."""
    found = scope.get("state", {}).get("ticket")
    return found if isinstance(found, Ticket) else None


def _key(request: Request) -> str:
    return request.headers.get(USER_HEADER) or request_id() or uuid.uuid4().hex


def requested_seconds(request: Request) -> float | None:
    """The seconds after which a request's sender wants no answer any more; None: not named.

    Raises:
        RequestError: (invalid-request) when it names no number of milliseconds, or several.
    """
    given = request.headers.getlist(TIMEOUT_HEADER)
    if not given:
        return None
    if len(given) > 1 or re.fullmatch("0*[1-9][0-9]{0,11}", given[0], re.ASCII) is None:
        detail = (
            f"{TIMEOUT_HEADER} is {', '.join(given)[:100]!r}; send one whole number of "
            "milliseconds, at least 1"
        )
        issue = {"pointer": f"/header/{TIMEOUT_HEADER}", "detail": detail}
        raise RequestError("invalid-request", detail, [issue])
    return int(given[0]) / 1e3


@asynccontextmanager
async def within_requested_time(request: Request) -> AsyncIterator[None]:
    """Ends the block at the deadline that a request asks for; for waits before its admission.

    Raises:
        RequestError: (deadline-exceeded) then; (invalid-request) as `requested_seconds`.
    """
    seconds = requested_seconds(request)
    try:
        async with asyncio.timeout(seconds) as scope:
            yield
    except TimeoutError as error:
        if seconds is None or not scope.expired():
            raise
        raise Limit(seconds, TIMEOUT_HEADER, by_sender=True).refusal(begun=False) from error


class _InTime:
    """Cancels what its block waits for at the deadline, or when the sender has disconnected.

    Args:
        request: whose sender is watched.
        ticket: of the request, with its deadline, which may be brought forward.
    """

    def __init__(self, request: Request, ticket: Ticket) -> None:
        self._ticket, self._sender = ticket, _Sender(request)
        self._scope = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._scope.__aenter__()
        self._loop, self._ticket.scope = asyncio.get_running_loop(), self._scope
        until = min(WATCH_AFTER_SECONDS, self._ticket.limit.seconds)
        self._watching = self._loop.call_later(until, self._watch)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ticket.scope = None
        self._watching.cancel()
        self._sender.ignore()
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError as late:
            raise self._refusal() from late
        # Where it was not late, it is the block's own: of a storage that does not answer, say.
        if isinstance(error, TimeoutError) and self._scope.expired():
            raise self._refusal() from error

    def _watch(self) -> None:
        if not self._scope.expired():
            left = self._ticket.deadline - time.monotonic()
            self._scope.reschedule(self._loop.time() + left)
            self._sender.watch(self._scope)

    def _refusal(self) -> RequestError:
        if self._sender.left:
            return RequestError("client-left", "the connection was closed")
        return self._ticket.limit.refusal(self._ticket.begun)


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

"""Latency comparisons: one at a time, as they would disturb each other; the last are cached."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from isslim.runtime.shape import Shape
from isslim.service.problems import RequestError
from isslim.service.siblings import Siblings
from isslim.types.schemas.models import LatencyResponse

Key = tuple[str, Shape, int, str | None]
"""Model id, shape, threads, device."""
MAX_REMEMBERED, MAX_WAITING = 256, 8
MEASURED = "latency"
"""What siblings are told of a comparison: its key, and what was found."""


class LatencyCache:
    """The comparisons of the service; of its processes, too, one measures at a time.

    Args:
        siblings: the other processes.
    """

    def __init__(self, siblings: Siblings) -> None:
        self._siblings = siblings
        self._known: OrderedDict[Key, LatencyResponse] = OrderedDict()
        self._lock, self._turn = threading.Lock(), asyncio.Lock()
        self._waiting = 0

    async def get(
        self, key: Key, measure: Callable[[], Awaitable[LatencyResponse]], *, anew: bool
    ) -> LatencyResponse:
        """A comparison, measured or cached.

        Args:
            key: identifies the comparison.
            measure: measures it.
            anew: whether to ignore earlier measurements.

        Raises:
            RequestError: (overloaded) when too many wait; each may take a minute.
        """
        asked = datetime.now(UTC)
        known = self._remembered(key, asked if anew else None)
        if known is not None:
            return known
        if self._waiting >= MAX_WAITING:
            raise RequestError(
                "overloaded",
                f"{self._waiting} comparisons of latency are waiting; try again in a minute",
            )
        self._waiting += 1
        try:
            async with self._turn, self._siblings.turn(MEASURED):
                # A request that waited for the same comparison need not repeat it.
                known = self._remembered(key, asked if anew else None)
                if known is None:
                    known = await measure()
                    self.remember(key, known)
                    self._siblings.tell(MEASURED, key, known)
        finally:
            self._waiting -= 1
        return known

    def remember(self, key: Key, found: LatencyResponse) -> None:
        """Keeps a comparison, from any thread.

        Args:
            key: identifies it.
            found: the comparison.
        """
        with self._lock:
            self._known[key] = found
            while len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)

    def _remembered(self, key: Key, since: datetime | None) -> LatencyResponse | None:
        with self._lock:
            known = self._known.get(key)
            if known is None or (since is not None and known.measured_at < since):
                return None
            self._known.move_to_end(key)
        return known.model_copy(update={"cached": True})

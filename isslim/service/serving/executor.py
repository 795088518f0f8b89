"""Runs inference beside the event loop: a few runs at once, a bounded queue before them, each wait and run timed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from isslim.service.metrics import Metrics
from isslim.service.problems import RequestError

Result = TypeVar("Result")
_THREAD = threading.local()
"""Of a thread that runs: `hurried` when it must not load."""
LOADS_AT_ONCE = 4
"""Different models; each may pass the memory limit before others are closed for it."""
MAX_STARTS = 4
"""One finds no model, one no sessions, one runs; a model that was closed again meanwhile is at last
opened in the run itself."""


@dataclass
class RunLabels:
    """What a run turned out to be of, filled in by the run: empty where it failed before that was known.

    Only names that exist belong here: they become labels of metrics, and a client may invent others
    without end.
    """

    model: str = ""
    device: str = ""
    variants: list[str] = field(default_factory=list)


class _LoadNeeded(Exception):
    """Something is to be loaded before the run can go on."""

    def __init__(self, what: Hashable, load: Callable[[], Any]) -> None:
        self.what, self.load = what, load


def load_outside_run(what: Hashable, load: Callable[[], Result]) -> Result:
    """Loads something slow. In a run, the run ends here and begins anew once it was loaded in a thread for that.

    Else a few requests for one large model would keep every other model from answering while it is
    read.

    Args:
        what: names it; runs that want the same wait for one load.
        load: loads it.
    """
    if getattr(_THREAD, "hurried", False):
        raise _LoadNeeded(what, load)
    return load()


class Inference:
    """A bounded pool of threads. ONNX Runtime lets go of the interpreter while it runs.

    Args:
        runs_at_once: threads.
        waiting_limit: how many may wait; one more is refused.
        metrics: where waits are recorded.
    """

    def __init__(self, runs_at_once: int, waiting_limit: int, metrics: Metrics) -> None:
        self._most = runs_at_once + waiting_limit
        self._pool = ThreadPoolExecutor(runs_at_once, thread_name_prefix="inference")
        self._loading = ThreadPoolExecutor(LOADS_AT_ONCE, thread_name_prefix="loading")
        self._loads: dict[Hashable, asyncio.Future[Any]] = {}
        self._pending = 0
        self._metrics = metrics

    async def run(
        self, work: Callable[[], Result], served: RunLabels | None = None
    ) -> tuple[Result, float]:
        """Runs `work` in the pool.

        Args:
            work: what to do; begun anew when it met something that had to be loaded
                (`load_outside_run`).
            served: filled in by `work`, for the metrics.

        Returns:
            Its result, and the milliseconds that it waited, for models to load and for its turn.

        Raises:
            RequestError: (overloaded) when too many wait.
        """
        if self._pending >= self._most:
            raise RequestError(
                "overloaded", f"{self._pending} requests are waiting; try again in a second"
            )
        loop, asked = asyncio.get_running_loop(), time.perf_counter()
        began, known = asked, served or RunLabels()

        def timed(hurried: bool) -> Result:
            nonlocal began
            began, known.variants = time.perf_counter(), []
            _THREAD.hurried = hurried
            return work()

        self._count(1)
        try:
            for beginning in range(1, MAX_STARTS + 1):
                try:
                    result = await loop.run_in_executor(self._pool, timed, beginning < MAX_STARTS)
                    break
                except _LoadNeeded as missing:
                    await self._load(missing)
        finally:
            self._count(-1)
            for variant in known.variants or [""]:
                self._metrics.queued.labels(known.model, variant, known.device).observe(
                    began - asked
                )
        return result, 1e3 * (began - asked)

    async def _load(self, missing: _LoadNeeded) -> None:
        load = self._loads.get(missing.what)
        if load is None:
            load = asyncio.get_running_loop().run_in_executor(self._loading, missing.load)
            self._loads[missing.what] = load
            load.add_done_callback(lambda _: self._loads.pop(missing.what))
        # Shielded: others may wait for it when the sender of this request has left.
        await asyncio.shield(load)

    def _count(self, change: int) -> None:
        self._pending += change
        self._metrics.pending.set(self._pending)

    def close(self) -> None:
        """Waits for the runs in flight."""
        self._loading.shutdown()
        self._pool.shutdown()

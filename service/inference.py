"""Runs inference beside the event loop: a few runs at once, a bounded queue before them, each wait and run timed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.metrics import Metrics
from service.problems import Refused

Result = TypeVar("Result")


class Inference:
    """A bounded pool of threads. ONNX Runtime lets go of the interpreter while it runs.

    Args:
        runs_at_once: threads.
        waiting_limit: how many may wait; one more is refused.
        metrics: where waits are recorded.
    """

    def __init__(self, runs_at_once: int, waiting_limit: int, metrics: Metrics) -> None:
        self._pool = ThreadPoolExecutor(runs_at_once, thread_name_prefix="inference")
        self._most = runs_at_once + waiting_limit
        self._pending = 0
        self._metrics = metrics

    async def run(self, work: Callable[[], Result]) -> tuple[Result, float]:
        """Runs `work` in the pool.

        Returns:
            Its result, and the milliseconds that it waited.

        Raises:
            Refused: (overloaded) when too many wait.
        """
        if self._pending >= self._most:
            raise Refused("overloaded", f"{self._pending} requests are waiting; try again in a second")
        asked = time.perf_counter()
        began = asked

        def timed() -> Result:
            nonlocal began
            began = time.perf_counter()
            return work()

        self._pending += 1
        self._metrics.pending.set(self._pending)
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._pool, timed)
        finally:
            self._pending -= 1
            self._metrics.pending.set(self._pending)
        self._metrics.queued.observe(began - asked)
        return result, 1e3 * (began - asked)

    def close(self) -> None:
        """Waits for the runs in flight."""
        self._pool.shutdown()

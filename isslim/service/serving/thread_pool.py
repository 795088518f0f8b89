"""Worker threads that are connected to the event loop only by a queue.

`run_in_executor` takes twice the time, and delays the end of a process until every thread has
ended: these are daemon threads, which never delay it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

Task = tuple[
    Callable[[], Any], asyncio.AbstractEventLoop, Callable[[Any, BaseException | None], None]
]


class ThreadPool:
    """Threads that are started on demand, and then wait for more work.

    Args:
        most: the largest number of threads.
        name: of the threads.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads, self._idle = 0, threading.Semaphore(0)

    def begin(
        self, work: Callable[[], Any], ended: Callable[[Any, BaseException | None], None]
    ) -> None:
        """Runs work in the next free thread.

        Args:
            work: what to do, in a thread.
            ended: called on this thread's event loop with the returned value and the raised error.
        """
        self._tasks.put((work, asyncio.get_running_loop(), ended))
        if self._threads < self._most and not self._idle.acquire(blocking=False):
            self._threads += 1
            threading.Thread(
                target=self._work, name=f"{self._name}-{self._threads}", daemon=True
            ).start()

    def close(self) -> None:
        """Ends the threads as they become free."""
        for _ in range(self._threads):
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            work, loop, ended = task
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:  # any error is passed to whoever awaits the result
                error = raised
            try:
                loop.call_soon_threadsafe(ended, result, error)
            except RuntimeError:
                return  # the loop is closed: nobody awaits the result any more
            del task, work, ended, result, error  # they would stay alive until the next task
            self._idle.release()

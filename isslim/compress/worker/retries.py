"""Writes that must not be lost while a database or a storage does not answer."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import TypeVar

from isslim.store.errors import StorageUnavailable, Unavailable

_LOG = logging.getLogger("worker.retries")
Result = TypeVar("Result")


async def write_with_retries(write: Callable[[], Result]) -> Result:
    """Writes what must not be lost, for as long as database or storage do not answer.

    In a thread, so that the worker can be cancelled meanwhile. What is refused for good is raised.
    """
    pauses = itertools.chain((0.1, 0.5, 1), itertools.repeat(2))
    while True:
        try:
            return await asyncio.to_thread(write)
        except (Unavailable, StorageUnavailable) as fault:
            pause = next(pauses)
            _LOG.warning("%s: %s; trying again in %s s", fault, fault.reason, pause)
            await asyncio.sleep(pause)

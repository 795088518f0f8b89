"""Waits for remote storage: an outage at the end of a job must not cost what it has computed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import TypeVar

from isslim.store.errors import StorageUnavailable

Result = TypeVar("Result")


def patiently(action: Callable[[], Result], seconds: float, tell: Callable[[str], None]) -> Result:
    """What an action gives, once the storage answers.

    Args:
        action: reads or writes; it can be repeated.
        seconds: after which an outage counts as lasting.
        tell: called with a line whenever it failed.

    Raises:
        StorageUnavailable: when the storage has not answered for so long.
    """
    began, pauses = time.monotonic(), itertools.chain((0.5, 1, 2, 5), itertools.repeat(10))
    while True:
        try:
            return action()
        except StorageUnavailable as fault:
            waited, pause = time.monotonic() - began, next(pauses)
            if waited + pause > seconds:
                raise
            tell(f"{fault}; waiting for it, since {waited:.0f} of at most {seconds:g} seconds")
            time.sleep(pause)

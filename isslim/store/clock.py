"""The time by which the age of files is judged: that of the storage which dates them.

The clock of a host may be hours ahead of the storage's, or be set while a process runs. Files would
then seem old that were written a moment ago.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path


class StorageClock:
    """A storage's clock, which never runs faster than ours: setting it forward ages no file.

    One that was set back counts as it is. A file that is dated in the future is young.

    Args:
        shown: the time at which the storage dates a file that is written now, in seconds.
    """

    def __init__(self, shown: Callable[[], float]) -> None:
        self._shown = shown
        self._first: tuple[float, float] | None = None

    def now(self) -> float:
        """The time in seconds since 1970."""
        shown, steady = self._shown(), time.monotonic()
        if self._first is None:
            self._first = (shown, steady)
        first, began = self._first
        return min(shown, first + (steady - began))


def folder_time(folder: Path) -> float:
    """The time at which a folder's file system dates a file that is written now, in seconds."""
    probe = folder / f".clock-{secrets.token_hex(8)}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)

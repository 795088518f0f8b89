"""Counters of requests that all processes of the service share: a storage for `limits`.

The library's storage in memory belongs to one process, which would multiply every limit by the
number of processes, and starts a thread a hundred times a second to forget what has ended. This one
is a table in a file that all processes map.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limits.storage import Storage

SLOTS, PROBES = 1 << 14, 8
"""Counters in the table, and the slots in which one may be: among so many, one that has ended is
found, or else the one that ends first is given up."""
_SLOT = struct.Struct("=QdQ")
"""Hash of the key, when its window ends (s, monotonic), requests in it."""


class SharedCounters(Storage):
    """Counts requests by key, each in a window that begins with its first.

    Args:
        folder: that all processes share; None: there is one process.
    """

    STORAGE_SCHEME = None

    def __init__(self, folder: Path | None) -> None:
        super().__init__()
        self._file: int | None = None
        if folder is None:
            self._table = mmap.mmap(-1, SLOTS * _SLOT.size)
        else:
            self._file = os.open(folder / "rates", os.O_RDWR | os.O_CREAT, 0o600)
            os.ftruncate(self._file, SLOTS * _SLOT.size)
            self._table = mmap.mmap(self._file, SLOTS * _SLOT.size)

    @property
    def base_exceptions(self) -> type[Exception]:
        """What may go wrong."""
        return OSError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Counts.

        Args:
            key: of the counter.
            expiry: seconds of its window, if it begins now.
            amount: that is added.

        Returns:
            The requests in the window.
        """
        return self.count(hashed(key), expiry, amount)[0]

    def count(self, key: int, seconds: float, amount: int = 1) -> tuple[int, float]:
        """Counts, at once instead of in the three steps of the library's strategy.

        Args:
            key: the hash of it.
            seconds: of its window, if it begins now.
            amount: that is added.

        Returns:
            The requests in the window, and when it ends (s, monotonic).
        """
        now = time.monotonic()
        if self._file is not None:  # the others wait, for microseconds
            fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            place, end, counted = self._find(key)
            if end <= now:
                end, counted = now + seconds, 0
            counted += amount
            _SLOT.pack_into(self._table, place, key, end, counted)
        finally:
            if self._file is not None:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        return counted, end

    def get(self, key: str) -> int:
        """The requests in the window of a key."""
        with self._alone():
            _, end, counted = self._find(hashed(key))
        return counted if end > time.monotonic() else 0

    def get_expiry(self, key: str) -> float:
        """When the window of a key ends (s, monotonic)."""
        with self._alone():
            _, end, _ = self._find(hashed(key))
        return max(end, time.monotonic())

    def check(self) -> bool:
        """Whether it works: it is memory."""
        return True

    def reset(self) -> int | None:
        """Forgets all counters."""
        with self._alone():
            self._table[:] = bytes(SLOTS * _SLOT.size)
        return None

    def clear(self, key: str) -> None:
        """Forgets the counter of a key."""
        with self._alone():
            place, _, _ = self._find(hashed(key))
            _SLOT.pack_into(self._table, place, 0, 0.0, 0)

    def _find(self, key: int) -> tuple[int, float, int]:
        """The slot of a key: its place, when it ends, and its count; one that has ended is free."""
        best, best_end = 0, float("inf")
        for probe in range(PROBES):
            place = (key + probe) % SLOTS * _SLOT.size
            other, end, counted = _SLOT.unpack_from(self._table, place)
            if other == key:
                return place, end, counted
            if end < best_end:
                best, best_end = place, end
        return best, 0.0, 0

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The other processes wait, for microseconds; the system ends the lock of one that died."""
        if self._file is None:
            yield
            return
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def hashed(key: str) -> int:
    """The hash of a key, by which the table knows it."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")

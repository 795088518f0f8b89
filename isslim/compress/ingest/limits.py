"""Limits on memory and time of a block that processes an untrusted file."""

from __future__ import annotations

import re
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_STATUS = Path("/proc/self/status")


@contextmanager
def memory_for(more_bytes: int) -> Iterator[None]:
    """Limits the additional memory of the process within the block; beyond it: `MemoryError`.

    A limit on the data segment and not on addresses: torch and its libraries map many gigabytes
    that they never touch. It holds for all threads. Where the system does not tell what is in use
    (only Linux does), there is no limit.

    Args:
        more_bytes: beyond what is in use now.
    """
    used = re.search(r"VmData:\s+(\d+) kB", _STATUS.read_text()) if _STATUS.exists() else None
    if used is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [
        int(used[1]) * 1024 + more_bytes,
        *(each for each in (soft, hard) if each != resource.RLIM_INFINITY),
    ]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextmanager
def time_for(seconds: float) -> Iterator[None]:
    """Ends the block with a `TimeoutError` when it takes longer.

    By the process's alarm clock, which only the main thread may set: a job's child reads its files
    there. In another thread there is no limit.

    Args:
        seconds: on the clock.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it takes longer than {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

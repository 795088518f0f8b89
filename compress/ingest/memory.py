"""A limit on memory for the time of a block that does what a stranger's file says."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STATUS = Path("/proc/self/status")


@contextmanager
def memory_for(more_bytes: int) -> Iterator[None]:
    """Lets the process take so much more memory inside the block, and a `MemoryError` is what comes of asking for more.

    A limit on the data segment and not on addresses: torch and its libraries map many gigabytes that they never touch.
    It holds for all threads. Where the system does not tell what is in use (only Linux does), there is no limit.

    Args:
        more_bytes: beyond what is in use now.
    """
    used = re.search(r"VmData:\s+(\d+) kB", _STATUS.read_text()) if _STATUS.exists() else None
    if used is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [int(used[1]) * 1024 + more_bytes, *(each for each in (soft, hard) if each != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))

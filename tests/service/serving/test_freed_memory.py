"""Memory that the C library keeps is given back once a model is gone."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

import pytest

from isslim.service.serving.freed_memory import FreedMemory

C = ctypes.CDLL(None)
BLOCK, BLOCKS = 1_000, 100_000


class Model:
    """Stands for one that is closed when nothing refers to it."""


def resident() -> float:
    """MB of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096 / 1e6


@pytest.mark.skipif(not hasattr(C, "malloc_trim"), reason="the C library is not glibc")
def test_what_lies_between_used_blocks_is_returned_after_a_model_is_gone() -> None:
    C.malloc.restype, C.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    model, memory = Model(), FreedMemory()
    blocks = [C.malloc(BLOCK) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    for block in blocks[:-1]:  # the last one holds the heap where it is
        C.free(block)
    memory.follows(model)
    before = resident()
    del model
    end = time.monotonic() + 20
    while resident() > before - BLOCK * BLOCKS / 1e6 / 2:
        assert time.monotonic() < end, f"{resident():.0f} MB of {before:.0f}"
        time.sleep(0.05)
    C.free(blocks[-1])

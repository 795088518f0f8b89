"""Gives the memory of closed models back to the system: the C library keeps it otherwise.

A graph is opened in one thread and run in others, so its memory lies between that of others, where
glibc keeps what is freed. Where models come and go, that is more than all of them take.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable

SECONDS = 1.0
"""From the end of a model to the return: its sessions are closed by then, and others of its time
are returned with it."""


class FreedMemory:
    """Returns memory some time after models are gone; safe to use from several threads."""

    def __init__(self) -> None:
        self._trim = _trim()
        self._lock = threading.Lock()
        self._is_planned = False

    def follows(self, model: object) -> None:
        """Returns the memory of a model once nothing refers to it any more."""
        weakref.finalize(model, self._plan).atexit = False

    def _plan(self) -> None:
        with self._lock:
            if self._is_planned:
                return
            self._is_planned = True
        timer = threading.Timer(SECONDS, self._return)
        timer.daemon = True
        timer.start()

    def _return(self) -> None:
        with self._lock:
            self._is_planned = False
        self._trim()


def _trim() -> Callable[[], object]:
    """Glibc's `malloc_trim`; nothing where the C library is another.

    https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    """
    function = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return (lambda: None) if function is None else (lambda: function(0))

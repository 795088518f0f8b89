"""For a process that must not outlive its parent: the parent holds its standard input open."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable


def watch_parent(act: Callable[[], object]) -> None:
    """Calls `act`, in a thread, as soon as standard input closes.

    The parent has ended then, perhaps killed, with no time to clean up.
    """

    def watch() -> None:
        # Not through sys.stdin: its buffer's lock, held by this thread at exit, would abort the
        # interpreter.
        while os.read(0, 1):
            pass
        act()

    threading.Thread(target=watch, daemon=True).start()

"""The other processes of the service: what one of them tells all others, and takes turns for.

Each process has a connection to the supervisor, which passes on to all others what one of them
sends. The connection ends with the supervisor, and a process then ends itself.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from select import select
from typing import IO, Any

READY, BEAT = "ready", "beat"
"""What a process tells the supervisor alone."""
TURN_SECONDS = 0.1
"""How often a process that waits for its turn looks whether it has come."""


class Siblings:
    """The other processes, as one of them sees them; without a connection there are none.

    Args:
        connection: to the supervisor.
        folder: of files that all processes share, emptied at their start.
    """

    def __init__(self, connection: Connection | None = None, folder: Path | None = None) -> None:
        self._connection, self._folder = connection, folder
        self._sending = threading.Lock()

    @property
    def are_there(self) -> bool:
        """Whether there are any."""
        return self._connection is not None

    @property
    def folder(self) -> Path | None:
        """The folder of files that all processes share; None: there are no others."""
        return self._folder

    def tell(self, subject: str, *facts: Any) -> None:
        """Sends something to all others.

        Args:
            subject: as they listen for it.
            facts: what they are told.
        """
        if self._connection is not None:
            with self._sending, suppress(OSError):  # the supervisor is gone, and so are they
                self._connection.send((subject, *facts))

    def beat(self) -> None:
        """Tells the supervisor that the event loop goes on; never waits for it."""
        # A full pipe would hold up the loop: then the supervisor is what does not go on.
        if self._connection is not None and select([], [self._connection], [], 0)[1]:
            self.tell(BEAT)

    def listen(self, heard: Mapping[str, Callable[..., object]]) -> None:
        """Listens in a thread, until the supervisor is gone; then this process ends as well.

        Args:
            heard: what is called with the facts, by subject.
        """
        if self._connection is not None:
            threading.Thread(
                target=_listen, args=(self._connection, heard), name="siblings", daemon=True
            ).start()

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Only one process at a time is within the block.

        Args:
            name: of what they take turns for.
        """
        if self._folder is None:
            yield
            return
        with (self._folder / f"{name}.lock").open("w") as file:  # closing it ends the turn
            while not _locked(file):
                await asyncio.sleep(TURN_SECONDS)
            yield


def _listen(connection: Connection, heard: Mapping[str, Callable[..., object]]) -> None:
    with suppress(EOFError, OSError):
        while True:
            subject, *facts = connection.recv()
            heard[subject](*facts)
    os.kill(os.getpid(), signal.SIGTERM)


def _locked(file: IO[str]) -> bool:
    # Unlike a semaphore, the lock of a process that was killed is free.
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

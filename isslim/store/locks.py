"""Leases of workers: who lives, seen without a coordinator and without a shared clock.

A worker holds a lock on its executor id for life: an flock on one machine, a session's advisory
lock in Postgres. And it beats: it counts a number up, several times a second. Both are needed. The
kernel frees the lock of a killed worker at once; but a restart of Postgres frees those of all
living ones, and a worker that is stopped, or cut off its database, keeps its own. What follows from
that is decided in `isslim.store.liveness`. A token, new for each holder, tells holders of one id
apart.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

MAX_WORKERS = 64
"""Of one host, without ids of their own."""
LEASE_SECONDS = 10.0
"""A worker whose beats have not been seen for so long is dead, whoever holds its lock."""


@dataclass(frozen=True)
class Seen:
    """What can be seen of a worker at one time.

    Attributes:
        token: of the present holder of the id.
        beats: how often it has beaten.
        locked: whether the lock is held.
        lasting: whether the lock cannot have been lost but by the worker's end: its server has not
            been restarted or replaced since it was taken.
    """

    token: str
    beats: int
    locked: bool
    lasting: bool = True


class Held(Protocol):
    """A lease that is held until it is closed, or lost.

    Attributes:
        token: of this holder.
    """

    token: str

    def beat(self) -> bool:
        """Says that the holder lives; False when it was taken for dead, and the lease is lost.

        Raises:
            Unavailable: when nobody can hear it now.
        """

    def wait(self, seconds: float) -> None:
        """Waits until the next beat is due: less than the time where the lease may be in danger.

        Args:
            seconds: between two beats.
        """

    def close(self) -> None:
        """Gives the lease back."""


class Locks(Protocol):
    """Leases on executor ids.

    Attributes:
        quiet_seconds: how long a worker without its lock must not have beaten before it is dead.
    """

    quiet_seconds: float

    def acquire(self, executor_id: str, *, patient: bool = False) -> Held | None:
        """The lease; None while a living worker holds it.

        Args:
            executor_id: whose lease.
            patient: waits until it is certain that the last holder is dead.
        """

    def is_held(self, executor_id: str) -> bool:
        """Whether a living worker holds the lock; checking never keeps a worker from taking it."""

    def held(self) -> int:
        """How many workers live."""

    def seen(self) -> Mapping[str, Seen]:
        """What is to be seen of each executor id that was ever held."""

    def bury(self, executor_id: str, seen: Seen) -> bool:
        """Takes the lease from a holder that is dead, unless it has beaten since.

        Args:
            executor_id: whose lease.
            seen: what was last seen of it.

        Returns:
            Whether it was taken: the holder learns it at its next beat, if it lives after all.
        """


class FileLocks:
    """Leases as files of one machine."""

    quiet_seconds = 0.0  # the kernel frees no lock of a process that lives

    def __init__(self, folder: Path) -> None:
        # Made by the first worker: who only looks, such as a health check, leaves nothing behind.
        self._folder = folder

    def acquire(self, executor_id: str, *, patient: bool = False) -> FileLease | None:
        """The locked file; None while a living worker holds it.

        Args:
            executor_id: whose lease.
            patient: nothing: the kernel says at once whether the last holder is dead.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = self._file(executor_id).open("r+b" if self._file(executor_id).exists() else "w+b")
        # Several attempts: a health check holds the lock for a moment.
        for pause in (0.02, 0.05, 0.1, 0.0):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(pause)
            else:
                return FileLease(handle, executor_id)
        handle.close()
        return None

    def is_held(self, executor_id: str) -> bool:
        """Whether a living worker holds the lock; no file, no worker.

        Raises:
            OSError: when the file cannot be opened.
        """
        return _is_locked(self._file(executor_id))

    def held(self) -> int:
        """How many locks living workers of this machine hold; no folder, no worker.

        Raises:
            OSError: when the files cannot be opened.
        """
        return sum(_is_locked(path) for path in self._files())

    def seen(self) -> Mapping[str, Seen]:
        """What the files say; those of earlier releases say nothing."""
        found = {}
        for path in self._files():
            with suppress(OSError, ValueError):
                executor_id, token, beats = path.read_text().splitlines()[:3]
                found[executor_id] = Seen(token, int(beats), _is_locked(path))
        return found

    def bury(self, executor_id: str, seen: Seen) -> bool:
        """Marks the holder's token as that of a dead worker.

        Args:
            executor_id: whose lease.
            seen: what was last seen of it.
        """
        if _is_locked(path := self._file(executor_id)):
            _revoked(path, seen.token).touch()
        return True

    def _files(self) -> list[Path]:
        try:
            return [path for path in self._folder.iterdir() if not path.suffix]
        except FileNotFoundError:
            return []

    def _file(self, executor_id: str) -> Path:
        return self._folder / hashlib.sha256(executor_id.encode()).hexdigest()[:16]


class FileLease:
    """A lease in a locked file, which says who holds it.

    Args:
        file: open and locked.
        executor_id: whose lease.
    """

    def __init__(self, file: IO[bytes], executor_id: str) -> None:
        self.token = secrets.token_hex(8)
        self._file, self._path, self._id = file, Path(file.name), executor_id
        self._beats = 0
        for old in self._path.parent.glob(f"{self._path.name}.*"):
            old.unlink(missing_ok=True)
        self._write()

    def beat(self) -> bool:
        """Counts up; False when somebody has marked this holder as dead, or the file is gone."""
        self._beats += 1
        self._write()
        gone = os.fstat(self._file.fileno()).st_nlink == 0
        return not gone and not _revoked(self._path, self.token).exists()

    def wait(self, seconds: float) -> None:
        """Waits: nothing takes a file's lock from a process that lives.

        Args:
            seconds: between two beats.
        """
        time.sleep(seconds)

    def close(self) -> None:
        """Gives the lease back."""
        self._file.close()

    def _write(self) -> None:
        # In one piece and of one length, so that nobody reads a part of it.
        content = f"{self._id}\n{self.token}\n{self._beats:020d}\n".encode()
        os.pwrite(self._file.fileno(), content, 0)
        os.ftruncate(self._file.fileno(), len(content))


def _revoked(path: Path, token: str) -> Path:
    return path.with_name(f"{path.name}.{token}")


def _is_locked(path: Path) -> bool:
    """Whether somebody holds the lock on a file; no file, no lock."""
    try:
        handle = path.open()
    except FileNotFoundError:
        return False
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def executor_ids(wanted: str) -> Iterator[str]:
    """The ids that a worker of this host may take, in order.

    Args:
        wanted: the requested id; if empty, the first free one of `<host>-0`, `<host>-1`, ...
    """
    if wanted:
        yield wanted
    else:
        yield from (f"{socket.gethostname()}-{slot}" for slot in range(MAX_WORKERS))

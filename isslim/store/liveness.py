"""Liveness of workers without a coordinator.

Every worker holds a lock on its executor id for life: an flock on one machine (the kernel frees it
on kill -9), a session's advisory lock in Postgres (freed when the connection dies). A thread in
every worker looks for jobs in flight of other executors, tries that executor's lock, and only when
it is free hands the jobs back to the queue, holding the lock meanwhile so that a restart of that id
cannot race it.

DBOS itself leaves a dead executor's jobs alone, and starts them twice when an id is used twice:
both are what the lock is for. The advisory lock needs a direct or session-mode connection.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, LiteralString, Protocol

import psycopg
import sqlalchemy as sa

from isslim.store.errors import Unavailable
from isslim.store.settings import StoreSettings
from isslim.types.names import INSPECTION_QUEUE, QUEUE

# It takes a second to import, and the health check looks at a lock every few seconds.
if TYPE_CHECKING:
    from dbos import DBOSClient

_LOG = logging.getLogger("worker.liveness")
MAX_WORKERS = 64
"""Of one host, without ids of their own."""


class Held(Protocol):
    """A lock that is held until it is closed."""

    def close(self) -> None:
        """Releases the lock."""


class Locks(Protocol):
    """Locks on executor ids."""

    def acquire(self, executor_id: str) -> Held | None:
        """The acquired lock; None while a living worker holds it."""

    def is_held(self, executor_id: str) -> bool:
        """Whether a living worker holds the lock; checking never keeps a worker from taking it."""

    def held(self) -> int:
        """How many workers live."""


class FileLocks:
    """Locks on files of one machine."""

    def __init__(self, folder: Path) -> None:
        # Made by the first worker: who only looks, such as a health check, leaves nothing behind.
        self._folder = folder

    def acquire(self, executor_id: str) -> Held | None:
        """The open, locked file; None while a living worker holds it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = self._file(executor_id).open("a")
        # Several attempts: a health check holds the lock for a moment.
        for pause in (0.02, 0.05, 0.1, 0.0):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(pause)
            else:
                return handle
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
        try:
            paths = list(self._folder.iterdir())
        except FileNotFoundError:
            return 0
        return sum(_is_locked(path) for path in paths)

    def _file(self, executor_id: str) -> Path:
        return self._folder / hashlib.sha256(executor_id.encode()).hexdigest()[:16]


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


class PostgresLocks:
    """Advisory locks of a Postgres server."""

    def __init__(self, url: str) -> None:
        self._url = (
            sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        )

    def acquire(self, executor_id: str) -> Held | None:
        """The connection that holds the lock; None while a living worker holds it."""
        connection = psycopg.connect(
            self._url,
            autocommit=True,
            keepalives=1,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
        )
        row = connection.execute("select pg_try_advisory_lock(%s)", (_key(executor_id),)).fetchone()
        if row is not None and row[0]:
            return connection
        connection.close()
        return None

    def is_held(self, executor_id: str) -> bool:
        """Whether a living worker holds the lock, by the server's own list of locks.

        Raises:
            Unavailable: when the server does not answer.
        """
        # pg_locks shows a lock on a 64-bit number as two halves of 32 bits, with objsubid 1.
        high, low = divmod(_key(executor_id) % (1 << 64), 1 << 32)
        which: LiteralString = "and classid = %s::bigint::oid and objid = %s::bigint::oid"
        return self._count(which, high, low) > 0

    def held(self) -> int:
        """How many advisory locks are held in the database; only workers hold one for long.

        Raises:
            Unavailable: when the server does not answer.
        """
        return self._count("")

    def _count(self, which: LiteralString, *values: int) -> int:
        query = (
            "select count(*) from pg_locks join pg_database on pg_database.oid = pg_locks.database "
            "where locktype = 'advisory' and granted and datname = current_database() "
            f"and objsubid = 1 {which}"
        )
        try:
            with psycopg.connect(self._url, autocommit=True, connect_timeout=5) as connection:
                row = connection.execute(query, values).fetchone()
                return int(row[0]) if row is not None else 0
        except psycopg.Error as error:
            raise Unavailable(str(error).strip()) from error


def _key(executor_id: str) -> int:
    return int.from_bytes(hashlib.sha256(executor_id.encode()).digest()[:8], "big", signed=True)


def executor_ids(wanted: str) -> Iterator[str]:
    """The ids that a worker of this host may take, in order.

    Args:
        wanted: the requested id; if empty, the first free one of `<host>-0`, `<host>-1`, ...
    """
    if wanted:
        yield wanted
    else:
        yield from (f"{socket.gethostname()}-{slot}" for slot in range(MAX_WORKERS))


def locks_of(settings: StoreSettings) -> Locks:
    """The kind of lock that matches the database."""
    if settings.database.startswith("sqlite"):
        return FileLocks(settings.locks)
    return PostgresLocks(settings.database)


def recover_dead_peers(
    client: DBOSClient,
    locks: Locks,
    own_id: str,
    stop: threading.Event,
    may_resume: Callable[[str], bool],
    every_seconds: float = 2.0,
) -> None:
    """Until `stop`: hands jobs of dead executors back to the queue.

    Args:
        client: of the shared database.
        locks: where executor ids are held.
        own_id: this worker's id, left alone.
        stop: ends the loop.
        may_resume: whether a workflow id stands for a job that is still wanted; resuming would
            revive a cancelled one.
        every_seconds: interval of the checks.
    """
    while not stop.wait(every_seconds):
        try:
            _look(client, locks, own_id, may_resume)
        except Exception:
            # Whatever failed (the database for a moment, a deleted job), the loop has to go on:
            # without it, the jobs of every worker that dies from now on would be stranded.
            _LOG.exception("looking for jobs of dead workers failed")


_QUEUES = [QUEUE, INSPECTION_QUEUE]


def _look(client: DBOSClient, locks: Locks, own_id: str, may_resume: Callable[[str], bool]) -> None:
    pending = client.list_workflows(
        status="PENDING", queue_name=_QUEUES, load_input=False, load_output=False
    )
    for executor_id in sorted(
        {flow.executor_id for flow in pending if flow.executor_id} - {own_id}
    ):
        held = locks.acquire(executor_id)
        if held is None:
            continue
        try:
            stranded = client.list_workflows(
                status="PENDING",
                executor_id=executor_id,
                queue_name=_QUEUES,
                load_input=False,
                load_output=False,
            )
            for flow in stranded:
                if may_resume(flow.workflow_id):
                    client.resume_workflow(flow.workflow_id, queue_name=flow.queue_name)
        finally:
            held.close()

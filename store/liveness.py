"""Liveness of workers without a coordinator.

Every worker holds a lock on its executor id for life: an flock on one machine (the kernel frees it on kill -9), a
session's advisory lock in Postgres (freed when the connection dies). A thread in every worker looks for jobs in flight
of other executors, tries that executor's lock, and only when it is free hands the jobs back to the queue, holding the
lock meanwhile so that a restart of that id cannot race it.

DBOS itself leaves a dead executor's jobs alone, and starts them twice when an id is used twice: both are what the lock
is for. The advisory lock needs a direct or session-mode connection.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import psycopg
import sqlalchemy as sa
from dbos import DBOSClient

from store.names import QUEUE
from store.settings import StoreSettings

_LOG = logging.getLogger("worker.liveness")


class Held(Protocol):
    """A lock that is held until it is closed."""

    def close(self) -> None:
        """Frees the lock."""


class Locks(Protocol):
    """Locks on executor ids."""

    def acquire(self, executor_id: str) -> Held | None:
        """The held lock; None while a living worker holds it."""


class FileLocks:
    """Locks on files of one machine."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def acquire(self, executor_id: str) -> Held | None:
        """The open, locked file; None while a living worker holds it."""
        handle = (self._folder / hashlib.sha256(executor_id.encode()).hexdigest()[:16]).open("a")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return None
        return handle


class PostgresLocks:
    """Advisory locks of a Postgres server."""

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)

    def acquire(self, executor_id: str) -> Held | None:
        """The connection that holds the lock; None while a living worker holds it."""
        connection = psycopg.connect(
            self._url, autocommit=True, keepalives=1, keepalives_idle=10, keepalives_interval=5, keepalives_count=3
        )
        key = int.from_bytes(hashlib.sha256(executor_id.encode()).digest()[:8], "big", signed=True)
        row = connection.execute("select pg_try_advisory_lock(%s)", (key,)).fetchone()
        if row is not None and row[0]:
            return connection
        connection.close()
        return None


def locks_of(settings: StoreSettings) -> Locks:
    """The kind of lock that goes with the database."""
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
        may_resume: whether a workflow id stands for a job that is still wanted; resuming would revive a cancelled one.
        every_seconds: pause between looks.
    """
    while not stop.wait(every_seconds):
        try:
            _look(client, locks, own_id, may_resume)
        except Exception:
            # Whatever failed - the database for a moment, a job deleted meanwhile - the next look comes in a moment, and
            # a look that never comes again would strand the jobs of every worker that dies from now on.
            _LOG.exception("looking for jobs of dead workers failed")


def _look(client: DBOSClient, locks: Locks, own_id: str, may_resume: Callable[[str], bool]) -> None:
    pending = client.list_workflows(status="PENDING", queue_name=QUEUE, load_input=False, load_output=False)
    for executor_id in sorted({flow.executor_id for flow in pending if flow.executor_id} - {own_id}):
        held = locks.acquire(executor_id)
        if held is None:
            continue
        try:
            stranded = client.list_workflows(
                status="PENDING", executor_id=executor_id, queue_name=QUEUE, load_input=False, load_output=False
            )
            for flow in stranded:
                if may_resume(flow.workflow_id):
                    client.resume_workflow(flow.workflow_id, queue_name=QUEUE)
        finally:
            held.close()

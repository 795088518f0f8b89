"""Leases of workers as rows and advisory locks of a Postgres server.

The advisory lock needs a direct or session-mode connection.
"""

from __future__ import annotations

import hashlib
import select
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, LiteralString

import psycopg
import sqlalchemy as sa

from isslim.store.errors import Unavailable
from isslim.store.locks import LEASE_SECONDS, Seen
from isslim.store.processes import process_token

QUIET_SECONDS = 1.0
"""Its lock is lost to a living worker when somebody terminates its connection: it sees that at once
(`PostgresLease.wait`), connects anew, and beats on."""
_SERVER: LiteralString = "pg_postmaster_start_time()::text"
_PATIENCE: dict[str, Any] = {
    # A server that is gone without a word must be noticed, by both sides, and no statement may wait
    # for longer than a lease lasts.
    "connect_timeout": 5,
    "tcp_user_timeout": 5000,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "options": "-c statement_timeout=5000 -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 "
    "-c tcp_keepalives_count=3",
}


_LOCKS: LiteralString = (
    "from pg_locks join pg_database on pg_database.oid = pg_locks.database "
    "where locktype = 'advisory' and granted and datname = current_database() and objsubid = 1"
)


@contextmanager
def _noticing_outage() -> Iterator[None]:
    """Turns the driver's errors into the store's."""
    try:
        yield
    except psycopg.Error as error:
        raise Unavailable(str(error).strip()) from error


class PostgresLocks:
    """Leases of a Postgres server.

    Args:
        url: of the database, as SQLAlchemy has it.
    """

    quiet_seconds = QUIET_SECONDS

    def __init__(self, url: str) -> None:
        self._url = (
            sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        )
        self._looking: psycopg.Connection[Any] | None = None
        self._one_look = threading.Lock()

    @_noticing_outage()
    def acquire(self, executor_id: str, *, patient: bool = False) -> PostgresLease | None:
        """The lease; None while a living worker holds it, or may: see `Seen.lasting`.

        Args:
            executor_id: whose lease.
            patient: waits for a lease's time where a restart of the server leaves that open.

        Raises:
            Unavailable: when the server does not answer.
        """
        connection = _locked(self._url, executor_id)
        if connection is None:
            return None
        try:
            if self._is_silent(connection, executor_id, patient=patient):
                return PostgresLease(self._url, executor_id, connection)
        except BaseException:
            connection.close()
            raise
        connection.close()
        return None

    def _is_silent(
        self, connection: psycopg.Connection[Any], executor_id: str, *, patient: bool
    ) -> bool:
        """Whether the last holder of a lock that is free now does not beat any more."""
        first = _row(connection, executor_id)
        if first is None:
            return True
        lasting = first[2]
        if not lasting and not patient:
            return False
        limit = time.monotonic() + (QUIET_SECONDS if lasting else LEASE_SECONDS)
        while time.monotonic() < limit:
            time.sleep(0.1)
            if (now := _row(connection, executor_id)) is None:
                return True
            if now[:2] != first[:2]:
                return False
        return True

    def is_held(self, executor_id: str) -> bool:
        """Whether a living worker holds the lock, by the server's own list of locks.

        Raises:
            Unavailable: when the server does not answer.
        """
        which: LiteralString = "and classid = %s::bigint::oid and objid = %s::bigint::oid"
        with self._asking() as connection:
            found = connection.execute(f"select 1 {_LOCKS} {which}", _halves(executor_id))
            return found.fetchone() is not None

    def held(self) -> int:
        """How many workers have their locks: the queue's library takes advisory ones as well.

        Raises:
            Unavailable: when the server does not answer.
        """
        with self._asking() as connection:
            try:
                return sum(each.locked for each in _seen(connection).values())
            except psycopg.errors.UndefinedTable:
                return 0  # no process has been here yet

    def seen(self) -> Mapping[str, Seen]:
        """The rows of all workers, and which of them have their locks.

        Raises:
            Unavailable: when the server does not answer.
        """
        with self._one_look, _noticing_outage():
            try:
                if self._looking is None:
                    self._looking = _connected(self._url)
                return _seen(self._looking)
            except psycopg.Error:
                if self._looking is not None:
                    self._looking.close()
                    self._looking = None
                raise

    @_noticing_outage()
    def bury(self, executor_id: str, seen: Seen) -> bool:
        """Removes the row, if it is as it was seen.

        Args:
            executor_id: whose lease.
            seen: what was last seen of it.

        Raises:
            Unavailable: when the server does not answer.
        """
        with _connected(self._url) as connection:
            gone = connection.execute(
                "delete from iss_workers where id = %s and token = %s and beats = %s",
                (executor_id, seen.token, seen.beats),
            )
            return gone.rowcount == 1

    def close(self) -> None:
        """Gives the connection back by which others are looked at; the next look makes another."""
        with self._one_look:
            if self._looking is not None:
                self._looking.close()
                self._looking = None

    @contextmanager
    def _asking(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection for one question."""
        with (
            _noticing_outage(),
            psycopg.connect(self._url, autocommit=True, connect_timeout=5) as connection,
        ):
            yield connection


class PostgresLease:
    """A lease: a row that counts up, and an advisory lock of the connection that it is written by.

    Args:
        url: of the server.
        executor_id: whose lease.
        connection: that has the lock.
    """

    def __init__(self, url: str, executor_id: str, connection: psycopg.Connection[Any]) -> None:
        self.token = process_token()
        self._url, self._id = url, executor_id
        self._connection: psycopg.Connection[Any] | None = connection
        self._has_lock = True
        connection.execute(
            "insert into iss_workers (id, token, beats, beat_at, server) "
            f"values (%s, %s, 0, now() at time zone 'utc', {_SERVER}) on conflict (id) do update "
            "set token = excluded.token, beats = 0, beat_at = excluded.beat_at, "
            "server = excluded.server",
            (executor_id, self.token),
        )

    def beat(self) -> bool:
        """Counts up; False when the row is gone, or another's.

        A connection that was lost is made anew, at once, and the lock taken again.

        Raises:
            Unavailable: when the server does not answer.
        """
        try:
            return self._count_up()
        except psycopg.Error:
            self._cut()
        with _noticing_outage():
            try:
                return self._count_up()
            except psycopg.Error:
                self._cut()
                raise

    def wait(self, seconds: float) -> None:
        """Waits until the next beat is due, or until the server has something to say.

        That is mostly that it ends the connection, and the lock with it: others look at this
        worker from then on, and have to hear it soon.

        Args:
            seconds: between two beats.
        """
        try:
            connection = None if self._connection is None else self._connection.fileno()
        except psycopg.Error:  # it is closed
            connection = None
        if connection is None:
            time.sleep(seconds)
            return
        ended = select.poll()
        ended.register(connection, select.POLLIN)
        ended.poll(1000 * seconds)

    def close(self) -> None:
        """Gives the lease back: nobody has to wait until it is certain that its holder ended."""
        with suppress(psycopg.Error):
            if self._connection is not None:
                mine = (self._id, self.token)
                self._connection.execute(
                    "delete from iss_workers where id = %s and token = %s", mine
                )
        self._cut()

    def _cut(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _count_up(self) -> bool:
        if self._connection is None:
            self._connection, self._has_lock = _connected(self._url), False
        if not self._has_lock:  # another may have it for a moment, and leaves it as this one beats
            self._has_lock = _try_lock(self._connection, self._id)
        # The server is noted again once the lock is taken of it: see `Seen.lasting`.
        row = self._connection.execute(
            "update iss_workers set beats = beats + 1, beat_at = now() at time zone 'utc', "
            f"server = case when %s then {_SERVER} else server end "
            "where id = %s and token = %s returning beats",
            (self._has_lock, self._id, self.token),
        ).fetchone()
        return row is not None


def _connected(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(url, autocommit=True, **_PATIENCE)


def _locked(url: str, executor_id: str) -> psycopg.Connection[Any] | None:
    """A connection that has the lock of an id; None while another has it."""
    connection = _connected(url)
    if _try_lock(connection, executor_id):
        return connection
    connection.close()
    return None


def _try_lock(connection: psycopg.Connection[Any], executor_id: str) -> bool:
    row = connection.execute("select pg_try_advisory_lock(%s)", (_key(executor_id),)).fetchone()
    return row is not None and bool(row[0])


def _row(connection: psycopg.Connection[Any], executor_id: str) -> tuple[str, int, bool] | None:
    """Token, beats, and whether the server is the one that the lock was taken of."""
    return connection.execute(
        f"select token, beats, server = {_SERVER} from iss_workers where id = %s", (executor_id,)
    ).fetchone()


def _seen(connection: psycopg.Connection[Any]) -> dict[str, Seen]:
    """The rows of all workers, and which of them have their locks."""
    rows = connection.execute(
        f"select id, token, beats, server = {_SERVER} from iss_workers"
    ).fetchall()
    locks = set(connection.execute(f"select classid::bigint, objid::bigint {_LOCKS}").fetchall())
    return {
        executor_id: Seen(token, beats, _halves(executor_id) in locks, lasting)
        for executor_id, token, beats, lasting in rows
    }


def _halves(executor_id: str) -> tuple[int, int]:
    """The number of an id's lock as `pg_locks` has it: of 32 bits each, with objsubid 1."""
    return divmod(_key(executor_id) % (1 << 64), 1 << 32)


def _key(executor_id: str) -> int:
    return int.from_bytes(hashlib.sha256(executor_id.encode()).digest()[:8], "big", signed=True)

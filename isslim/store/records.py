"""The table of jobs: their state, progress and outcome, in addition to DBOS's own tables.

DBOS brings a job to a worker; this table says what became of it, and decides who may go on
(`isslim.store.attempts`). Every transition names its source states, so that a late worker never
overwrites a cancellation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import run_dbos_database_migrations
from sqlalchemy.exc import IntegrityError

from isslim.store.attempts import ACTIVE, Attempts
from isslim.store.errors import BadCursor, NotFound, Unavailable
from isslim.store.job_rows import hashes_in, job_of, request_of
from isslim.store.migrations import migrate
from isslim.store.moments import now
from isslim.store.private import Private, shown_database
from isslim.store.settings import StoreSettings
from isslim.store.tables import JOBS, OWNERS
from isslim.types.jobs import CompressionRequest, Job, JobState

DAMAGED = "XX"
"""Postgres's class of errors that say that its files are not what it has written."""
_LARGE = {"log", "inspection", "points", "epochs"}
_PAGED = [*(column for column in JOBS.c if column.name not in _LARGE), OWNERS.c.owner]


@dataclass(frozen=True)
class ActiveJob:
    """A job that has not ended, by what its row says.

    Attributes:
        id: of the job.
        run: the current run.
        request: its request as it is stored, maybe by another release.
        publishing: the bundle that is being published, if one is.
    """

    id: str
    run: int
    request: str
    publishing: str | None


class JobRecords:
    """Reads and writes the table; opens (and on first use creates) the database.

    SQLite is set to write-ahead logging, without which the service's reads and the worker's writes
    block each other. Every method raises `Unavailable` when the database does not answer.

    Attributes:
        url: of the database.
        engine: its connections.
        attempts: what workers write.
        hide: takes the server's paths and the database's host out of a text.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self.url = settings.database
        sqlite = self.url.startswith("sqlite")
        if sqlite:
            Path(settings.home).mkdir(parents=True, exist_ok=True)
        self.engine = sa.create_engine(
            self.url,
            connect_args={"timeout": settings.database_wait_seconds} if sqlite else {},
            # After a restart of the server no request is to meet a connection that it has cut.
            pool_pre_ping=not sqlite,
        )
        sa.event.listen(self.engine, "handle_error", _passing)
        with _opening(self.url):
            with self.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL" if sqlite else "SELECT 1")
            run_dbos_database_migrations(self.url)
            migrate(self.engine)
        self.hide = Private(settings).hide
        self.attempts = Attempts(self.engine, self.hide)

    def close(self) -> None:
        """Closes the connections."""
        self.engine.dispose()

    def add(self, job_id: str, request: CompressionRequest) -> tuple[Job, int]:
        """The job with an id, created if it is new.

        One that failed, was cancelled, or whose model was deleted starts a new run.

        Args:
            job_id: derived from the request.
            request: the request.

        Returns:
            The job and its run.
        """
        moment = now()
        fresh = {
            "state": JobState.QUEUED,
            "request": request.model_dump_json(),
            "created_at": moment,
            "updated_at": moment,
            "stage": "",
            "progress": 0.0,
            "message": "",
            "log": "[]",
            "attempts": 0,
            "model_id": None,
            "problem": None,
            "curve": "[]",
            "inspection": None,
            "points": None,
            "epochs": None,
            "worker": None,
            "deaths": None,
            "reached": None,
            "staged": None,
            "publishing": None,
            "seconds_left": None,
        }
        with self.engine.begin() as connection:
            try:
                with connection.begin_nested():
                    connection.execute(JOBS.insert().values(id=job_id, run=1, **fresh))
            except IntegrityError:
                ended = sa.or_(
                    JOBS.c.state.in_([JobState.FAILED, JobState.CANCELLED]),
                    sa.and_(JOBS.c.state == JobState.SUCCEEDED, JOBS.c.model_id.is_(None)),
                )
                connection.execute(
                    JOBS.update()
                    .where(JOBS.c.id == job_id, ended)
                    .values(run=JOBS.c.run + 1, **fresh)
                )
        return self.get(job_id), self.run_of(job_id)

    def forget_model(self, model_id: str) -> None:
        """Unlinks a deleted model from its jobs: an equal request then makes it again."""
        with self.engine.begin() as connection:
            connection.execute(
                JOBS.update()
                .where(JOBS.c.model_id == model_id)
                .values(model_id=None, message="the model is gone", updated_at=now())
            )

    def get(self, job_id: str) -> Job:
        """One job.

        Raises:
            NotFound: when there is none of that id.
        """
        row = self._row(job_id)
        return job_of(row, position=self._positions([row]).get(job_id))

    def request_of(self, job_id: str) -> CompressionRequest:
        """The request of a job, to the letter.

        Raises:
            AnotherRelease: when it holds what this release does not know.
        """
        return request_of(self._row(job_id).request)

    def run_of(self, job_id: str) -> int:
        """Which run of the job is the current one."""
        return int(self._row(job_id).run)

    def page(
        self,
        limit: int,
        cursor: str | None = None,
        owner: str | None = None,
        model_id: str | None = None,
    ) -> tuple[list[Job], str | None]:
        """Some jobs with their owners, newest first, without logs, inspections, points and epochs.

        Args:
            limit: how many at most.
            cursor: where the page before ended; None: begins with the newest.
            owner: only this key's; None: all.
            model_id: only those that made this model; None: all.

        Returns:
            The jobs, and where the next page begins; None: there are no more.

        Raises:
            BadCursor: when the cursor is none of this table.
        """
        owned = sa.and_(OWNERS.c.kind == "job", OWNERS.c.id == JOBS.c.id)
        query = sa.select(*_PAGED).select_from(JOBS.outerjoin(OWNERS, owned))
        query = query.order_by(JOBS.c.created_at.desc(), JOBS.c.id.desc())
        if owner is not None:
            query = query.where(OWNERS.c.owner == owner)
        if model_id is not None:
            query = query.where(JOBS.c.model_id == model_id)
        if cursor is not None:
            moment, job_id = _place(cursor)
            query = query.where(
                sa.or_(
                    JOBS.c.created_at < moment,
                    sa.and_(JOBS.c.created_at == moment, JOBS.c.id < job_id),
                )
            )
        with self.engine.connect() as connection:
            rows = connection.execute(query.limit(limit + 1)).all()
        more = len(rows) > limit
        last = rows[limit - 1] if more else None
        following = None if last is None else f"{last.created_at.isoformat()}~{last.id}"
        places = self._positions(rows[:limit])
        jobs = [
            job_of(row, whole=False, position=places.get(row.id)).model_copy(
                update={"owner": row.owner}
            )
            for row in rows[:limit]
        ]
        return jobs, following

    def _positions(self, rows: Sequence[sa.Row[Any]]) -> dict[str, int]:
        """Places of the rows that wait, from 1, in the order in which jobs were asked for."""
        if all(row.state != JobState.QUEUED for row in rows):
            return {}
        waiting = sa.select(JOBS.c.id).where(JOBS.c.state == JobState.QUEUED)
        with self.engine.connect() as connection:
            ids = connection.execute(waiting.order_by(JOBS.c.created_at, JOBS.c.id)).scalars()
            places = {job_id: place for place, job_id in enumerate(ids, 1)}
        return {row.id: places[row.id] for row in rows if row.id in places}

    def active(self) -> list[ActiveJob]:
        """All jobs that have not ended, as far as this release knows, newest first."""
        columns = (JOBS.c.id, JOBS.c.run, JOBS.c.request, JOBS.c.publishing)
        ended = [state for state in JobState if state.ended]
        query = sa.select(*columns).where(JOBS.c.state.not_in(ended))
        with self.engine.connect() as connection:
            rows = connection.execute(query.order_by(JOBS.c.created_at.desc())).all()
        return [ActiveJob(*row) for row in rows]

    def uploads(self) -> set[str]:
        """Hashes of the uploads of all jobs, whichever release wrote them."""
        with self.engine.connect() as connection:
            return hashes_in(connection.execute(sa.select(JOBS.c.request)).scalars())

    def remove_old(self, older_than: timedelta) -> list[str]:
        """Removes some records of jobs that ended long ago; their models stay.

        Args:
            older_than: how long ago at least.

        Returns:
            Which runs were removed, as `<id>-<run>`; none: there are no more.
        """
        ended = [state for state in JobState if state.ended]
        old = sa.and_(JOBS.c.state.in_(ended), JOBS.c.updated_at < now() - older_than)
        with self.engine.begin() as connection:
            rows = connection.execute(sa.select(JOBS.c.id, JOBS.c.run).where(old).limit(500)).all()
            # The same request may have begun a new run meanwhile.
            connection.execute(JOBS.delete().where(old, JOBS.c.id.in_([row.id for row in rows])))
        return [f"{row.id}-{row.run}" for row in rows]

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        with self.engine.connect() as connection:
            rows = connection.execute(
                sa.select(JOBS.c.state, sa.func.count()).group_by(JOBS.c.state)
            ).all()
        return {state.value: 0 for state in JobState} | {row[0]: row[1] for row in rows}

    def oldest_queued_seconds(self) -> float:
        """How long the job that has waited longest is queued; 0 where none is."""
        oldest = sa.select(sa.func.min(JOBS.c.updated_at)).where(JOBS.c.state == JobState.QUEUED)
        with self.engine.connect() as connection:
            since = connection.execute(oldest).scalar()
        # Clocks of other machines may be ahead.
        return 0.0 if since is None else max(0.0, (now() - since).total_seconds())

    def cancel(self, job_id: str, run: int) -> bool:
        """Ends a run that waits or runs.

        Args:
            job_id: which job.
            run: which run of it.

        Returns:
            False when it had ended, or its model is being published; nothing is changed then.
        """
        statement = JOBS.update().where(
            JOBS.c.id == job_id,
            JOBS.c.run == run,
            JOBS.c.state.in_(ACTIVE),
            JOBS.c.publishing.is_(None),
        )
        values = {
            "state": JobState.CANCELLED,
            "worker": None,
            "seconds_left": None,
            "updated_at": now(),
        }
        with self.engine.begin() as connection:
            return connection.execute(statement.values(**values)).rowcount == 1

    def _row(self, job_id: str) -> sa.Row[Any]:
        if "\0" in job_id:  # Postgres refuses this character in any text
            raise NotFound("job", job_id)
        with self.engine.connect() as connection:
            row = connection.execute(JOBS.select().where(JOBS.c.id == job_id)).one_or_none()
        if row is None:
            raise NotFound("job", job_id)
        return row


def _place(cursor: str) -> tuple[datetime, str]:
    moment, _, job_id = cursor.partition("~")
    try:
        found = datetime.fromisoformat(moment)
    except ValueError as error:
        raise BadCursor(cursor) from error
    if found.tzinfo is not None or not job_id or "\0" in job_id:
        raise BadCursor(cursor)
    return found, job_id


@contextmanager
def _opening(url: str) -> Iterator[None]:
    """Names the database that cannot be opened, without its password; for whoever starts us."""
    try:
        yield
    except (Unavailable, sa.exc.DBAPIError, RuntimeError) as fault:
        # DBOS prints what is wrong, and raises what ends a command line.
        cause = fault.reason if isinstance(fault, Unavailable) else str(fault).strip()
        shown = shown_database(url)
        reason = cause.splitlines()[0] if cause else "its tables cannot be made"
        raise Unavailable(f"{shown}: {reason}; start it, or correct ISS_DATABASE_URL") from fault


def _passing(context: sa.engine.ExceptionContext) -> None:
    """Converts the errors of a database that is away, or damaged, to one class."""
    if context.is_pre_ping:  # a connection that was cut is replaced: nobody is told
        return
    fault, cause = context.sqlalchemy_exception, context.original_exception
    state = getattr(cause, "sqlstate", None) or ""
    away = isinstance(fault, sa.exc.OperationalError | sa.exc.InterfaceError)
    if away or state.startswith(DAMAGED):
        raise Unavailable(str(cause)) from cause

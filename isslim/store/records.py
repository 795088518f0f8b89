"""The table of jobs: their state, progress and outcome, in addition to DBOS's own tables.

DBOS runs a job exactly once and recovers it; this table holds what clients query. Every transition
names its source states, so that a late worker never overwrites a cancellation.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import run_dbos_database_migrations
from pydantic import TypeAdapter
from sqlalchemy.exc import IntegrityError

from isslim.store.errors import NotFound, Unavailable
from isslim.store.migrations import migrate
from isslim.store.settings import StoreSettings
from isslim.types.inspection import Inspection
from isslim.types.jobs import CompressionRequest, Job, JobState
from isslim.types.manifest import CurvePoint, EpochPoint
from isslim.types.problem import Problem

LOG_LINES = 50
METADATA = sa.MetaData()
"""Of all tables of this project, as the code uses them; `isslim.store.migrations` makes them. DBOS
keeps its own."""
_JOBS = sa.Table(
    "iss_jobs",
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("state", sa.String(32), nullable=False, index=True),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime, nullable=False),
    sa.Column("updated_at", sa.DateTime, nullable=False),
    sa.Column("stage", sa.String(64), nullable=False, default=""),
    sa.Column("progress", sa.Float, nullable=False, default=0.0),
    sa.Column("message", sa.Text, nullable=False, default=""),
    sa.Column("log", sa.Text, nullable=False, default="[]"),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("model_id", sa.String(64)),
    sa.Column("problem", sa.Text),
    sa.Column("curve", sa.Text, nullable=False, default="[]"),
    sa.Column("inspection", sa.Text),
    # Null in rows of earlier releases, which kept no such thing.
    sa.Column("points", sa.Text),
    sa.Column("epochs", sa.Text),
)
_CURVE, _EPOCHS = TypeAdapter(list[CurvePoint]), TypeAdapter(list[EpochPoint])
ACTIVE = (JobState.QUEUED, JobState.RUNNING)


class JobRecords:
    """Reads and writes the table; opens (and on first use creates) the database.

    SQLite is set to write-ahead logging, without which the service's reads and the worker's writes
    block each other. Every method raises `Unavailable` when the database does not answer.

    Attributes:
        url: of the database.
        engine: its connections.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self.url = settings.database
        sqlite = self.url.startswith("sqlite")
        if sqlite:
            Path(settings.home).mkdir(parents=True, exist_ok=True)
        self.engine = sa.create_engine(
            self.url, connect_args={"timeout": settings.database_wait_seconds} if sqlite else {}
        )
        if sqlite:
            with self.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        run_dbos_database_migrations(self.url)
        migrate(self.engine)
        sa.event.listen(self.engine, "handle_error", _passing)

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
        now = _now()
        fresh = {
            "state": JobState.QUEUED,
            "request": request.model_dump_json(),
            "created_at": now,
            "updated_at": now,
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
        }
        with self.engine.begin() as connection:
            try:
                with connection.begin_nested():
                    connection.execute(_JOBS.insert().values(id=job_id, run=1, **fresh))
            except IntegrityError:
                ended = sa.or_(
                    _JOBS.c.state.in_([JobState.FAILED, JobState.CANCELLED]),
                    sa.and_(_JOBS.c.state == JobState.SUCCEEDED, _JOBS.c.model_id.is_(None)),
                )
                connection.execute(
                    _JOBS.update()
                    .where(_JOBS.c.id == job_id, ended)
                    .values(run=_JOBS.c.run + 1, **fresh)
                )
        return self.get(job_id), self.run_of(job_id)

    def forget_model(self, model_id: str) -> None:
        """Unlinks a deleted model from its jobs: an equal request then makes it again."""
        with self.engine.begin() as connection:
            connection.execute(
                _JOBS.update()
                .where(_JOBS.c.model_id == model_id)
                .values(model_id=None, message="the model is gone", updated_at=_now())
            )

    def get(self, job_id: str) -> Job:
        """One job.

        Raises:
            NotFound: when there is none of that id.
        """
        return _job(self._row(job_id))

    def run_of(self, job_id: str) -> int:
        """Which run of the job is the current one."""
        return int(self._row(job_id).run)

    def all(self) -> list[Job]:
        """All jobs, newest first, without their logs, inspections, points and epochs."""
        with self.engine.connect() as connection:
            rows = connection.execute(_JOBS.select().order_by(_JOBS.c.created_at.desc())).all()
        return [_job(row, whole=False) for row in rows]

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        with self.engine.connect() as connection:
            rows = connection.execute(
                sa.select(_JOBS.c.state, sa.func.count()).group_by(_JOBS.c.state)
            ).all()
        return {state.value: 0 for state in JobState} | {row[0]: row[1] for row in rows}

    def oldest_queued_seconds(self) -> float:
        """How long the job that has waited longest is queued; 0 where none is."""
        oldest = sa.select(sa.func.min(_JOBS.c.updated_at)).where(_JOBS.c.state == JobState.QUEUED)
        with self.engine.connect() as connection:
            since = connection.execute(oldest).scalar()
        # Clocks of other machines may be ahead.
        return 0.0 if since is None else max(0.0, (_now() - since).total_seconds())

    def begin(self, job_id: str, run: int) -> int | None:
        """Marks a run as running and counts the attempt.

        Args:
            job_id: which job.
            run: which run of it.

        Returns:
            The number of attempts so far; None when it must not run, because it has ended or is not
            the current one.
        """
        changed = self._change(
            job_id,
            run,
            ACTIVE,
            state=JobState.RUNNING,
            attempts=_JOBS.c.attempts + 1,
            message="starting",
        )
        return self.get(job_id).attempts if changed else None

    def advance(
        self, job_id: str, run: int, stage: str, progress: float, message: str, log: list[str]
    ) -> bool:
        """Records progress of a running job.

        Args:
            job_id: which job.
            run: which run of it.
            stage: of the pipeline.
            progress: share of the whole, from 0 to 1.
            message: the last line of progress.
            log: all lines, oldest first; the last `LOG_LINES` are kept.

        Returns:
            False when the run is no longer running.
        """
        return self._change(
            job_id,
            run,
            (JobState.RUNNING,),
            stage=stage,
            progress=progress,
            message=message,
            log=json.dumps(log[-LOG_LINES:]),
        )

    def inspected(self, job_id: str, run: int, inspection: Inspection) -> bool:
        """Records what was understood of the upload of a running job.

        Args:
            job_id: which job.
            run: which run of it.
            inspection: what was understood.

        Returns:
            False when the run is no longer running.
        """
        return self._change(
            job_id, run, (JobState.RUNNING,), inspection=inspection.model_dump_json()
        )

    def charted(
        self, job_id: str, run: int, points: list[CurvePoint], epochs: list[EpochPoint]
    ) -> bool:
        """Records what a running job has found so far.

        Args:
            job_id: which job.
            run: which run of it.
            points: all candidates that were evaluated.
            epochs: all epochs of learn mode.

        Returns:
            False when the run is no longer running.
        """
        return self._change(
            job_id,
            run,
            (JobState.RUNNING,),
            points=_CURVE.dump_json(points).decode(),
            epochs=_EPOCHS.dump_json(epochs).decode(),
        )

    def finish(
        self,
        job_id: str,
        run: int,
        state: JobState,
        *,
        model_id: str | None = None,
        problem: Problem | None = None,
        curve: list[CurvePoint] | None = None,
    ) -> bool:
        """Ends a run.

        Args:
            job_id: which job.
            run: which run of it.
            state: how it ended.
            model_id: the bundle, where one was published.
            problem: why there is no model.
            curve: the trade-off curve, where the budget could not be met.

        Returns:
            False when the run had already ended; its outcome is kept.
        """
        values: dict[str, Any] = {
            "state": state,
            "model_id": model_id,
            "curve": _CURVE.dump_json(curve or []).decode(),
        }
        if problem is not None:
            values |= {"problem": problem.model_dump_json(), "message": problem.title}
        if state is JobState.SUCCEEDED:
            values["progress"] = 1.0
        return self._change(job_id, run, ACTIVE, **values)

    def _change(self, job_id: str, run: int, allowed: tuple[JobState, ...], **values: Any) -> bool:
        statement = _JOBS.update().where(
            _JOBS.c.id == job_id, _JOBS.c.run == run, _JOBS.c.state.in_(allowed)
        )
        with self.engine.begin() as connection:
            return connection.execute(statement.values(updated_at=_now(), **values)).rowcount == 1

    def _row(self, job_id: str) -> sa.Row[Any]:
        if "\0" in job_id:  # Postgres refuses this character in any text
            raise NotFound("job", job_id)
        with self.engine.connect() as connection:
            row = connection.execute(_JOBS.select().where(_JOBS.c.id == job_id)).one_or_none()
        if row is None:
            raise NotFound("job", job_id)
        return row


def _passing(context: sa.engine.ExceptionContext) -> None:
    """Converts the transient errors of any database to one class."""
    if isinstance(context.sqlalchemy_exception, sa.exc.OperationalError | sa.exc.InterfaceError):
        raise Unavailable(str(context.original_exception)) from context.original_exception


def _job(row: sa.Row[Any], *, whole: bool = True) -> Job:
    """The job of a row.

    Args:
        row: of the table.
        whole: with its log, inspection, points and epochs.
    """
    request = CompressionRequest.model_validate_json(row.request)
    return Job(
        id=row.id,
        state=JobState(row.state),
        name=request.recipe.name,
        created_at=row.created_at.replace(tzinfo=UTC),
        updated_at=row.updated_at.replace(tzinfo=UTC),
        stage=row.stage,
        progress=row.progress,
        message=row.message,
        log=json.loads(row.log) if whole else [],
        attempts=row.attempts,
        model_id=row.model_id,
        problem=Problem.model_validate_json(row.problem) if row.problem else None,
        curve=_CURVE.validate_json(row.curve),
        inspection=Inspection.model_validate_json(row.inspection)
        if whole and row.inspection
        else None,
        points=_CURVE.validate_json(row.points) if whole and row.points else [],
        epochs=_EPOCHS.validate_json(row.epochs) if whole and row.epochs else [],
        request=request,
    )


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)

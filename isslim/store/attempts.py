"""What a worker writes of the job that it does, every write fenced by the attempt.

An attempt has a number, which counts up with each of a run. A write names it, and changes nothing
once another attempt was begun, or the job has ended: whoever was taken for dead writes in vain. A
model is published by one of these writes, `claim`: before it there is no bundle, after it nobody
but its attempt, or one that completes it, decides anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from isslim.store.errors import NotFound
from isslim.store.moments import now
from isslim.store.tables import JOBS
from isslim.types.inspection import Inspection
from isslim.types.jobs import JobState
from isslim.types.manifest import CurvePoint, EpochPoint
from isslim.types.problem import Problem

LOG_LINES = 50
ACTIVE = (JobState.QUEUED, JobState.RUNNING)
FURTHER = 0.05
"""Share of a job by which an attempt has to get further than those before it."""
CURVE, EPOCHS = TypeAdapter(list[CurvePoint]), TypeAdapter(list[EpochPoint])


@dataclass(frozen=True)
class Attempt:
    """One start of a run.

    Attributes:
        job_id: which job.
        run: which run of it.
        number: of the attempt, from 1.
        deaths: attempts in succession that ended by the end of their worker, and got no further.
        staged: the bundle that the attempt before had begun to copy, if any.
        publishing: the bundle that was to be published when its worker ended, if any.
    """

    job_id: str
    run: int
    number: int
    deaths: int = 0
    staged: str | None = None
    publishing: str | None = None


@dataclass(frozen=True)
class Reached:
    """How far an attempt is.

    Attributes:
        stage: of the pipeline.
        progress: share of the whole, from 0 to 1.
        message: the last line of progress.
        log: all lines, oldest first; the last `LOG_LINES` are kept.
        seconds_left: that the rest is likely to take; None: not known.
    """

    stage: str
    progress: float
    message: str = ""
    log: Sequence[str] = ()
    seconds_left: float | None = None


class Elsewhere(Exception):
    """Another worker, which lives, is at it."""


def has_lost_attempt(row: sa.Row[Any], worker: str, is_dead: Callable[[str], bool]) -> bool:
    """Whether a job or an inspection is said to run, by an attempt that does not any more.

    Args:
        row: with its state and the token of its worker.
        worker: token of the worker that would begin another attempt.
        is_dead: whether the worker of a token is.

    Raises:
        Elsewhere: when that attempt may be running.
    """
    is_running: bool = row.state == JobState.RUNNING
    if is_running and row.worker not in (None, worker) and not is_dead(row.worker):
        raise Elsewhere
    return is_running


_WORDS = ("message", "log", "problem", "inspection")
"""What is written in words, which may be those of a library."""


class Attempts:
    """Begins attempts, and writes for them.

    Args:
        engine: of the jobs' database.
        hide: takes out of texts what their readers should not see.
    """

    def __init__(self, engine: sa.Engine, hide: Callable[[str], str] = str) -> None:
        self._engine, self._hide = engine, hide

    def begin(
        self, job_id: str, run: int, worker: str, is_dead: Callable[[str], bool]
    ) -> Attempt | None:
        """Marks a run as running, by a new attempt.

        Args:
            job_id: which job.
            run: which run of it.
            worker: token of the worker that begins it.
            is_dead: whether the worker of a token is.

        Returns:
            The attempt; None when it must not run, because it has ended or is not the current one.

        Raises:
            Elsewhere: when another attempt may be running.
            NotFound: when there is no such job.
        """
        with self._engine.connect() as connection:
            row = connection.execute(JOBS.select().where(JOBS.c.id == job_id)).one_or_none()
        if row is None:
            raise NotFound("job", job_id)
        if row.run != run or row.state not in ACTIVE:
            return None
        was_lost = has_lost_attempt(row, worker, is_dead)
        # An epoch counts as whole: it is kept, and the next attempt goes on from there.
        reached = row.progress + len(json.loads(row.epochs or "[]"))
        further = reached >= (row.reached or 0.0) + FURTHER
        deaths = (0 if further else row.deaths or 0) + was_lost
        begun = Attempt(job_id, run, row.attempts + 1, deaths, row.staged, row.publishing)
        values = {
            "state": JobState.RUNNING,
            "attempts": begun.number,
            "worker": worker,
            "deaths": deaths,
            "reached": max(reached, row.reached or 0.0),
            "message": "starting",
            "seconds_left": None,
        }
        before = Attempt(job_id, run, row.attempts)
        if not self._change(before, ACTIVE, **values):
            raise Elsewhere  # begun, cancelled or handed back since it was read
        return begun

    def is_current(self, attempt: Attempt) -> bool:
        """Whether an attempt is still running: neither cancelled nor taken over."""
        query = sa.select(sa.func.count()).select_from(JOBS)
        with self._engine.connect() as connection:
            fence = _fence(attempt, (JobState.RUNNING,))
            return connection.execute(query.where(*fence)).scalar() == 1

    def advance(self, attempt: Attempt, reached: Reached) -> bool:
        """Records progress.

        Args:
            attempt: that makes it.
            reached: where it is.

        Returns:
            False when the attempt is no longer running.
        """
        return self._change(
            attempt,
            (JobState.RUNNING,),
            stage=reached.stage,
            progress=reached.progress,
            message=reached.message,
            log=json.dumps(reached.log[-LOG_LINES:]),
            seconds_left=reached.seconds_left,
        )

    def inspected(self, attempt: Attempt, inspection: Inspection) -> bool:
        """Records what was understood of the upload.

        Args:
            attempt: that read it.
            inspection: what was understood.

        Returns:
            False when the attempt is no longer running.
        """
        return self._change(attempt, (JobState.RUNNING,), inspection=inspection.model_dump_json())

    def charted(self, attempt: Attempt, points: list[CurvePoint], epochs: list[EpochPoint]) -> bool:
        """Records what was found so far.

        Args:
            attempt: that found it.
            points: all candidates that were evaluated.
            epochs: all epochs of learn mode.

        Returns:
            False when the attempt is no longer running.
        """
        return self._change(
            attempt,
            (JobState.RUNNING,),
            points=CURVE.dump_json(points).decode(),
            epochs=EPOCHS.dump_json(epochs).decode(),
        )

    def staging(self, attempt: Attempt, bundle_id: str | None) -> bool:
        """Records which bundle's files are about to be copied into storage.

        So they are found, and removed, if that is interrupted.

        Args:
            attempt: that made it.
            bundle_id: the bundle; None: none is, any more.

        Returns:
            False when the attempt is no longer running, or publishes a bundle already.
        """
        return self._change(
            attempt, (JobState.RUNNING,), JOBS.c.publishing.is_(None), staged=bundle_id
        )

    def claim(self, attempt: Attempt, bundle_id: str) -> bool:
        """Decides that a bundle, whose files lie in storage, is published: the one write that does.

        Args:
            attempt: that made it.
            bundle_id: the bundle.

        Returns:
            False when the job was cancelled, or taken over: the bundle must not appear.
        """
        return self._change(attempt, (JobState.RUNNING,), staged=bundle_id, publishing=bundle_id)

    def withdraw(self, attempt: Attempt) -> bool:
        """Takes a decision to publish back: the bundle cannot be completed.

        Returns:
            False when the attempt is no longer running.
        """
        return self._change(attempt, (JobState.RUNNING,), staged=None, publishing=None)

    def finish(
        self,
        attempt: Attempt,
        state: JobState,
        *,
        model_id: str | None = None,
        problem: Problem | None = None,
        curve: list[CurvePoint] | None = None,
    ) -> bool:
        """Ends a run.

        Args:
            attempt: that ended.
            state: how it ended.
            model_id: the bundle, where one was published.
            problem: why there is no model.
            curve: the trade-off curve, where the budget could not be met.

        Returns:
            False when the run had ended, or another attempt was begun; nothing is changed then.
        """
        values: dict[str, Any] = {
            "state": state,
            "model_id": model_id,
            "curve": CURVE.dump_json(curve or []).decode(),
            "worker": None,
            "staged": None,
            "publishing": None,
            "seconds_left": None,
        }
        if problem is not None:
            values |= {"problem": problem.model_dump_json(), "message": problem.title}
        if state is JobState.SUCCEEDED:
            values["progress"] = 1.0
        return self._change(attempt, (JobState.RUNNING,), **values)

    def hand_back(self, attempt: Attempt, message: str, *, died: bool = False) -> bool:
        """Queues a run again, which its worker leaves.

        Args:
            attempt: that was left.
            message: why.
            died: whether that counts as a death.

        Returns:
            False when the run had ended, or another attempt was begun.
        """
        values = {"state": JobState.QUEUED, "worker": None, "message": message}
        deaths = {"deaths": attempt.deaths + 1} if died else {}
        return self._change(attempt, (JobState.RUNNING,), **values, **deaths)

    def _change(
        self,
        attempt: Attempt,
        allowed: tuple[JobState, ...],
        *more: sa.ColumnElement[bool],
        **values: Any,
    ) -> bool:
        values |= {name: self._hide(values[name]) for name in _WORDS if values.get(name)}
        statement = JOBS.update().where(*_fence(attempt, allowed), *more)
        with self._engine.begin() as connection:
            return connection.execute(statement.values(updated_at=now(), **values)).rowcount == 1


def _fence(attempt: Attempt, allowed: tuple[JobState, ...]) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        JOBS.c.id == attempt.job_id,
        JOBS.c.run == attempt.run,
        JOBS.c.attempts == attempt.number,
        JOBS.c.state.in_(allowed),
    )

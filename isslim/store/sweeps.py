"""Sweeps: one upload under several recipes, whose curves are merged into one Pareto front.

The parent is a record, not a running job: its children are ordinary jobs on the queue, so that any
number of workers share them, one worker does them one after the other, and nothing waits in a
worker's slot. State and front are computed from the children on request.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from isslim.store.bundles import BundleStore
from isslim.store.errors import CorruptBundle, NotFound
from isslim.store.folders import report_of
from isslim.store.queue import JobQueue
from isslim.store.tables import METADATA, OWNERS
from isslim.types.jobs import CompressionRequest, FrontPoint, Job, JobState, Sweep
from isslim.types.manifest import CurvePoint

MAX_VARIATIONS = 32
_SWEEPS = sa.Table(
    "iss_sweeps",
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("created_at", sa.DateTime, nullable=False),
    sa.Column("jobs", sa.Text, nullable=False),
)


class SweepStore:
    """Keeps sweeps beside the jobs.

    Args:
        queue: runs the children.
        bundles: holds the curves of those that succeeded.
    """

    def __init__(self, queue: JobQueue, bundles: BundleStore) -> None:
        self._queue, self._bundles = queue, bundles

    def begin(
        self, name: str, requests: Sequence[CompressionRequest], owner: str | None = None
    ) -> Sweep:
        """Queues every request.

        Equal requests are the same sweep; its failed jobs start a new run.

        Args:
            name: of the models, each followed by a number.
            requests: one for each job.
            owner: the key that asks; None: no keys are asked for.
        """
        jobs = [self._queue.enqueue(request, owner).id for request in requests]
        sweep_id = hashlib.sha256(json.dumps(jobs).encode()).hexdigest()[:20]
        values = {"id": sweep_id, "name": name, "jobs": json.dumps(jobs)}
        with self._queue.records.engine.begin() as connection:
            try:
                with connection.begin_nested():
                    connection.execute(
                        _SWEEPS.insert().values(
                            created_at=datetime.now(UTC).replace(tzinfo=None), **values
                        )
                    )
            except IntegrityError:
                pass  # it exists already
        return self.get(sweep_id)

    def get(self, sweep_id: str) -> Sweep:
        """The current state of the sweep.

        Raises:
            NotFound: when there is none of that id.
        """
        if "\0" in sweep_id:  # Postgres refuses it in any text
            raise NotFound("sweep", sweep_id)
        with self._queue.records.engine.connect() as connection:
            row = connection.execute(_SWEEPS.select().where(_SWEEPS.c.id == sweep_id)).one_or_none()
        if row is None:
            raise NotFound("sweep", sweep_id)
        return self._read(row)

    def all(self, owner: str | None = None) -> list[Sweep]:
        """All sweeps, newest first; of one key, where it is named."""
        query = _SWEEPS.select().order_by(_SWEEPS.c.created_at.desc())
        if owner is not None:
            owned = sa.and_(OWNERS.c.kind == "sweep", OWNERS.c.id == _SWEEPS.c.id)
            query = query.join(OWNERS, owned).where(OWNERS.c.owner == owner)
        with self._queue.records.engine.connect() as connection:
            rows = connection.execute(query).all()
        return [self._read(row) for row in rows]

    def cancel(self, sweep_id: str) -> Sweep:
        """Cancels every job that has not ended."""
        for job in self.get(sweep_id).jobs:
            if not job.state.ended:
                self._queue.cancel(job.id)
        return self.get(sweep_id)

    def _read(self, row: sa.Row[tuple[object, ...]]) -> Sweep:
        jobs = [job.model_copy(update={"log": []}) for job in self._jobs(json.loads(row.jobs))]
        return Sweep(
            id=row.id,
            name=row.name,
            created_at=row.created_at.replace(tzinfo=UTC),
            state=state_of([job.state for job in jobs]),
            progress=_mean([1.0 if job.state.ended else job.progress for job in jobs]),
            jobs=jobs,
            front=pareto([point for job in jobs for point in self._points(job)]),
        )

    def _jobs(self, job_ids: Sequence[str]) -> Iterator[Job]:
        """The jobs that there still are: ended ones are not kept for ever."""
        for job_id in job_ids:
            with suppress(NotFound):
                yield self._queue.get(job_id)

    def _points(self, job: Job) -> list[FrontPoint]:
        if job.model_id is None:
            return [_tried(job.id, point) for point in job.curve]
        try:
            bundle = self._bundles.open(job.model_id)
        except (NotFound, CorruptBundle):
            return []  # deleted or damaged since
        report = report_of(bundle)
        published = [
            FrontPoint(
                job_id=job.id,
                model_id=job.model_id,
                parameters=variant.parameters,
                mult_adds=variant.mult_adds,
                loss=variant.loss,
                estimate=variant.estimate,
            )
            for variant in bundle.manifest.variants
            if variant.name == "compressed"
        ]
        # The chosen point is the published model by a quick estimate, which must not beat its own
        # figure.
        return [*published, *(_tried(job.id, point) for point in report.curve if not point.chosen)]


def pareto(points: Sequence[FrontPoint]) -> list[FrontPoint]:
    """The points that no other beats or equals in both multiply-adds and quality.

    Among equal points a published one is preferred.

    Unpublished candidates have the search's quick estimate: they never displace a published figure,
    and are dropped where they contradict one.
    """
    front: list[FrontPoint] = []
    least, published = math.inf, math.inf
    for point in sorted(points, key=lambda p: (p.mult_adds, p.loss, p.model_id is None)):
        if point.model_id is not None and point.loss < published:
            front = [each for each in front if each.model_id is not None or each.loss > point.loss]
            published = least = point.loss
            front.append(point)
        elif point.model_id is None and point.loss < least:
            least = point.loss
            front.append(point)
    return front


def _tried(job_id: str, point: CurvePoint) -> FrontPoint:
    return FrontPoint(
        job_id=job_id,
        model_id=None,
        parameters=point.parameters,
        mult_adds=point.mult_adds,
        loss=point.loss,
        estimate=point.estimate,
    )


def _mean(shares: Sequence[float]) -> float:
    return sum(shares) / len(shares) if shares else 1.0


def state_of(jobs: Sequence[JobState]) -> JobState:
    """The state of a sweep whose jobs are in these; without any it has ended."""
    states = set(jobs) or {JobState.SUCCEEDED}
    if states == {JobState.QUEUED}:
        return JobState.QUEUED
    if not all(state.ended for state in states):
        return JobState.RUNNING
    order = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.BUDGET_NOT_MET)
    return next(state for state in order if state in states)

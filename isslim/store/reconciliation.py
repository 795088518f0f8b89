"""Jobs that nobody would ever do: their row says one thing, the queue another.

A job's row and its workflow are written one after the other, by processes that may die in between,
and by releases that give workflows other versions. A job that waits, or whose worker is dead, must
have a workflow that waits too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from isslim.store.errors import AnotherRelease
from isslim.store.job_rows import request_of
from isslim.store.queue import put_job, workflow_id_of
from isslim.store.tables import JOBS
from isslim.types.jobs import JobState
from isslim.types.names import APPLICATION_VERSION, QUEUE

if TYPE_CHECKING:
    from dbos import DBOSClient

LOOK_SECONDS, AT_ONCE = 5.0, 500
_WAITING = ("ENQUEUED", "DELAYED")


@dataclass(frozen=True)
class _Stray:
    """A job that waits for nobody.

    Attributes:
        job_id: which job.
        run: which run of it.
        worker: token of the worker that it runs at, as its row says.
        request: its request as it is stored.
        status: of its workflow; None: there is none.
    """

    job_id: str
    run: int
    worker: str | None
    request: str
    status: str | None


class Reconciler:
    """Finds such jobs, and brings them back to the queue.

    Args:
        engine: of the jobs' database, which is the queue's too.
        client: of the queue.
        is_dead: whether the worker of a token is.
    """

    def __init__(
        self, engine: sa.Engine, client: DBOSClient, is_dead: Callable[[str], bool]
    ) -> None:
        self._engine, self._client, self._is_dead = engine, client, is_dead
        self._seen: set[_Stray] = set()
        self._flows = sa.table(
            "workflow_status",
            sa.column("workflow_uuid", sa.Text),
            sa.column("status", sa.Text),
            sa.column("application_version", sa.Text),
            schema="dbos" if engine.dialect.name == "postgresql" else None,
        )

    def look(self) -> int:
        """Mends what was the same at the look before: a request may be in the middle of its writes.

        Returns:
            How many jobs were brought back.
        """
        found = set(self._strays())
        lasting, self._seen = found & self._seen, found
        return sum(self._mend(each) for each in lasting)

    def _strays(self) -> list[_Stray]:
        flows = self._flows.c
        workflow = JOBS.c.id + "-" + sa.cast(JOBS.c.run, sa.Text)
        is_served = sa.or_(
            flows.status == "PENDING",
            sa.and_(flows.status.in_(_WAITING), flows.application_version == APPLICATION_VERSION),
        )
        query = (
            sa.select(JOBS.c.id, JOBS.c.run, JOBS.c.worker, JOBS.c.request, flows.status)
            .select_from(JOBS.outerjoin(self._flows, flows.workflow_uuid == workflow))
            .where(JOBS.c.state.in_([JobState.QUEUED, JobState.RUNNING]))
            .where(sa.or_(flows.status.is_(None), sa.not_(is_served)))
            .order_by(JOBS.c.created_at)
            .limit(AT_ONCE)
        )
        with self._engine.connect() as connection:
            return [_Stray(*row) for row in connection.execute(query).all()]

    def _mend(self, stray: _Stray) -> bool:
        if stray.worker is not None and not self._is_dead(stray.worker):
            return False  # about to end
        workflow_id = workflow_id_of(stray.job_id, stray.run)
        if stray.status in _WAITING:
            return self._take_over(stray, workflow_id)
        if stray.status in ("SUCCESS", "ERROR"):  # which no queue gives out again
            self._client.delete_workflow(workflow_id)
        if stray.status in (None, "SUCCESS", "ERROR"):
            put_job(self._client, stray.job_id, stray.run)
        else:
            self._client.resume_workflow(workflow_id, queue_name=QUEUE)
        return True

    def _take_over(self, stray: _Stray, workflow_id: str) -> bool:
        """Takes a job of another version that waits, if it is understood here; else says so."""
        try:
            request_of(stray.request)
        except AnotherRelease:
            message = "waits for a worker of the release that it was sent to"
            of_job = sa.and_(JOBS.c.id == stray.job_id, JOBS.c.run == stray.run)
            with self._engine.begin() as connection:
                connection.execute(
                    JOBS.update()
                    .where(of_job, JOBS.c.state == JobState.QUEUED, JOBS.c.message != message)
                    .values(message=message)
                )
            return False
        flows = self._flows.c
        with self._engine.begin() as connection:
            taken = connection.execute(
                self._flows.update()
                .where(flows.workflow_uuid == workflow_id, flows.status.in_(_WAITING))
                .values(application_version=APPLICATION_VERSION)
            )
        return taken.rowcount == 1

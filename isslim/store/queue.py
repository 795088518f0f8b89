"""The client side of the job queue on DBOS: enqueue, query, count, cancel.

The service does everything that it does with jobs through `JobQueue`. A worker runs them: it has
the workflows (`isslim.compress.worker.main`), of which nothing is imported here.
"""

from __future__ import annotations

import hashlib
import json
import logging

from dbos import DBOSClient, EnqueueOptions

from isslim.store.bundles import BundleStore
from isslim.store.errors import CorruptBundle, NotFound
from isslim.store.inspections import InspectionRecords
from isslim.store.records import JobRecords
from isslim.store.settings import StoreSettings
from isslim.store.tracing import sendable_context
from isslim.types.inspection import Inspection, PendingInspection
from isslim.types.jobs import CompressionRequest, Job, JobState
from isslim.types.names import (
    APPLICATION_VERSION,
    INSPECTION_QUEUE,
    INSPECTION_WORKFLOW,
    QUEUE,
    WORKFLOW,
)

_LOG, _JOBS = logging.getLogger("store.queue"), logging.getLogger("service.jobs")


def job_id_of(request: CompressionRequest, owner: str | None = None) -> str:
    """An id derived from uploads' hashes, recipe and owner: equal requests of one key are one job.

    File names make no difference. Where minutes of distillation are asked for, or none, the id is
    that of the first releases, which called them `finetune_minutes`; a request that does not say
    had none then, and is another job now.

    Args:
        request: the request.
        owner: the key that asks; None: no keys are asked for.
    """
    content = request.model_dump(mode="json")
    minutes = content["recipe"].pop("minutes")
    if minutes is not None:
        content["recipe"]["finetune_minutes"] = minutes
    for upload in content.values():
        if isinstance(upload, dict):
            upload.pop("filename", None)
    if owner is not None:
        content["owner"] = owner
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def workflow_id_of(job_id: str, run: int) -> str:
    """DBOS's workflow id of one run of a job.

    Args:
        job_id: which job.
        run: which run of it, from 1.
    """
    return f"{job_id}-{run}"


def inspection_workflow_id_of(inspection_id: str, run: int) -> str:
    """DBOS's workflow id of one run of an inspection.

    Args:
        inspection_id: which inspection.
        run: which run of it, from 1.
    """
    return f"{INSPECTION_WORKFLOW}-{inspection_id}-{run}"


def put_job(client: DBOSClient, job_id: str, run: int) -> None:
    """Brings a run of a job to the queue, unless it is there.

    Args:
        client: of the queue.
        job_id: which job.
        run: which run of it.
    """
    _put(client, WORKFLOW, QUEUE, workflow_id_of(job_id, run), (job_id, run))


def _put(
    client: DBOSClient, workflow: str, queue: str, workflow_id: str, arguments: tuple[str, int]
) -> None:
    """Enqueues a workflow, unless it exists."""
    options: EnqueueOptions = {
        "workflow_name": workflow,
        "queue_name": queue,
        "workflow_id": workflow_id,
        "workflow_id_reuse_policy": "return-existing",
        "app_version": APPLICATION_VERSION,
    }
    context = sendable_context()
    if context is not None:
        # The job's spans hang below the request's, whichever worker runs it.
        options["otel_context"] = context
    client.enqueue(options, *arguments)


class JobQueue:
    """Requests jobs and inspections; in SQLite by default, in Postgres by configuration.

    Args:
        settings: with the database's location.
        bundles: where the jobs' models lie; None: where the settings say.
    """

    def __init__(self, settings: StoreSettings, bundles: BundleStore | None = None) -> None:
        self.records = JobRecords(settings)
        self.inspections = InspectionRecords(self.records.engine, self.records.hide)
        self._bundles = bundles or BundleStore(settings)
        self._client = DBOSClient(system_database_url=self.records.url)

    def close(self) -> None:
        """Gives the connections back."""
        self._client.destroy()
        self.records.close()

    def enqueue(self, request: CompressionRequest, owner: str | None = None) -> Job:
        """Queues a request, or returns its existing job.

        One that failed, was cancelled or lost its model runs anew.

        Args:
            request: the request.
            owner: the key that asks; None: no keys are asked for.
        """
        job_id = job_id_of(request, owner)
        job, run = self.records.add(job_id, request)
        if job.model_id is not None and not self._is_usable(job.model_id):
            self.records.forget_model(job.model_id)
            job, run = self.records.add(job_id, request)
        if job.state is JobState.QUEUED:
            # Idempotent; it completes a request that was interrupted between the two writes.
            put_job(self._client, job_id, run)
            name = request.recipe.name
            _JOBS.info("job queued", extra={"job_id": job_id, "run": run, "model": name})
        return job

    def inspect(self, request: CompressionRequest, owner: str | None = None) -> str:
        """Queues an inspection of a request, or joins the one in progress; returns its id.

        Args:
            request: the request.
            owner: the key that asks; None: no keys are asked for.
        """
        inspection_id = job_id_of(request, owner)
        run = self.inspections.add(inspection_id, request)
        workflow_id = inspection_workflow_id_of(inspection_id, run)
        arguments = (inspection_id, run)
        _put(self._client, INSPECTION_WORKFLOW, INSPECTION_QUEUE, workflow_id, arguments)
        return inspection_id

    def inspection(self, inspection_id: str) -> Inspection | PendingInspection:
        """The result of an inspection, or its state."""
        return self.inspections.get(inspection_id)

    def _is_usable(self, model_id: str) -> bool:
        """Whether a model can be used: its files may have been removed or damaged on disk."""
        try:
            self._bundles.open(model_id)
        except (NotFound, CorruptBundle):
            return False
        return True

    def get(self, job_id: str) -> Job:
        """The current state of the job."""
        return self.records.get(job_id)

    def page(
        self,
        limit: int,
        cursor: str | None = None,
        owner: str | None = None,
        model_id: str | None = None,
    ) -> tuple[list[Job], str | None]:
        """Some jobs, newest first, without their logs; see `JobRecords.page`.

        Args:
            limit: how many at most.
            cursor: where the page before ended.
            owner: only this key's; None: all.
            model_id: only those that made this model; None: all.
        """
        return self.records.page(limit, cursor, owner, model_id)

    def counts(self) -> dict[str, int]:
        """The number of jobs in each state, with an entry for every state.

        Raises:
            Unavailable: when the database does not answer.
        """
        return self.records.counts()

    def needed_uploads(self) -> set[str]:
        """Hashes of the uploads of all jobs and of unfinished inspections."""
        return self.records.uploads() | self.inspections.uploads()

    def forget_model(self, model_id: str) -> None:
        """Records that a model was deleted, so that its request makes it again."""
        self.records.forget_model(model_id)

    def cancel(self, job_id: str) -> Job:
        """Ends a queued or running job; the worker kills its child within a second.

        The first write decides, and its worker sees it. The second one only spares a worker the
        look at a job that nobody wants. A job whose model is being published succeeds.
        """
        run = self.records.run_of(job_id)
        if self.records.cancel(job_id, run):
            _JOBS.info("job cancelled", extra={"job_id": job_id, "run": run})
            try:
                self._client.cancel_workflow(workflow_id_of(job_id, run))
            except Exception as fault:
                _LOG.warning("the queue still holds the cancelled job %s: %s", job_id, fault)
        return self.records.get(job_id)

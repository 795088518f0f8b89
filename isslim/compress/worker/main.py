"""The compression worker: `python -m isslim.compress.worker`.

It takes jobs from the queue, one at a time, and runs each in a child process, so that a cancel
takes effect within a second, a crash costs one job, and memory comes back. Inspections of uploads
have a queue of their own, and do not wait for it. The worker never imports torch itself. It may be
killed at any time: the child ends with its worker and the job is taken up again, by this worker's
successor or by a peer (`isslim.store.liveness`). One that is told to stop hands its jobs back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from dbos import DBOS, DBOSClient

from isslim.compress.worker.garbage import Keep, Stores, collect_garbage
from isslim.compress.worker.heart import Heart
from isslim.compress.worker.job_events import JobEvents
from isslim.compress.worker.metrics import WorkerMetrics
from isslim.compress.worker.oversight import Limits
from isslim.compress.worker.queue_log import take_queue_log
from isslim.compress.worker.supervised_inspection import supervise_inspection
from isslim.compress.worker.supervision import Worker, supervise
from isslim.compress.worker.together import launcher
from isslim.settings import logs
from isslim.settings.environment import BAD_SETTINGS, read_or_exit
from isslim.settings.worker import WorkerSettings
from isslim.store.bundles import BundleStore
from isslim.store.checkpoints import Checkpoints
from isslim.store.database_check import check_database
from isslim.store.errors import (
    BadAddress,
    DamagedDatabase,
    NotFound,
    StorageUnavailable,
    Unavailable,
)
from isslim.store.inspections import InspectionRecords
from isslim.store.liveness import Watch, locks_of, recover_dead_peers
from isslim.store.locks import Held, Locks, executor_ids
from isslim.store.queue import inspection_workflow_id_of, workflow_id_of
from isslim.store.reconciliation import LOOK_SECONDS as RECONCILE_SECONDS
from isslim.store.reconciliation import Reconciler
from isslim.store.records import JobRecords
from isslim.store.remote import check_address
from isslim.store.tracing import begin_tracing, end_tracing, is_tracing
from isslim.store.uploads import UploadStore
from isslim.types.names import (
    APPLICATION_VERSION,
    INSPECTION_QUEUE,
    INSPECTION_WORKFLOW,
    QUEUE,
    WORKFLOW,
)

_LOG = logging.getLogger("worker")
ID_IN_USE = 3
"""Exit status when another living worker has the executor id."""
NO_DATABASE = 4
"""Exit status when the database cannot be opened, or no storage can be at its address."""
LEAVE_SECONDS = 10.0
"""How long a worker that is told to stop tries to hand its jobs back."""
GARBAGE_SECONDS = 900.0
"""Pause between removals of what nobody needs, beside the one after every job: mostly uploads that
were only inspected."""


def main() -> int:
    """Runs until SIGTERM or SIGINT; returns the exit status."""
    settings = read_or_exit(WorkerSettings, "isslim worker")
    logs.configure(settings, {"worker.jobs": settings.job_log_level})
    begin_tracing("isslim-worker")
    if (opened := _open(settings)) is None:
        return NO_DATABASE
    records, locks = opened
    executor_id, held = _take_id(locks, settings.executor_id)
    if held is None:
        sys.stderr.write(
            f"another worker is running as '{executor_id}'; give this one another ISS_EXECUTOR_ID\n"
        )
        return ID_IN_USE
    metrics = WorkerMetrics()
    if settings.worker_metrics_port is not None:
        try:
            metrics.serve(settings.worker_metrics_host, settings.worker_metrics_port)
        except OSError as error:
            sys.stderr.write(
                f"isslim worker: ISS_WORKER_METRICS_PORT is {settings.worker_metrics_port}: "
                f"expected a free port ({error}); each worker of a host needs its own\n"
            )
            return BAD_SETTINGS
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    inspections, bundles = InspectionRecords(records.engine, records.hide), BundleStore(settings)
    heart, watch = Heart(locks, executor_id, held), Watch(locks)
    heart.start()
    client = DBOSClient(system_database_url=records.url)
    worker = Worker(
        records=records,
        bundles=bundles,
        checkpoints=Checkpoints(settings),
        heart=heart,
        watch=watch,
        command=settings.child_command,
        commands={"learn": launcher(settings)} if settings.torchrun else {},
        work=settings.work,
        requeue=lambda job_id, run: client.resume_workflow(
            workflow_id_of(job_id, run), queue_name=QUEUE
        ),
        requeue_inspection=lambda inspection_id, run: client.resume_workflow(
            inspection_workflow_id_of(inspection_id, run), queue_name=INSPECTION_QUEUE
        ),
        limits=Limits(settings.job_memory_bytes, settings.stage_seconds, settings.still_seconds),
        share_seconds=settings.share_seconds,
        is_leaving=stopped.is_set,
    )
    remove_unneeded = _cleaner(settings, worker, inspections, client)
    events = JobEvents(records, metrics)
    _launch(settings, worker, inspections, executor_id, remove_unneeded, events)
    remove_unneeded()
    _look_for_jobs(worker, inspections, client, executor_id, stopped)
    sys.stderr.write(f"worker '{executor_id}' is ready\n")
    while not stopped.wait(GARBAGE_SECONDS):
        remove_unneeded()
    # What is being done is handed back to the queue, which is no failed attempt. Whatever does not
    # get so far is taken up by others as that of a worker that was killed.
    limit = time.monotonic() + LEAVE_SECONDS
    while worker.busy != worker.left and time.monotonic() < limit:
        time.sleep(0.05)
    heart.stop()
    end_tracing()
    os._exit(0)


def _open(settings: WorkerSettings) -> tuple[JobRecords, Locks] | None:
    """The database and its leases; None, and a line that says why, where it cannot be opened."""
    try:
        check_database(settings)
        check_address(settings)
        return JobRecords(settings), locks_of(settings)
    except (DamagedDatabase, BadAddress) as fault:
        sys.stderr.write(f"isslim worker: {fault}\n")
        return None
    except Unavailable as fault:
        sys.stderr.write(f"isslim worker: the database does not answer: {fault.reason}\n")
        return None


def _cleaner(
    settings: WorkerSettings,
    worker: Worker,
    inspections: InspectionRecords,
    client: DBOSClient,
) -> Callable[[], None]:
    """What removes what nobody needs; always the same stores, which know when a clock was set.

    It never fails: what is left is removed the next time, and a worker is of use without, such as
    one that starts before the storage does.
    """
    stores = Stores(
        worker.records,
        inspections,
        settings.work,
        UploadStore(settings),
        worker.bundles,
        worker.checkpoints,
        lambda workflow_ids: client.delete_workflows(workflow_ids) if workflow_ids else None,
    )
    keep = Keep(
        settings.keep_jobs_days, settings.keep_uploads_hours, settings.keep_inspections_hours
    )

    def remove() -> None:
        try:
            collect_garbage(stores, keep)
        except StorageUnavailable as fault:
            _LOG.warning("what nobody needs is not removed for now: %s", fault)
        except Unavailable as fault:
            _LOG.warning(
                "what nobody needs is not removed for now: the database does not answer: %s",
                fault.reason,
            )
        except Exception:
            _LOG.exception("removing what nobody needs failed")

    return remove


def _look_for_jobs(
    worker: Worker,
    inspections: InspectionRecords,
    client: DBOSClient,
    executor_id: str,
    stopped: threading.Event,
) -> None:
    """Begins to look for jobs of dead workers, and for those that wait for nobody."""
    records = worker.records

    def is_wanted(workflow_id: str) -> bool:
        return _is_wanted(records, inspections, workflow_id)

    reconciler = Reconciler(records.engine, client, worker.watch.is_dead)
    for target, arguments in (
        (recover_dead_peers, (client, worker.watch, executor_id, stopped, is_wanted)),
        (_reconcile, (reconciler, stopped)),
    ):
        threading.Thread(target=target, args=arguments, daemon=True).start()


def _reconcile(reconciler: Reconciler, stopped: threading.Event) -> None:
    while not stopped.wait(RECONCILE_SECONDS):
        try:
            reconciler.look()
        except Unavailable:
            continue  # `recover_dead_peers` says so, once
        except Exception:  # whatever failed, the next look is another try
            _LOG.exception("looking for jobs that wait for nobody failed")


def _launch(
    settings: WorkerSettings,
    worker: Worker,
    inspections: InspectionRecords,
    executor_id: str,
    remove_unneeded: Callable[[], None],
    events: JobEvents,
) -> None:
    DBOS(
        config={
            "name": "isslim",
            "system_database_url": worker.records.url,
            "application_version": APPLICATION_VERSION,
            "executor_id": executor_id,
            "log_level": "WARNING",
            # A job's workflow and step are spans below the request that queued it.
            "enable_otlp": is_tracing(),
        }
    )
    take_queue_log()
    DBOS.listen_queues([QUEUE, INSPECTION_QUEUE])

    @DBOS.step(name="run-child", preemptible=True)
    async def run_child(job_id: str, run: int) -> str:
        with events.attending(job_id, run) as attended:
            state = await supervise(worker, job_id, run)
            attended.state = state
        await asyncio.to_thread(remove_unneeded)
        return state

    @DBOS.workflow(name=WORKFLOW)
    async def compress(job_id: str, run: int) -> str:
        return await run_child(job_id, run)

    @DBOS.step(name="inspect-in-child")
    async def inspect_in_child(inspection_id: str, run: int) -> None:
        seconds = settings.inspection_seconds
        await supervise_inspection(worker, inspections, inspection_id, run, seconds)

    @DBOS.workflow(name=INSPECTION_WORKFLOW)
    async def inspect(inspection_id: str, run: int) -> None:
        await inspect_in_child(inspection_id, run)

    DBOS.launch()
    for queue, at_once in ((QUEUE, 1), (INSPECTION_QUEUE, settings.inspections_at_once)):
        DBOS.register_queue(
            queue,
            worker_concurrency=at_once,
            polling_interval_sec=settings.queue_poll_seconds,
            on_conflict="always_update",
        )


def _take_id(locks: Locks, wanted: str) -> tuple[str, Held | None]:
    """The executor id and the lease on it; no lease when every id is in use."""
    held = None
    for executor_id in executor_ids(wanted):
        # A name of its own is waited for; among numbered ones the next may be free.
        held = locks.acquire(executor_id, patient=bool(wanted))
        if held is not None:
            break
    return executor_id, held


def _is_wanted(records: JobRecords, inspections: InspectionRecords, workflow_id: str) -> bool:
    job_id, _, run = workflow_id.rpartition("-")
    kind, _, inspection_id = job_id.rpartition("-")
    try:
        if kind == INSPECTION_WORKFLOW:
            return inspections.is_active(inspection_id, int(run))
        ended, current = (
            records.get(job_id).state.ended,
            workflow_id_of(job_id, records.run_of(job_id)),
        )
    except NotFound:
        return False  # of an unknown job, which must not keep the others waiting
    return not ended and workflow_id == current and bool(run)

"""Removes what nobody needs any more."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from isslim.store.bundles import BundleStore
from isslim.store.checkpoints import Checkpoints
from isslim.store.inspections import InspectionRecords
from isslim.store.job_rows import hashes_in
from isslim.store.owners import Owners
from isslim.store.records import JobRecords
from isslim.store.uploads import UploadStore
from isslim.types.names import INSPECTION_WORKFLOW


@dataclass(frozen=True)
class Keep:
    """For how long what nobody needs is kept.

    Attributes:
        jobs_days: records of ended jobs; 0: for ever.
        uploads_hours: uploads, and parts of bundles.
        inspections_hours: results of inspections.
    """

    jobs_days: float = 0.0
    uploads_hours: float = 1.0
    inspections_hours: float = 24.0


@dataclass(frozen=True)
class Stores:
    """What is cleaned up.

    Attributes:
        records: the table of jobs.
        inspections: the table of inspections.
        work: folder of all children's folders.
        uploads: the uploaded files.
        bundles: the published bundles.
        checkpoints: of jobs, for workers on other machines.
        forget: removes runs of jobs from the queue, by the ids of their workflows.
    """

    records: JobRecords
    inspections: InspectionRecords
    work: Path
    uploads: UploadStore
    bundles: BundleStore
    checkpoints: Checkpoints
    forget: Callable[[list[str]], object] = lambda workflow_ids: None


def collect_garbage(stores: Stores, keep: Keep) -> None:
    """Removes what nobody needs any more.

    That is the folders and checkpoints of jobs that ended while nobody watched them (cancelled
    while their worker was dead), uploads of jobs and inspections that have ended, halves of
    bundles, and old records. It is safe beside running jobs and other workers: what belongs to a
    job that has not ended stays, and so does what is young.

    Args:
        stores: what is cleaned up.
        keep: for how long things are kept.
    """
    # Folders first: one that appears later may belong to a job that is newer than the list of jobs.
    folders = list(stores.work.iterdir()) if stores.work.is_dir() else []
    shared = stores.checkpoints.names()
    active, looking = stores.records.active(), stores.inspections.active()
    parts_seconds = 3600 * keep.uploads_hours
    kept = {each.publishing for each in active if each.publishing}
    stores.bundles.collect_garbage(parts_seconds, kept)
    needed = hashes_in([*(each.request for each in active), *looking.values()])
    stores.uploads.collect_garbage(needed, parts_seconds)
    kept_for = timedelta(hours=keep.uploads_hours)
    Owners(stores.records.engine).collect_garbage(needed, stores.bundles.ids(), kept_for)
    current = {f"{each.id}-{each.run}" for each in active}
    current |= {inspection_folder(inspection) for inspection in looking}
    for folder in folders:
        if folder.name not in current:
            shutil.rmtree(folder, ignore_errors=True)
    stores.checkpoints.keep_only(shared, current)
    inspected = stores.inspections.collect_garbage(timedelta(hours=keep.inspections_hours))
    stores.forget([f"{INSPECTION_WORKFLOW}-{each}" for each in inspected])
    if keep.jobs_days:
        while gone := stores.records.remove_old(timedelta(days=keep.jobs_days)):
            stores.forget(gone)


def inspection_folder(inspection: str) -> str:
    """The name of the folder of an inspection, `<id>-<run>`."""
    return f"inspection-{inspection}"

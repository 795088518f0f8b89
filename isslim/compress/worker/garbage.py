"""Removes what nobody needs any more."""

from __future__ import annotations

import shutil
from pathlib import Path

from isslim.store.bundles import BundleStore
from isslim.store.inspections import InspectionRecords
from isslim.store.job_rows import hashes_in
from isslim.store.owners import Owners
from isslim.store.records import JobRecords
from isslim.store.uploads import UploadStore


def collect_garbage(
    records: JobRecords,
    inspections: InspectionRecords,
    work: Path,
    uploads: UploadStore,
    bundles: BundleStore,
) -> None:
    """Removes what nobody needs any more.

    That is the folders of jobs that ended while nobody watched them (cancelled while their worker
    was dead), uploads of jobs and inspections that have ended, old answers of inspections, and
    halves of bundles.

    Args:
        records: the table of jobs.
        inspections: the table of inspections.
        work: folder of all children's folders.
        uploads: the uploaded files.
        bundles: the published bundles.
    """
    # Folders first: one that appears later may belong to a job that is newer than the list of jobs.
    folders = list(work.iterdir()) if work.is_dir() else []
    active, looking = records.active(), inspections.active()
    bundles.collect_garbage(kept={each.publishing for each in active if each.publishing})
    inspections.collect_garbage()
    needed = hashes_in([*(each.request for each in active), *looking.values()])
    uploads.collect_garbage(needed)
    Owners(records.engine).collect_garbage(needed, bundles.ids())
    current = {f"{each.id}-{each.run}" for each in active}
    current |= {inspection_folder(inspection) for inspection in looking}
    for folder in folders:
        if folder.name not in current:
            shutil.rmtree(folder, ignore_errors=True)


def inspection_folder(inspection: str) -> str:
    """The name of the folder of an inspection, `<id>-<run>`."""
    return f"inspection-{inspection}"

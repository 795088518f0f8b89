"""Jobs that a test takes through their states, as a worker would."""

from __future__ import annotations

from typing import Any

from isslim.store.attempts import Attempt
from isslim.store.inspections import InspectionRecords
from isslim.store.records import JobRecords
from isslim.types.inspection import Inspection
from isslim.types.jobs import JobState

WORKER = "the worker of the test"


def begin(records: JobRecords, job_id: str, run: int = 1) -> Attempt:
    """Begins a run, as a worker that finds every other one dead."""
    begun = records.attempts.begin(job_id, run, WORKER, lambda token: True)
    assert begun is not None
    return begun


def end(records: JobRecords, job_id: str, state: JobState, run: int = 1, **values: Any) -> bool:
    """Begins a run and ends it."""
    return records.attempts.finish(begin(records, job_id, run), state, **values)


def answer(
    inspections: InspectionRecords, inspection_id: str, found: Inspection, run: int = 1
) -> bool:
    """Begins an inspection and ends it."""
    begun = inspections.begin(inspection_id, run, WORKER, lambda token: True)
    assert begun is not None
    return inspections.finish(begun, found)

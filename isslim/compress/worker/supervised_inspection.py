"""One child process per inspection, from its worker's side, under a limit of time.

`supervision.py` has the same for jobs.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from isslim.compress.worker.supervision import (
    Supervised,
    attend_child,
    crash,
    inspection_folder,
    write_with_retries,
)
from isslim.store.inspections import InspectionRecords
from isslim.types.inspection import Inspection
from isslim.types.problem import Problem

MAX_ATTEMPTS = 3
INSPECTING = "inspect"
"""The last argument of a child that only inspects."""


async def supervise_inspection(
    inspections: InspectionRecords,
    command: list[str],
    work: Path,
    inspection_id: str,
    run: int,
    seconds: float,
) -> None:
    """Inspects one upload in a child and records the answer.

    Args:
        inspections: the table of inspections.
        command: what to start; the folder and `INSPECTING` are appended.
        work: folder of all children's folders.
        inspection_id: which inspection.
        run: which run of it; an older one, or one that is answered, does nothing.
        seconds: that it may take.
    """
    folder = work / inspection_folder(f"{inspection_id}-{run}")
    try:
        attempts = await write_with_retries(lambda: inspections.begin(inspection_id, run))
        if attempts is None:
            return
        if attempts > MAX_ATTEMPTS:
            problem = Problem(
                kind="worker-lost",
                title="The worker was lost again and again",
                detail=f"the inspection was started {MAX_ATTEMPTS} times and its worker died each "
                "time",
            )
            answer = Inspection(understood=False, problem=problem)
        else:
            answer = await _inspect(inspections, command, folder, inspection_id, seconds)
    except Exception as fault:
        # A child that cannot be started or prints what nobody can read, a full disk: whatever it
        # was, the request gets an answer.
        problem = Problem(
            kind="worker-fault",
            title="The worker could not attend to the inspection",
            detail=f"{type(fault).__name__}: {fault}; fix what it names on the worker's machine "
            "and send the request again",
        )
        answer = Inspection(understood=False, problem=problem)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    await write_with_retries(lambda: inspections.finish(inspection_id, run, answer))


async def _inspect(
    inspections: InspectionRecords,
    command: list[str],
    folder: Path,
    inspection_id: str,
    seconds: float,
) -> Inspection:
    request = await write_with_retries(lambda: inspections.request_of(inspection_id))
    known = Supervised()
    try:
        async with asyncio.timeout(seconds):
            code = await attend_child(command, folder, request, known, INSPECTING)
    except TimeoutError:
        problem = Problem(
            kind="inspection-too-long",
            title="The inspection takes too long",
            detail=f"it was ended after {seconds:g} seconds; a job of the same files has no such "
            "limit. The operator can raise ISS_INSPECTION_SECONDS",
        )
        return (known.inspection or Inspection(understood=False)).model_copy(
            update={"understood": False, "problem": problem}
        )
    if code == 0 and known.inspection is not None:
        return known.inspection
    if code == 0 and known.answer is not None and "problem" in known.answer:
        return Inspection(understood=False, problem=Problem.model_validate(known.answer["problem"]))
    return Inspection(understood=False, problem=crash(known, code, "inspection"))

"""One child process per inspection, from its worker's side, under a limit of time.

`supervision.py` has the same for jobs; the limits of a child are theirs too.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress

from isslim.compress.worker.garbage import inspection_folder
from isslim.compress.worker.listening import Asked, Supervised, attend_child, crash
from isslim.compress.worker.oversight import Stop, Ties
from isslim.compress.worker.retries import write_with_retries
from isslim.compress.worker.supervision import PEER_SECONDS, Worker
from isslim.store.attempts import Elsewhere
from isslim.store.errors import AnotherRelease
from isslim.store.inspections import BegunInspection, InspectionRecords
from isslim.store.job_rows import of_another_release
from isslim.types.inspection import Inspection
from isslim.types.problem import Problem

MAX_DEATHS = 3
INSPECTING = "inspect"
"""The last argument of a child that only inspects."""


async def supervise_inspection(
    worker: Worker, inspections: InspectionRecords, inspection_id: str, run: int, seconds: float
) -> None:
    """Inspects one upload in a child and records the answer.

    Args:
        worker: that attends to it.
        inspections: the table of inspections.
        inspection_id: which inspection.
        run: which run of it; an older one, or one that is answered, does nothing.
        seconds: that it may take.
    """
    key = inspection_folder(f"{inspection_id}-{run}")
    while key in worker.busy:  # the queue brought it again, as after a lease that was lost
        await asyncio.sleep(PEER_SECONDS)
    worker.busy.add(key)
    try:
        await _attend(worker, inspections, (inspection_id, run), seconds)
    finally:
        worker.busy.discard(key)


async def _attend(
    worker: Worker, inspections: InspectionRecords, which: tuple[str, int], seconds: float
) -> None:
    token, begun = await _begun(worker, inspections, *which)
    if begun is None:
        return
    try:
        found = await _inspect(worker, inspections, begun, (token, seconds))
    except Exception as fault:
        # A child that cannot be started or prints what nobody can read, a full disk: whatever it
        # was, the request gets an answer.
        found = _refused(
            "worker-fault",
            "The worker could not attend to the inspection",
            f"{type(fault).__name__}: {fault}; fix what it names on the worker's machine and send "
            "the request again",
        )
    finally:
        folder = worker.work / inspection_folder(f"{begun.id}-{begun.run}")
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    if isinstance(found, Inspection):
        await write_with_retries(lambda: inspections.finish(begun, found))
    elif await write_with_retries(lambda: inspections.hand_back(begun)):
        if found is Stop.LEAVING:
            await _leave(worker, *which)
        await asyncio.to_thread(worker.requeue_inspection, *which)


async def _begun(
    worker: Worker, inspections: InspectionRecords, inspection_id: str, run: int
) -> tuple[str, BegunInspection | None]:
    while True:
        token = worker.heart.token
        if worker.is_leaving():
            await _leave(worker, inspection_id, run)
        if worker.heart.remaining(token) > 0:
            with suppress(Elsewhere):
                return token, await _begin(worker, inspections, (inspection_id, run), token)
        await asyncio.sleep(PEER_SECONDS)


async def _begin(
    worker: Worker, inspections: InspectionRecords, which: tuple[str, int], token: str
) -> BegunInspection | None:
    is_dead = worker.watch.is_dead
    return await write_with_retries(lambda: inspections.begin(*which, token, is_dead))


async def _leave(worker: Worker, inspection_id: str, run: int) -> None:
    """Brings a run back to the queue, and waits for the process to end: nothing else is begun."""
    await asyncio.to_thread(worker.requeue_inspection, inspection_id, run)
    worker.left.add(inspection_folder(f"{inspection_id}-{run}"))
    await asyncio.Event().wait()


async def _inspect(
    worker: Worker,
    inspections: InspectionRecords,
    begun: BegunInspection,
    terms: tuple[str, float],
) -> Inspection | Stop:
    """Inspects in a child.

    Args:
        worker: that attends to it.
        inspections: the table of inspections.
        begun: the attempt.
        terms: the token that it was begun under, and the seconds that it may take.
    """
    token, seconds = terms
    if begun.deaths >= MAX_DEATHS:
        return _refused(
            "worker-lost",
            "The worker was lost again and again",
            f"the inspection was started {MAX_DEATHS} times and its worker died each time",
        )
    try:
        request = await write_with_retries(lambda: inspections.request_of(begun.id))
    except AnotherRelease as unknown:
        return Inspection(understood=False, problem=of_another_release(unknown.issues))
    folder = worker.work / inspection_folder(f"{begun.id}-{begun.run}")
    asked, known = Asked(worker.command, folder, request, (INSPECTING,)), Supervised()
    ties = Ties(
        lambda: worker.heart.remaining(token),
        lambda: inspections.is_current(begun),
        worker.is_leaving,
    )
    try:
        async with asyncio.timeout(seconds):
            code = await attend_child(asked, known, worker.limits, ties)
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
    if isinstance(code, Stop):
        return code
    return _answer(known, code)


def _answer(known: Supervised, code: int | Problem) -> Inspection:
    if isinstance(code, Problem):
        return Inspection(understood=False, problem=code)
    if code == 0 and known.inspection is not None:
        return known.inspection
    if code == 0 and known.answer is not None and "problem" in known.answer:
        return Inspection(understood=False, problem=Problem.model_validate(known.answer["problem"]))
    return Inspection(understood=False, problem=crash(known, code, "inspection"))


def _refused(kind: str, title: str, detail: str) -> Inspection:
    return Inspection(understood=False, problem=Problem(kind=kind, title=title, detail=detail))

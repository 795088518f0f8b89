"""One child process per job, from its worker's side: start, listen, record, kill."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import shutil
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from isslim.compress.worker.job_events import enter_stage
from isslim.store.aliases import AliasStore, Author
from isslim.store.bundles import BundleStore
from isslim.store.errors import Unavailable
from isslim.store.inspections import InspectionRecords
from isslim.store.records import LOG_LINES, JobRecords
from isslim.store.uploads import UploadStore
from isslim.types.inspection import Inspection
from isslim.types.jobs import CompressionRequest, JobState
from isslim.types.manifest import CurvePoint, EpochPoint
from isslim.types.problem import Problem
from isslim.types.recipe import Mode
from isslim.types.schemas.aliases import AliasState

MAX_ATTEMPTS: dict[Mode, int] = {"calibrate": 3, "learn": 10}
"""How often a job is begun before it fails. A job that learns for hours is given more: it goes on
from its checkpoint, and was stopped through no fault of its own."""
RECORD_SECONDS = 0.25
_LOG = logging.getLogger("worker.supervision")
Result = TypeVar("Result")


@dataclass
class Supervised:
    """What is known of a running child.

    Points and epochs are kept by their sizes and numbers: a search that is repeated sends them
    again.
    """

    stage: str = ""
    progress: float = 0.0
    message: str = ""
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    answer: dict[str, Any] | None = None
    inspection: Inspection | None = None
    points: dict[tuple[int, ...], CurvePoint] = field(default_factory=dict)
    epochs: dict[int, EpochPoint] = field(default_factory=dict)
    charts_changed: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def chart(self, content: dict[str, Any]) -> None:
        """Keeps a point or an epoch.

        Raises:
            ValidationError: when it is none.
        """
        if "point" in content:
            point = CurvePoint.model_validate(content["point"])
            self.points[tuple(point.sizes.values())] = point
        else:
            epoch = EpochPoint.model_validate(content["epoch"])
            self.epochs[epoch.round] = epoch
        self.charts_changed = True
        self.news.set()


async def supervise(
    records: JobRecords, command: list[str], work: Path, job_id: str, run: int
) -> str:
    """Runs one job in a child to its end and records the outcome.

    A cancellation of the awaiting task kills the child, waits for it, and removes the job's folder.

    Args:
        records: the table of jobs.
        command: what to start; the job's folder is appended.
        work: folder of all jobs' folders.
        job_id: which job.
        run: which run of it; an older one, or an ended job, does nothing.

    Returns:
        The state that the job ended in.
    """
    folder = work / f"{job_id}-{run}"
    try:
        return await _attend(records, command, folder, job_id, run)
    except Exception as fault:
        # A child that cannot be started or prints what nobody can read, a full disk, a database
        # that does not answer: whatever it was, the job must not seem to run for ever.
        shutil.rmtree(folder, ignore_errors=True)
        problem = Problem(
            kind="worker-fault",
            title="The worker could not attend to the job",
            detail=f"{type(fault).__name__}: {fault}; fix what it names on the worker's machine "
            "and send the request again",
        )
        await write_with_retries(
            lambda: records.finish(job_id, run, JobState.FAILED, problem=problem)
        )
        return JobState.FAILED


async def write_with_retries(write: Callable[[], Result]) -> Result:
    """Writes what must not be lost, for as long as the database does not answer.

    In a thread, so that the worker can be cancelled meanwhile. What the database refuses for good
    is raised.
    """
    pauses = itertools.chain((0.1, 0.5, 1, 2, 5), itertools.repeat(10))
    while True:
        try:
            return await asyncio.to_thread(write)
        except Unavailable as fault:
            pause = next(pauses)
            _LOG.warning("%s; trying again in %s s", fault, pause)
            await asyncio.sleep(pause)


async def _attend(
    records: JobRecords, command: list[str], folder: Path, job_id: str, run: int
) -> str:
    attempts = await write_with_retries(lambda: records.begin(job_id, run))
    if attempts is None:
        shutil.rmtree(folder, ignore_errors=True)
        return (await write_with_retries(lambda: records.get(job_id))).state
    request = (await write_with_retries(lambda: records.get(job_id))).request
    most = MAX_ATTEMPTS[request.recipe.mode]
    if attempts > most:
        lost = Problem(
            kind="worker-lost",
            title="The worker was lost again and again",
            detail=f"the job was started {most} times and its worker died each time; it may need "
            "more memory",
        )
        await write_with_retries(lambda: records.finish(job_id, run, JobState.FAILED, problem=lost))
        shutil.rmtree(folder, ignore_errors=True)
        return JobState.FAILED
    known = Supervised()
    recording = asyncio.create_task(_record(known, records, job_id, run))
    try:
        code = await attend_child(command, folder, request, known)
    finally:
        recording.cancel()
    state = await _conclude(records, known, code, job_id, run)
    if state == JobState.SUCCEEDED and request.recipe.promote is not None:
        alias = request.recipe.promote
        await write_with_retries(lambda: _promote(records, alias, job_id))
    shutil.rmtree(folder, ignore_errors=True)
    return state


async def attend_child(
    command: list[str],
    folder: Path,
    request: CompressionRequest,
    known: Supervised,
    *arguments: str,
) -> int:
    """Runs a child to its end and listens to it.

    Whatever ends the waiting ends the child too, and removes its folder.

    Args:
        command: what to start; the folder is appended.
        folder: of the child, with `request.json` in it.
        request: what is asked of it.
        known: is updated with what the child prints.
        arguments: appended behind the folder.

    Returns:
        Its exit status; negative: the signal that ended it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "request.json").write_text(request.model_dump_json())
    child = await asyncio.create_subprocess_exec(
        *command,
        str(folder),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 22,
    )
    if child.stdout is None or child.stderr is None:
        raise RuntimeError("the child was started without pipes")
    try:
        await asyncio.gather(_listen(child.stdout, known), _log(child.stderr, known))
        return await child.wait()
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await asyncio.shield(child.wait())
            shutil.rmtree(folder, ignore_errors=True)


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
    active = [job for job in records.all() if not job.state.ended]
    looking = inspections.active()
    bundles.collect_garbage()
    inspections.collect_garbage()
    needed = [job.request for job in active] + list(looking.values())
    uploads.collect_garbage({upload.sha256 for request in needed for upload in request.uploads})
    current = {f"{job.id}-{records.run_of(job.id)}" for job in active}
    current |= {inspection_folder(inspection) for inspection in looking}
    for folder in folders:
        if folder.name not in current:
            shutil.rmtree(folder, ignore_errors=True)


def inspection_folder(inspection: str) -> str:
    """The name of the folder of an inspection, `<id>-<run>`."""
    return f"inspection-{inspection}"


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a stream; one that is too long to keep is replaced and ends no job."""
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            line = b"(a line that is too long to show)\n"
        if not line:
            return
        yield line


async def _listen(stream: asyncio.StreamReader, known: Supervised) -> None:
    async for line in _lines(stream):
        try:
            content = json.loads(line)
            if not isinstance(content, dict):
                raise ValueError
        except ValueError:
            known.log.append(line.decode(errors="replace").rstrip())
            continue
        if "result" in content or "problem" in content:
            known.answer = content
        elif "inspection" in content:
            known.inspection = Inspection.model_validate(content["inspection"])
            known.news.set()
        elif "point" in content or "epoch" in content:
            # What is no such record, such as one that is not finite, is left out: the job's outcome
            # does not depend on it.
            with suppress(ValidationError):
                known.chart(content)
        elif {"stage", "progress", "message"} <= content.keys():
            enter_stage(content["stage"])
            known.stage, known.progress, known.message = (
                content["stage"],
                content["progress"],
                content["message"],
            )
            entry = f"{known.stage}: {known.message}"
            # The progress changes more often than the message: each message is logged once.
            if entry != (known.log[-1] if known.log else ""):
                known.log.append(entry)
            known.news.set()


async def _log(stream: asyncio.StreamReader, known: Supervised) -> None:
    async for line in _lines(stream):
        known.log.append(line.decode(errors="replace").rstrip())
        known.news.set()


async def _record(known: Supervised, records: JobRecords, job_id: str, run: int) -> None:
    """Records progress until it is cancelled, at most every `RECORD_SECONDS`.

    It runs beside the listening: a job never waits for it.
    A database that does not answer costs a line of progress; the next news are another try.
    """
    while True:
        await known.news.wait()
        known.news.clear()
        await _write_progress(known, records, job_id, run)
        await asyncio.sleep(RECORD_SECONDS)


async def _write_progress(known: Supervised, records: JobRecords, job_id: str, run: int) -> None:
    stage, progress, message, log = known.stage, known.progress, known.message, list(known.log)
    try:
        await asyncio.to_thread(records.advance, job_id, run, stage, progress, message, log)
        if known.inspection is not None:
            await asyncio.to_thread(records.inspected, job_id, run, known.inspection)
            known.inspection = None
        if known.charts_changed:
            known.charts_changed = False
            points, epochs = list(known.points.values()), list(known.epochs.values())
            await asyncio.to_thread(records.charted, job_id, run, points, epochs)
    except Exception as fault:
        known.charts_changed = bool(known.points or known.epochs)
        # Whatever it is, no job ends because a line of progress was not recorded.
        _LOG.warning(
            "progress of job %s was not recorded: %s: %s", job_id, type(fault).__name__, fault
        )


async def _conclude(
    records: JobRecords, known: Supervised, code: int, job_id: str, run: int
) -> str:
    await _write_progress(known, records, job_id, run)
    state, answer = _outcome(known, code)
    await write_with_retries(lambda: records.finish(job_id, run, state, **answer))
    return state


def _promote(records: JobRecords, alias: str, job_id: str) -> None:
    """Points an alias at the model of a job that has succeeded, which was not cancelled before."""
    job = records.get(job_id)
    if job.state is JobState.SUCCEEDED and job.model_id is not None:
        author = Author(f"job {job_id}")
        AliasStore(records.engine).point(alias, AliasState(model=job.model_id), author)


def crash(known: Supervised, code: int, what: str) -> Problem:
    """The problem document of a child that ended otherwise than it should.

    Args:
        known: what the child printed.
        code: its exit status; negative: the signal that ended it.
        what: "compression" or "inspection".
    """
    how = f"ended by signal {-code}" if code < 0 else f"ended with status {code}"
    return Problem(
        kind="crashed",
        title=f"The {what} crashed",
        detail=f"its process {how} in stage '{known.stage or 'start'}'; its last lines are in "
        "`issues`",
        issues=list(known.log)[-10:],
    )


def _outcome(known: Supervised, code: int) -> tuple[JobState, dict[str, Any]]:
    """The state that a child's last word and exit status mean, and what belongs to it."""
    if code == 0 and known.answer is not None:
        if "result" in known.answer:
            return JobState.SUCCEEDED, {"model_id": known.answer["result"]["model_id"]}
        problem = Problem.model_validate(known.answer["problem"])
        curve = [CurvePoint.model_validate(point) for point in known.answer.get("curve", [])]
        state = JobState.BUDGET_NOT_MET if problem.kind == "budget-not-met" else JobState.FAILED
        return state, {"problem": problem, "curve": curve}
    return JobState.FAILED, {"problem": crash(known, code, "compression")}

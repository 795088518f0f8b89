"""One child process per job, from its worker's side: start, listen, record, publish, end."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isslim.compress.worker.heart import Heart
from isslim.compress.worker.listening import Asked, Supervised, attend_child, crash
from isslim.compress.worker.oversight import Limits, Stop, Ties
from isslim.compress.worker.publication import promote, publish, tell_of_alias
from isslim.compress.worker.retries import write_with_retries
from isslim.compress.worker.sharing import Sharing
from isslim.store.attempts import Attempt, Elsewhere, Reached
from isslim.store.bundles import BundleStore
from isslim.store.checkpoints import Checkpoints
from isslim.store.errors import AnotherRelease
from isslim.store.job_rows import of_another_release
from isslim.store.liveness import Watch
from isslim.store.records import JobRecords
from isslim.types.jobs import JobState
from isslim.types.manifest import CurvePoint
from isslim.types.problem import Problem
from isslim.types.recipe import Mode

MAX_DEATHS: dict[Mode, int] = {"calibrate": 3, "learn": 10}
"""How often in succession a job may be begun, get no further, and never end, before it fails: it
may be what ends its workers."""
RECORD_SECONDS, PEER_SECONDS = 0.25, 0.3
KILLING = (-signal.SIGKILL, -signal.SIGTERM)
"""Exit statuses of a child that something outside of it ended, such as a machine without memory."""
_LOG = logging.getLogger("worker.supervision")


@dataclass(frozen=True)
class Worker:
    """What a worker attends to jobs with.

    Attributes:
        records: the table of jobs.
        bundles: where models are published.
        checkpoints: from which workers on other machines go on.
        heart: of this worker.
        watch: sees which others are dead.
        command: what a child is; its folder is appended.
        commands: the same of jobs of certain modes.
        work: folder of all children's folders.
        requeue: brings a run back to the queue that brought it, by job and run.
        requeue_inspection: the same for an inspection.
        limits: of a job's child.
        share_seconds: between two times that a job's checkpoints are shared, at least.
        is_leaving: whether this worker was told to stop.
        busy: the runs that it attends to.
        left: those of them that it has handed back because it was told to stop.
    """

    records: JobRecords
    bundles: BundleStore
    checkpoints: Checkpoints
    heart: Heart
    watch: Watch
    command: list[str]
    work: Path
    requeue: Callable[[str, int], object] = lambda job_id, run: None
    requeue_inspection: Callable[[str, int], object] = lambda inspection_id, run: None
    limits: Limits = field(default_factory=Limits)
    share_seconds: float = 60.0
    is_leaving: Callable[[], bool] = lambda: False
    commands: Mapping[Mode, list[str]] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Ended:
    """How an attempt ends its run: the state, and what belongs to it."""

    state: JobState
    values: dict[str, Any] = field(default_factory=dict)


async def supervise(worker: Worker, job_id: str, run: int) -> str:
    """Runs one job in a child to its end and records the outcome.

    A cancellation of the awaiting task ends the child, waits for it, and removes the job's folder.

    Args:
        worker: that attends to it.
        job_id: which job.
        run: which run of it; an older one, or an ended job, does nothing.

    Returns:
        The state that the job is left in.
    """
    folder, key = worker.work / f"{job_id}-{run}", f"{job_id}-{run}"
    while key in worker.busy:  # the queue brought it again, as after a lease that was lost
        await asyncio.sleep(PEER_SECONDS)
    worker.busy.add(key)
    try:
        token, attempt = await _begun(worker, job_id, run)
        if attempt is None:
            await _forget(worker, folder)
            job = await write_with_retries(lambda: worker.records.get(job_id))
            await write_with_retries(lambda: promote(worker.records, job))
            return job.state
        return await _attended(worker, attempt, token)
    except asyncio.CancelledError:
        await _forget(worker, folder)
        raise
    finally:
        worker.busy.discard(key)


async def _begun(worker: Worker, job_id: str, run: int) -> tuple[str, Attempt | None]:
    """The attempt, and the token it was begun under, once no other worker is at the job."""
    while True:
        token = worker.heart.token
        if worker.is_leaving():
            await _leave(worker, job_id, run)
        if worker.heart.remaining(token) > 0:
            with suppress(Elsewhere):
                return token, await _begin(worker, job_id, run, token)
        await asyncio.sleep(PEER_SECONDS)


async def _begin(worker: Worker, job_id: str, run: int, token: str) -> Attempt | None:
    begin = worker.records.attempts.begin
    return await write_with_retries(lambda: begin(job_id, run, token, worker.watch.is_dead))


async def _attended(worker: Worker, attempt: Attempt, token: str) -> str:
    """Does what an attempt has to do; returns the state that the job is left in."""
    try:
        ended = await _attend(worker, attempt, token)
    except Exception as fault:
        # A child that cannot be started or prints what nobody can read, a full disk, a database
        # that does not answer: whatever it was, the job must not seem to run for ever.
        _LOG.exception("attending to job %s failed", attempt.job_id)
        problem = Problem(
            kind="worker-fault",
            title="The worker could not attend to the job",
            detail=f"{type(fault).__name__}: {fault}; fix what it names on the worker's machine "
            "and send the request again",
        )
        ended = _Ended(JobState.FAILED, {"problem": problem})
    if isinstance(ended, Stop):
        return await _left(worker, attempt, ended)
    shutil.rmtree(_folder(worker, attempt), ignore_errors=True)
    if ended.state is JobState.SUCCEEDED:
        await write_with_retries(lambda: tell_of_alias(worker.records, attempt))
    finish = worker.records.attempts.finish
    await write_with_retries(lambda: finish(attempt, ended.state, **ended.values))
    await _forget(worker, _folder(worker, attempt))
    job = await write_with_retries(lambda: worker.records.get(attempt.job_id))
    await write_with_retries(lambda: promote(worker.records, job))
    return job.state


async def _attend(worker: Worker, attempt: Attempt, token: str) -> _Ended | Stop:
    """Completes what an attempt before has left, or runs the child."""
    if attempt.publishing is not None:
        # Its worker died between the decision to publish and the bundle's appearance.
        model_id = attempt.publishing
        if await write_with_retries(lambda: worker.bundles.complete(model_id)):
            return _Ended(JobState.SUCCEEDED, {"model_id": model_id})
        await write_with_retries(lambda: worker.records.attempts.withdraw(attempt))
    if attempt.staged is not None:
        staged = attempt.staged
        await write_with_retries(lambda: worker.bundles.discard(staged))
        await write_with_retries(lambda: worker.records.attempts.staging(attempt, None))
    try:
        request = await write_with_retries(lambda: worker.records.request_of(attempt.job_id))
    except AnotherRelease as unknown:
        return _Ended(JobState.FAILED, {"problem": of_another_release(unknown.issues)})
    if attempt.deaths >= MAX_DEATHS[request.recipe.mode]:
        return _Ended(JobState.FAILED, {"problem": _lost(attempt)})
    job = await write_with_retries(lambda: worker.records.get(attempt.job_id))
    known = Supervised.after(job)
    command = worker.commands.get(request.recipe.mode, worker.command)
    asked = Asked(command, _folder(worker, attempt), request)
    sharing = Sharing(worker.checkpoints, asked.folder, worker.share_seconds)
    sharing.begin(attempt)
    try:
        return await _run(worker, asked, known, (attempt, token), sharing)
    except BaseException:
        # Cancelled, or failed: what was copied into storage makes no bundle, and is not wanted.
        if known.staging is not None:
            worker.bundles.discard(known.staging)
        raise


async def _run(
    worker: Worker, asked: Asked, known: Supervised, begun: tuple[Attempt, str], sharing: Sharing
) -> _Ended | Stop:
    """Runs the child of an attempt, and publishes what it made.

    Args:
        worker: that attends to it.
        asked: the child.
        known: what is known of it.
        begun: the attempt, and the token that it was begun under.
        sharing: of its checkpoints.
    """
    attempt, token = begun
    ties = Ties(
        lambda: worker.heart.remaining(token),
        lambda: worker.records.attempts.is_current(attempt),
        worker.is_leaving,
    )
    beside = [
        asyncio.create_task(_record(known, worker.records, attempt)),
        asyncio.create_task(sharing.go_on()),
    ]
    try:
        code = await attend_child(asked, known, worker.limits, ties)
    finally:
        for task in beside:
            task.cancel()
    await _write_progress(known, worker.records, attempt)
    if code in KILLING:
        code = Stop.KILLED
    if code in (Stop.KILLED, Stop.LEAVING):  # it is taken up at once, perhaps elsewhere
        await sharing.finish()
    ended = code if isinstance(code, Stop) else _outcome(known, code)
    if isinstance(ended, _Ended) and ended.state is JobState.SUCCEEDED:
        found = await publish(worker.records, worker.bundles, attempt, ended.values["model_id"])
        if found is None:
            return ended
        return found if isinstance(found, Stop) else _Ended(JobState.FAILED, {"problem": found})
    if known.staging is not None:
        await asyncio.to_thread(worker.bundles.discard, known.staging)
    return ended


async def _left(worker: Worker, attempt: Attempt, why: Stop) -> str:
    """Leaves a job that did not end: to the queue, to another worker, or to nobody.

    Its folder, with its checkpoints, stays for as long as it may go on.
    """
    if why is Stop.LAPSED or why is Stop.KILLED:
        _LOG.warning("job %s goes back to the queue: %s", attempt.job_id, why.value)
    hand_back = worker.records.attempts.hand_back
    if why is not Stop.UNWANTED and await write_with_retries(
        lambda: hand_back(attempt, f"queued again: {why.value}", died=why is Stop.KILLED)
    ):
        if why is Stop.LEAVING:
            await _leave(worker, attempt.job_id, attempt.run)
        await asyncio.to_thread(worker.requeue, attempt.job_id, attempt.run)
        return JobState.QUEUED
    job = await write_with_retries(lambda: worker.records.get(attempt.job_id))
    if job.state.ended:
        await _forget(worker, _folder(worker, attempt))
    return job.state


async def _leave(worker: Worker, job_id: str, run: int) -> None:
    """Brings a run back to the queue, and waits for the process to end: nothing else is begun."""
    await asyncio.to_thread(worker.requeue, job_id, run)
    worker.left.add(f"{job_id}-{run}")
    await asyncio.Event().wait()


def _folder(worker: Worker, attempt: Attempt) -> Path:
    return worker.work / f"{attempt.job_id}-{attempt.run}"


async def _forget(worker: Worker, folder: Path) -> None:
    """Removes what was kept of a job that has ended: its folder, and its shared checkpoints."""
    shutil.rmtree(folder, ignore_errors=True)
    await asyncio.to_thread(Sharing(worker.checkpoints, folder, worker.share_seconds).forget)


def _lost(attempt: Attempt) -> Problem:
    return Problem(
        kind="worker-lost",
        title="The worker was lost again and again",
        detail=f"the job was started {attempt.deaths} times, and each time its worker or its "
        "process was killed before it got any further; it may need more memory",
    )


async def _record(known: Supervised, records: JobRecords, attempt: Attempt) -> None:
    """Records progress until it is cancelled, at most every `RECORD_SECONDS`.

    It runs beside the listening: a job never waits for it.
    A database that does not answer costs a line of progress; the next news are another try.
    """
    while True:
        await known.news.wait()
        known.news.clear()
        await _write_progress(known, records, attempt)
        await asyncio.sleep(RECORD_SECONDS)


async def _write_progress(known: Supervised, records: JobRecords, attempt: Attempt) -> None:
    attempts = records.attempts
    reached = Reached(
        known.stage, known.progress, known.message, tuple(known.log), known.seconds_left
    )
    try:
        await asyncio.to_thread(attempts.advance, attempt, reached)
        if known.inspection is not None:
            await asyncio.to_thread(attempts.inspected, attempt, known.inspection)
            known.inspection = None
        if known.staging is not None and not known.staging_noted:
            known.staging_noted = True
            await asyncio.to_thread(attempts.staging, attempt, known.staging)
        if known.charts_changed:
            known.charts_changed = False
            points, epochs = list(known.points.values()), list(known.epochs.values())
            await asyncio.to_thread(attempts.charted, attempt, points, epochs)
    except Exception as fault:
        known.charts_changed = bool(known.points or known.epochs)
        # Whatever it is, no job ends because a line of progress was not recorded.
        _LOG.warning(
            "progress of job %s was not recorded: %s: %s",
            attempt.job_id,
            type(fault).__name__,
            fault,
        )


def _outcome(known: Supervised, code: int | Problem) -> _Ended:
    """What a child's last word and exit status mean, or a limit that it was ended at."""
    if isinstance(code, Problem):
        return _Ended(JobState.FAILED, {"problem": code})
    if code == 0 and known.answer is not None:
        if "result" in known.answer:
            return _Ended(JobState.SUCCEEDED, {"model_id": known.answer["result"]["model_id"]})
        problem = Problem.model_validate(known.answer["problem"])
        curve = [CurvePoint.model_validate(point) for point in known.answer.get("curve", [])]
        state = JobState.BUDGET_NOT_MET if problem.kind == "budget-not-met" else JobState.FAILED
        return _Ended(state, {"problem": problem, "curve": curve})
    return _Ended(JobState.FAILED, {"problem": crash(known, code, "compression")})

"""The end of a job that made a model: one bundle, or none.

The child copies the bundle's files into storage, its manifest apart, so that there is no bundle
yet. One conditional write of the job's row then decides that there is to be one: it fails where the
job was cancelled or taken over. Only then the manifest is put to its files. A worker that dies in
between leaves what the next attempt completes; a job is `succeeded` only once its bundle is there.
"""

from __future__ import annotations

import asyncio
import logging

from isslim.compress.worker.oversight import Stop
from isslim.compress.worker.retries import write_with_retries
from isslim.store.aliases import AliasStore, Author
from isslim.store.attempts import Attempt, Reached
from isslim.store.bundles import BundleStore
from isslim.store.errors import OutOfSpace
from isslim.store.owners import Owners
from isslim.store.records import JobRecords
from isslim.types.jobs import Job, JobState
from isslim.types.problem import Problem
from isslim.types.schemas.aliases import AliasState

_LOG = logging.getLogger("worker.publication")
_NOT_MOVED = "the alias '{}' was not moved: its owner is another than when that was asked for"


async def publish(
    records: JobRecords, bundles: BundleStore, attempt: Attempt, bundle_id: str
) -> Stop | Problem | None:
    """Publishes what was staged, if that is still wanted.

    Args:
        records: of jobs.
        bundles: where its files lie.
        attempt: that made it.
        bundle_id: the bundle.

    Returns:
        Why it was not published; None: it was.
    """
    await write_with_retries(lambda: Owners(records.engine).inherit(attempt.job_id, bundle_id))
    if not await write_with_retries(lambda: records.attempts.claim(attempt, bundle_id)):
        await asyncio.to_thread(bundles.discard, bundle_id)
        return Stop.UNWANTED
    try:
        if await write_with_retries(lambda: bundles.complete(bundle_id)):
            return None
    except OutOfSpace as full:
        await write_with_retries(lambda: records.attempts.withdraw(attempt))
        await asyncio.to_thread(bundles.discard, bundle_id)
        return Problem(kind="out-of-space", title="The disk is full", detail=str(full))
    # Another attempt has completed it, and it was deleted since; or its files are gone.
    return Stop.UNWANTED if not records.attempts.is_current(attempt) else _gone(bundle_id)


def tell_of_alias(records: JobRecords, attempt: Attempt) -> None:
    """Says in a job that is about to succeed that it moves no alias, where it may not.

    Args:
        records: of jobs.
        attempt: that made its model.
    """
    job = records.get(attempt.job_id)
    alias = job.request.recipe.promote
    if alias is not None and not Owners(records.engine).may_promote(job.id, alias):
        said = _NOT_MOVED.format(alias)
        told = Reached(job.stage, job.progress, said, [*job.log, said])
        records.attempts.advance(attempt, told)


def promote(records: JobRecords, job: Job) -> None:
    """Points the alias that a recipe names at the model of its job, once.

    Args:
        records: of jobs.
        job: that has ended; only one that has succeeded is promoted.
    """
    alias, author = job.request.recipe.promote, Author(f"job {job.id}")
    if job.state is not JobState.SUCCEEDED or job.model_id is None or alias is None:
        return
    aliases, owners = AliasStore(records.engine), Owners(records.engine)
    # A worker may have died behind this write; the alias may have been moved on since.
    was_done = any(
        change.by == author.by and change.after is not None and change.after.model == job.model_id
        for change in aliases.history(alias)
    )
    if was_done:
        return
    if not owners.may_promote(job.id, alias):
        _LOG.warning("job %s: %s", job.id, _NOT_MOVED.format(alias))
        return
    aliases.point(alias, AliasState(model=job.model_id), author)


def _gone(bundle_id: str) -> Problem:
    return Problem(
        kind="storage",
        title="The storage failed",
        detail=f"files of the bundle {bundle_id} are gone from storage before it was published; "
        "send the request again",
    )

"""`/jobs`: lists, follows and cancels jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from isslim.service.context import Context
from isslim.service.parameters import JobId
from isslim.types.jobs import Job
from isslim.types.schemas.problems import ProblemDocument

router = APIRouter(prefix="/jobs", tags=["jobs"])
UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ProblemDocument}}
POLL_SECONDS = 0.3


@router.get("", summary="All jobs, newest first")
def list_jobs(context: Context) -> list[Job]:
    """All jobs without their logs."""
    return context.queue.list()


@router.get("/{job_id}", summary="One job with the tail of its log", responses=UNKNOWN)
def get_job(job_id: JobId, context: Context) -> Job:
    """State, stage, progress, and how it ended."""
    return context.queue.get(job_id)


@router.delete(
    "/{job_id}", summary="Cancel a job", responses={**UNKNOWN, 503: {"model": ProblemDocument}}
)
def cancel_job(job_id: JobId, context: Context) -> Job:
    """Ends a queued or running job; one that has ended does not change."""
    return context.queue.cancel(job_id)


def _existing(job_id: JobId, context: Context) -> str:
    """The job's id, looked up before an answer begins: a stream cannot change its status."""
    return context.queue.get(job_id).id


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    summary="Follow a job (server-sent events)",
    responses=UNKNOWN,
)
async def follow_job(
    job_id: Annotated[str, Depends(_existing)], context: Context
) -> AsyncIterable[ServerSentEvent]:
    """An event `job` at every change; ends with the job, or with the service."""
    before = ""
    while not context.ending.is_set():
        job = await run_in_threadpool(context.queue.get, job_id)
        now = job.model_dump_json()
        if now != before:
            yield ServerSentEvent(raw_data=now, event="job")
            before = now
        if job.state.ended:
            return
        await asyncio.sleep(POLL_SECONDS)

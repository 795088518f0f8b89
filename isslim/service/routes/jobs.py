"""`/jobs`: lists, follows, repeats and cancels jobs."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from isslim.service import uploads as intake
from isslim.service.access.caller import Caller, caller_of
from isslim.service.bodies import ROOM, BodyLimits, json_content
from isslim.service.context import AppContext, Context, context_of
from isslim.service.openapi import body_of
from isslim.service.ownership import Asking, admit_jobs, job_of
from isslim.service.parameters import JobId
from isslim.service.problems import RequestError
from isslim.service.routing import checked_router
from isslim.store.errors import StoreError
from isslim.types.jobs import AgainRequest, Job
from isslim.types.recipe import Recipe
from isslim.types.schemas.problems import ProblemDocument

router = checked_router("/jobs", tag="jobs")
UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ProblemDocument}}
LISTED, MAX_LISTED = 100, 1000
"""Jobs on a page: without a wish, and at most."""
POLL_SECONDS, PING_SECONDS, RETRY_MS = 0.3, 5.0, 1000
"""Of event streams: how often the job is read, the longest silence, the pause before a client
connects again."""


class EventStream(StreamingResponse):
    """Server-sent events, which no proxy should keep or collect."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, headers={"cache-control": "no-cache", "x-accel-buffering": "no"})


@router.get(
    "",
    summary="Jobs, newest first, a page at a time",
    responses={422: {"model": ProblemDocument}},
)
def list_jobs(
    context: Context,
    caller: Asking,
    response: Response,
    limit: Annotated[
        int, Query(ge=1, le=MAX_LISTED, description="jobs on a page", examples=[20])
    ] = LISTED,
    cursor: Annotated[
        str | None,
        Query(
            description="where the page begins, as the answer before names it; without it: at the "
            "newest job",
            max_length=200,
            examples=["2026-11-24T12:00:00~419642ce19b52b52119a"],
        ),
    ] = None,
    model_id: Annotated[
        str | None,
        Query(
            description="only jobs that made this model; without it: all",
            pattern=r"^[0-9a-f]{16}$",
            examples=["9e0f95b09709d4a3"],
        ),
    ] = None,
) -> list[Job]:
    """Jobs without their logs; the header `Link` (`rel="next"`) names the next page, if any.

    With a key, its own jobs.
    """
    found, following = context.queue.page(limit, cursor, caller.sees, model_id)
    if following is not None:
        # Relative, so that it is right behind any proxy.
        chosen = {} if model_id is None else {"model_id": model_id}
        query = urlencode({"limit": limit, "cursor": following, **chosen})
        response.headers["link"] = f'<?{query}>; rel="next"'
    return found


@router.get("/{job_id}", summary="One job with the tail of its log", responses=UNKNOWN)
def get_job(job_id: JobId, context: Context, caller: Asking) -> Job:
    """State, stage, progress, and how it ended."""
    return job_of(context, caller, job_id)


@router.post(
    "/{job_id}/again",
    status_code=202,
    response_model=Job,
    summary="Compress the same files under another recipe",
    responses={
        status: {"model": ProblemDocument}
        for status in (400, 403, 404, 409, 413, 415, 422, 429, 503, 507)
    },
    openapi_extra=body_of(AgainRequest),
)
async def compress_again(job_id: JobId, http: Request, response: Response) -> Job:
    """Queues a job on the files of another one, with some fields of its recipe replaced.

    The same request again is the same job. Where the files are gone (`uploads-gone`), the model has
    to be sent again.
    """
    context, content = context_of(http), await json_content(http)
    asked = await context.bodies.read(content, AgainRequest, BodyLimits(ROOM, {}))
    job = await run_in_threadpool(_queue_again, context, caller_of(http), job_id, asked.changes)
    response.headers["location"] = f"/jobs/{job.id}"
    return job


def _queue_again(context: AppContext, caller: Caller, job_id: str, changes: dict[str, Any]) -> Job:
    before = job_of(context, caller, job_id).request
    try:
        recipe = Recipe.model_validate(before.recipe.model_dump() | changes)
    except ValidationError as error:
        raise intake.refusal("changes", error) from error
    recipe = intake.accepted("changes", recipe, context.settings)
    gone = [each.filename for each in before.uploads if not context.uploads.renew(each)]
    if gone:
        raise RequestError(
            "uploads-gone",
            f"files of the job are not kept any more: {', '.join(gone)}; send them again to "
            "`POST /compress`",
        )
    asked = before.model_copy(update={"recipe": recipe})
    owner = admit_jobs(context, caller, [asked])
    return context.queue.enqueue(asked, owner).model_copy(update={"owner": owner})


@router.delete(
    "/{job_id}", summary="Cancel a job", responses={**UNKNOWN, 503: {"model": ProblemDocument}}
)
def cancel_job(job_id: JobId, context: Context, caller: Asking) -> Job:
    """Ends a queued or running job; one that has ended does not change."""
    owner = job_of(context, caller, job_id).owner
    return context.queue.cancel(job_id).model_copy(update={"owner": owner})


def _existing(job_id: JobId, context: Context, caller: Asking) -> Job:
    """The job, looked up before an answer begins: a stream cannot change its status."""
    return job_of(context, caller, job_id)


@router.get(
    "/{job_id}/events",
    response_class=EventStream,
    status_code=200,
    summary="Follow a job (server-sent events)",
    responses={
        **UNKNOWN,
        204: {"description": "The job has ended, and `Last-Event-ID` names its last event"},
    },
)
async def follow_job(
    job: Annotated[Job, Depends(_existing)],
    context: Context,
    caller: Asking,
    last_event_id: Annotated[
        str | None,
        Header(
            description="`id` of the last event that was received: a job that has not changed "
            "since is not sent again",
            examples=["9f86d081884c7d65"],
        ),
    ] = None,
) -> Response:
    """An event `job` with the whole job, as `GET /jobs/{job_id}` answers it, at every change.

    The stream ends with the job, with the service, when its key is withdrawn, and where the job
    cannot be read any more. A comment is sent
    where nothing else is for 5 seconds.
    """
    if job.state.ended and last_event_id == _event_id(job.model_dump_json()):
        return Response(status_code=204)  # which keeps browsers from connecting again
    return EventStream(_events(context, caller, job.id, last_event_id))


async def _events(
    context: AppContext, caller: Caller, job_id: str, last_event_id: str | None
) -> AsyncIterator[bytes]:
    """The job at every change that its follower does not know.

    Args:
        context: the service's parts.
        caller: who follows it.
        job_id: which job.
        last_event_id: of the last event that the follower received; None if there was none.
    """
    known, last_sent = last_event_id, time.monotonic()
    yield format_sse_event(retry=RETRY_MS)
    while not context.ending.is_set():
        try:
            if not context.access.is_current(caller):
                return
            job = await run_in_threadpool(job_of, context, caller, job_id)
        except (RequestError, StoreError):
            return  # an answer that has begun has no other status: who connects again is told
        body = job.model_dump_json()
        event_id = _event_id(body)
        if event_id != known:
            yield format_sse_event(data_str=body, event="job", id=event_id)
            known, last_sent = event_id, time.monotonic()
        elif time.monotonic() - last_sent > PING_SECONDS:
            yield KEEPALIVE_COMMENT
            last_sent = time.monotonic()
        if job.state.ended:
            return
        await asyncio.sleep(POLL_SECONDS)


def _event_id(body: str) -> str:
    """Derived from the job's content: it means the same to every service and after a restart."""
    return hashlib.sha256(body.encode()).hexdigest()[:16]

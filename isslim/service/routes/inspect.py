"""`/inspect`, `/inspections`: what a worker understands of an upload, before a job starts."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from isslim.service import uploads as intake
from isslim.service.context import AppContext, Context
from isslim.service.ownership import Asking, admit_inspection, require_owner
from isslim.service.parameters import InspectionId
from isslim.service.problems import RequestError
from isslim.service.routing import checked_router
from isslim.types.inspection import Inspection, PendingInspection
from isslim.types.jobs import CompressionRequest, UploadRef
from isslim.types.schemas.problems import ProblemDocument

router = checked_router(tag="inspect")
POLL_SECONDS = (0.05, 0.1, 0.2)
"""Intervals at which an inspection is polled; the last one is repeated."""
_PENDING: dict[int | str, dict[str, Any]] = {
    202: {"model": PendingInspection, "description": "Not done yet: ask again at `Location`"}
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemDocument} for status in (400, 403, 413, 415, 422, 429, 503, 507)
}


@router.post(
    "/inspect",
    summary="Say what is understood of an upload",
    responses={**_PENDING, **_REFUSALS},
    response_model=Inspection,
)
async def inspect_upload(
    context: Context,
    caller: Asking,
    request: Request,
    response: Response,
    files: intake.Files,
    options: intake.Options = "{}",
) -> Inspection | Response:
    """Takes the same form as `POST /compress`, and compresses nothing.

    The result is that of the first stage of a job with these files.

    A refusal is also a result (200, `understood` is false, `problem` states why). The result is
    available at `Location` for a day; where it takes longer than the service waits, only there
    (202).
    """
    sent = intake.read_form("options", options, intake.RECIPE)
    recipe = intake.accepted("options", sent, context.settings)

    def queue(uploads: dict[str, UploadRef]) -> str:
        asked = CompressionRequest.model_validate({**uploads, "recipe": recipe})
        return context.queue.inspect(asked, admit_inspection(context, caller, asked))

    await intake.refuse_unknown(request, {*files, "options"})
    if not await run_in_threadpool(context.locks.held):
        raise RequestError(
            "no-worker",
            "a worker looks at uploads, and none is running: start one (`isslim worker`, or "
            "`isslim serve` for both)",
        )
    inspection_id = await intake.accept_job(context, files, queue)
    return _answer(await _waited_for(context, inspection_id), inspection_id, response)


@router.get(
    "/inspections/{inspection_id}",
    summary="One inspection",
    responses={**_PENDING, 404: {"model": ProblemDocument}},
    response_model=Inspection,
)
def get_inspection(
    inspection_id: InspectionId, context: Context, caller: Asking, response: Response
) -> Inspection | Response:
    """Its result, or its state (202)."""
    require_owner(context, caller, "inspection", inspection_id)
    return _answer(context.queue.inspection(inspection_id), inspection_id, response)


async def _waited_for(context: AppContext, inspection_id: str) -> Inspection | PendingInspection:
    """The result, or the state of the inspection when the service's wait ends."""
    limit, pauses = time.monotonic() + context.settings.inspect_wait_seconds, iter(POLL_SECONDS)
    pause = POLL_SECONDS[0]
    while True:
        found = await run_in_threadpool(context.queue.inspection, inspection_id)
        if isinstance(found, Inspection) or time.monotonic() >= limit:
            return found
        pause = next(pauses, pause)
        await asyncio.sleep(pause)


def _answer(
    found: Inspection | PendingInspection, inspection_id: str, response: Response
) -> Inspection | Response:
    where = {"location": f"/inspections/{inspection_id}"}
    if isinstance(found, PendingInspection):
        return Response(found.model_dump_json(), 202, where, "application/json")
    response.headers.update(where)
    return found

"""`POST /compress`: receives a model and its companions, and queues the job."""

from __future__ import annotations

from fastapi import Request, Response

from isslim.service import uploads as intake
from isslim.service.context import Context
from isslim.service.ownership import Asking, admit_jobs
from isslim.service.routing import checked_router
from isslim.types.jobs import CompressionRequest, Job, UploadRef
from isslim.types.schemas.problems import ProblemDocument

router = checked_router(tag="compress")


@router.post(
    "/compress",
    status_code=202,
    summary="Compress an uploaded model",
    responses={
        status: {"model": ProblemDocument} for status in (400, 403, 413, 415, 422, 429, 503, 507)
    },
)
async def compress_model(
    context: Context,
    caller: Asking,
    request: Request,
    response: Response,
    files: intake.Files,
    options: intake.Options = "{}",
) -> Job:
    """Queues the compression and returns the job immediately.

    The same request again is the same job.
    """
    sent = intake.read_form("options", options, intake.RECIPE)
    recipe = intake.accepted("options", sent, context.settings)

    def queue(uploads: dict[str, UploadRef]) -> Job:
        asked = CompressionRequest.model_validate({**uploads, "recipe": recipe})
        owner = admit_jobs(context, caller, [asked])
        return context.queue.enqueue(asked, owner).model_copy(update={"owner": owner})

    await intake.refuse_unknown(request, {*files, "options"})
    job = await intake.accept_job(context, files, queue)
    response.headers["location"] = f"/jobs/{job.id}"
    return job

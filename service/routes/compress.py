"""`POST /compress`: takes a model and its companions in, and queues the job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, File, Form, Response, UploadFile
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from service.house import House, TheHouse
from service.problems import ProblemDocument, Refused
from store.jobs import CompressionRequest, Job, UploadRef
from store.manifest import Recipe

router = APIRouter(tags=["compress"])
CHUNK_BYTES = 1 << 20


@router.post(
    "/compress",
    status_code=202,
    summary="Compress an uploaded model",
    responses={status: {"model": ProblemDocument} for status in (413, 422, 507)},
)
async def compress(
    house: TheHouse,
    response: Response,
    model: Annotated[UploadFile, File(description="safetensors, or a PyTorch checkpoint of weights")],
    config: Annotated[UploadFile | None, File(description="optional JSON beside the weights")] = None,
    vocabulary: Annotated[UploadFile | None, File(description="words or characters by id, or tokenizer.json")] = None,
    calibration: Annotated[UploadFile | None, File(description="text to observe (and to fine-tune on)")] = None,
    held_out: Annotated[UploadFile | None, File(description="text to judge on")] = None,
    options: Annotated[str, Form(description="the recipe as JSON", examples=['{"name": "mine"}'])] = "{}",
) -> Job:
    """Queues the compression and answers at once with the job. The same request again is the same job."""
    recipe = _recipe(options)
    taken: list[UploadRef] = []
    queued = False
    try:
        refs = {
            name: await _take(house, file, taken)
            for name, file in (
                ("model", model),
                ("config", config),
                ("vocabulary", vocabulary),
                ("calibration", calibration),
                ("held_out", held_out),
            )
            if file is not None
        }
        request = CompressionRequest.model_validate({**refs, "recipe": recipe})
        job = await run_in_threadpool(house.queue.enqueue, request)
        queued = True
    finally:
        # Whatever ended the request: a refusal, a database that failed, a sender who left.
        if not queued and taken:
            await run_in_threadpool(_forget, house, taken)
    response.headers["location"] = f"/jobs/{job.id}"
    return job


def _recipe(options: str) -> Recipe:
    try:
        recipe = Recipe.model_validate_json(options)
    except ValidationError as error:
        issues = [
            {"pointer": "/options/" + "/".join(map(str, each["loc"])), "detail": each["msg"]} for each in error.errors()
        ]
        raise Refused("invalid-request", f"options: {issues[0]['pointer']}: {issues[0]['detail']}", issues) from error
    limits = recipe.budget.model_dump(exclude_none=True)
    if len(limits) != 1:
        raise Refused(
            "invalid-request",
            f"options: the budget names {len(limits)} limits; name one of perplexity_rise, size_ratio, speedup",
        )
    return recipe


async def _take(house: House, file: UploadFile, taken: list[UploadRef]) -> UploadRef:
    async def chunks() -> AsyncIterator[bytes]:
        while chunk := await file.read(CHUNK_BYTES):
            yield chunk

    known = {upload.sha256 for upload in taken}
    ref = await house.uploads.save(chunks(), file.filename or "upload")
    if ref.sha256 not in known:
        taken.append(ref)
    return ref


def _forget(house: House, taken: list[UploadRef]) -> None:
    """Removes what a refused request left, unless a job of another request needs it."""
    needed = {upload.sha256 for job in house.queue.list() for upload in job.request.uploads}
    for ref in taken:
        if ref.sha256 not in needed:
            house.uploads.delete(ref.sha256)

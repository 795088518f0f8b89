"""`POST /compress`: takes a model and its companions in, and queues the job."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from pydantic import TypeAdapter

from service import intake
from service.house import TheHouse
from service.problems import ProblemDocument
from store.jobs import CompressionRequest, Job, UploadRef
from store.manifest import Recipe

router = APIRouter(tags=["compress"])
RECIPE = TypeAdapter(Recipe)

Model = Annotated[UploadFile, File(description="safetensors, or a PyTorch checkpoint of weights")]
Config = Annotated[UploadFile | None, File(description="optional JSON beside the weights")]
Vocabulary = Annotated[UploadFile | None, File(description="words or characters by id, or tokenizer.json")]
Train = Annotated[UploadFile | None, File(description="text to learn and fine-tune on")]
Calibration = Annotated[
    UploadFile | None, File(description="text to observe; also trained on where no `train` is sent")
]
HeldOut = Annotated[UploadFile | None, File(description="text to judge on")]
Options = Annotated[str, Form(description="the recipe as JSON", examples=['{"name": "mine"}'])]


@router.post(
    "/compress",
    status_code=202,
    summary="Compress an uploaded model",
    responses={status: {"model": ProblemDocument} for status in (413, 422, 507)},
)
async def compress(
    house: TheHouse,
    request: Request,
    response: Response,
    model: Model,
    config: Config = None,
    vocabulary: Vocabulary = None,
    train: Train = None,
    calibration: Calibration = None,
    held_out: HeldOut = None,
    options: Options = "{}",
) -> Job:
    """Queues the compression and answers at once with the job. The same request again is the same job."""
    recipe = intake.one_budget("options", intake.read_form("options", options, RECIPE))

    def queue(uploads: dict[str, UploadRef]) -> Job:
        return house.queue.enqueue(CompressionRequest.model_validate({**uploads, "recipe": recipe}))

    files = {
        "model": model, "config": config, "vocabulary": vocabulary, "train": train, "calibration": calibration,
        "held_out": held_out,
    }  # fmt: skip
    await intake.refuse_unknown(request, {*files, "options"})
    job = await intake.take(house, files, queue)
    response.headers["location"] = f"/jobs/{job.id}"
    return job

"""`POST /classify`: where row classifiers answer."""

from __future__ import annotations

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from isslim.service.context import context_of
from isslim.service.problems import RequestError
from isslim.service.serving.batching import Job, alone
from isslim.service.serving.compare_variants import Timed
from isslim.types.manifest import VariantName
from tests.row_classifier.runtime import LoadedRowClassifier, RowSession

router = APIRouter(tags=["score"])


class ClassifyRequest(BaseModel):
    """Rows of numbers to classify."""

    model: str = Field(description="id or name")
    rows: list[list[float]] = Field(description="each of as many numbers", min_length=1)
    variants: list[VariantName] = Field(default=[], description="none: the usual two")


class VariantClasses(BaseModel):
    """What one variant answers."""

    variant: VariantName = Field(description="which one")
    classes: list[int] = Field(description="a class for every row")
    speedup: float | None = Field(description="against the first variant; null: it is the first")


class ClassifyResponse(BaseModel):
    """The answers of all variants."""

    model_id: str = Field(description="the bundle's id")
    variants: list[VariantClasses] = Field(description="in the order asked for")


@router.post("/classify", summary="Classify rows with the original and the compressed model")
async def classify(http: Request, request: ClassifyRequest) -> ClassifyResponse:
    """Classes of all rows by each variant."""
    context = context_of(http)
    async with context.admission.admit(
        http, context.settings.score_seconds, "ISS_SCORE_SECONDS"
    ) as ticket:
        model = await context.models.load(request.model, LoadedRowClassifier, ticket)
        sessions = await context.models.open(model, request.variants, "cpu", ticket)

        def encode() -> NDArray[np.float32]:
            return _array(request.rows, next(iter(sessions.values())).width)

        def run(session: RowSession, rows: NDArray[np.float32]) -> Job[Timed[list[int]]]:
            done = yield from alone(lambda control: session.bound(control).run(rows))
            return Timed(done.output.argmax(axis=1).tolist(), 1e3 * done.seconds)

        _, runs = await context.variants.run(sessions, encode, run, ticket, model)
    return ClassifyResponse(
        model_id=model.id,
        variants=[
            VariantClasses(variant=each.variant, classes=each.result, speedup=each.speedup)
            for each in runs
        ],
    )


def _array(rows: list[list[float]], width: int) -> NDArray[np.float32]:
    if any(len(row) != width for row in rows):
        raise RequestError("invalid-request", f"rows: a row of this model has {width} numbers")
    return np.array(rows, np.float32)

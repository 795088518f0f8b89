"""Health and metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client.exposition import choose_encoder

from isslim.service.context import Context
from isslim.types.schemas.models import Health
from isslim.types.schemas.problems import ProblemDocument

router = APIRouter(tags=["health"])
NO_WORKER = (
    "no-worker: none lives, and jobs wait until one does: start one (`isslim worker`), or look "
    "into its log"
)


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live", response_model=Health, summary="The process lives")
async def check_live(http: Request) -> Response:
    """Always ok."""
    return Response(Health(status="ok").model_dump_json(), media_type="application/json")


@router.head("/health/ready", include_in_schema=False)
@router.get(
    "/health/ready",
    summary="The service can answer",
    responses={503: {"model": ProblemDocument, "description": "It cannot, and why"}},
)
def check_ready(context: Context) -> Health:
    """Ok when database, storage and keys can be read; anything else is a problem document.

    Where no worker lives, models are served nevertheless: it is among the warnings.
    """
    counts = context.check_readable()
    models = len(context.models.bundles.manifests())
    workers = context.locks.held()
    found = (context.settings.exposure, None if workers else NO_WORKER)
    return Health(
        status="ok",
        detail=f"{models} models, {counts['queued']} jobs queued",
        warnings=[each for each in found if each is not None],
        workers=workers,
    )


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", response_class=PlainTextResponse, summary="Prometheus metrics")
def get_metrics(http: Request, context: Context) -> Response:
    """Requests, queues and runs, models, jobs and workers, processes: of the whole service.

    While the database does not answer, what it says of jobs is not known, and all else is.
    """
    context.note_jobs()
    context.note_own()
    # Prometheus names the formats that it reads.
    encode, content_type = choose_encoder(http.headers.get("accept", ""))
    return Response(encode(context.metrics.printed()), media_type=content_type)

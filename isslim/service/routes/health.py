"""Health and metrics."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from isslim.service.context import TheHouse
from isslim.service.schemas.common import Health

router = APIRouter(tags=["health"])


@router.get("/health/live", summary="The process lives")
async def live() -> Health:
    """Always ok."""
    return Health(status="ok")


@router.get("/health/ready", summary="The service can answer")
def ready(house: TheHouse) -> Health:
    """Ok when database and storage can be read; anything else is a problem document."""
    counts = house.queue.records.counts()
    models = len(house.models.bundles.manifests())
    return Health(status="ok", detail=f"{models} models, {counts['queued']} jobs queued")


@router.get("/metrics", response_class=PlainTextResponse, summary="Prometheus metrics")
def metrics(house: TheHouse) -> Response:
    """Request, queue and run latency by model, variant and device; job states; loaded models."""
    for state, count in house.queue.records.counts().items():
        house.metrics.jobs.labels(state).set(count)
    house.metrics.models.set(house.models.count())
    house.metrics.model_bytes.set(house.models.memory_bytes())
    return Response(generate_latest(house.metrics.registry), media_type=CONTENT_TYPE_LATEST)

"""`GET /models/{model}/latency`: the paired comparison, run now on this host, then remembered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query

from runtime.latency import compare
from runtime.session import devices
from service.house import House, TheHouse
from service.problems import ProblemDocument
from service.schemas import LatencyResponse
from store.manifest import LatencyRecord

router = APIRouter(tags=["models"], responses={404: {"model": ProblemDocument}})


@router.get("/models/{model}/latency", summary="Compare the variants' latency on this host")
async def latency(
    model: str,
    house: TheHouse,
    steps: Annotated[int, Query(ge=1, le=1000, examples=[30])] = 30,
    batch: Annotated[int, Query(ge=1, le=256, examples=[1])] = 1,
    threads: Annotated[int, Query(ge=1, le=256, examples=[1])] = 1,
    refresh: Annotated[bool, Query(description="measure anew")] = False,
) -> LatencyResponse:
    """All variants interleaved, on every device that ONNX Runtime offers here."""
    key = (house.models.resolve(model), steps, batch, threads)
    known = house.latencies.get(key)
    if known is not None and not refresh:
        return known.model_copy(update={"cached": True})
    result, _ = await house.inference.run(lambda: _measure(house, model, steps, batch, threads))
    house.latencies[key] = result
    return result


def _measure(house: House, name: str, steps: int, batch: int, threads: int) -> LatencyResponse:
    model = house.models.get(name)
    results: dict[str, list[LatencyRecord]] = {variant.name: [] for variant in model.manifest.variants}
    for device in devices():
        sessions = {variant: model.session(variant, device, threads) for variant in results}
        for variant, record in compare(sessions, steps=steps, batch=batch).items():
            results[variant].append(record)
    return LatencyResponse(
        model_id=model.id, measured_at=datetime.now(UTC), cached=False, baseline="original", results=results
    )

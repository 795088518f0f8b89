"""`GET /models/{model}/latency`: the paired comparison, run now on this host, then cached."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from isslim.runtime.errors import DeviceUnavailable, InputsRefused
from isslim.runtime.opening import OrtSession, devices
from isslim.runtime.registry import class_of
from isslim.runtime.run_control import RunControl
from isslim.runtime.shape import Shape, Which
from isslim.service.context import AppContext, Context
from isslim.service.parameters import TIMEOUT, ModelName
from isslim.service.problems import RequestError
from isslim.service.routing import checked_router
from isslim.service.serving.admission import within_requested_time
from isslim.service.serving.batching import alone
from isslim.service.serving.latency_cache import Key
from isslim.store.folders import OpenBundle
from isslim.types.kinds.registry import kind_named
from isslim.types.manifest import LatencyRecord, Manifest
from isslim.types.schemas.models import LatencyResponse
from isslim.types.schemas.problems import ProblemDocument

router = checked_router(tag="models")
CORES = max(1, os.cpu_count() or 1)


class LatencyQuery(BaseModel):
    """What is compared, and where."""

    steps: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="tokens of a text or context, 30 where none are named; of a graph its run is "
        "repeated or cut to so many where the names of its dimensions say which one counts steps",
        examples=[30],
    )
    batch: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="sequences side by side, 1 where none are named; of a graph as `steps`",
        examples=[1],
    )
    run: Which | None = Field(
        default=None,
        description="of a graph: which recorded run; none: the median one",
        examples=["largest"],
    )
    threads: int = Field(
        default=1,
        ge=1,
        le=CORES,
        description="of one run; at most this host's cores",
        examples=[1],
    )
    device: str | None = Field(
        default=None, description="none: every device there is", examples=["cpu"]
    )
    refresh: bool = Field(default=False, description="measure anew", examples=[False])


@router.get(
    "/models/{model}/latency",
    summary="Compare the variants' latency on this host",
    responses={status: {"model": ProblemDocument} for status in (404, 409, 413, 422, 503, 504)},
    openapi_extra=TIMEOUT,
)
async def compare_latency(
    request: Request, model: ModelName, context: Context, asked: Annotated[LatencyQuery, Query()]
) -> LatencyResponse:
    """All variants interleaved, on the requested device or on every available one."""
    if asked.device is not None and asked.device not in devices():
        raise DeviceUnavailable(asked.device, devices())
    model_id = await run_in_threadpool(context.models.resolve, model)
    shape = Shape(asked.steps, asked.batch, asked.run or "median")
    key = (model_id, shape, asked.threads, asked.device)
    seconds = context.settings.latency_seconds

    async def measure() -> LatencyResponse:
        async with context.admission.admit(request, seconds, "ISS_LATENCY_SECONDS") as ticket:
            done = await context.executor.submit(
                alone(lambda control: _measure(context, key, control, named=asked.run is not None)),
                ticket,
            )
        found: LatencyResponse = done.output
        return found

    async with within_requested_time(request):
        return await context.latency_cache.get(key, measure, anew=asked.refresh)


def _measure(context: AppContext, key: Key, control: RunControl, *, named: bool) -> LatencyResponse:
    """Measures in separate sessions, or those for every number of threads would stay in memory."""
    model_id, shape, threads, chosen = key
    bundle = context.models.bundles.open(model_id)
    _check(bundle.manifest, shape, context.settings.latency_limit_bytes, named=named)
    results: dict[str, list[LatencyRecord]] = {
        variant.name: [] for variant in bundle.manifest.variants
    }
    for device in devices() if chosen is None else [chosen]:
        try:
            sessions = _sessions(bundle, threads, device, control)
        except DeviceUnavailable:
            if chosen is None:
                # Offered by the build of ONNX Runtime, but not present: an image for GPUs on a host
                # without one.
                continue
            raise
        found = class_of(bundle.manifest).compare(bundle.manifest, sessions, shape)
        for name, record in found.items():
            results[name].append(record)
    return LatencyResponse(
        model_id=model_id,
        measured_at=datetime.now(UTC),
        cached=False,
        baseline="original",
        results=results,
    )


def _check(manifest: Manifest, shape: Shape, most_bytes: int, *, named: bool) -> None:
    """Refuses a shape that the model does not have, or that takes too much memory."""
    if named and not kind_named(manifest.task).has_recorded_runs:
        raise InputsRefused(
            [
                f"`run` names a recorded run, and a {manifest.task} has none: name `steps` and "
                "`batch`"
            ]
        )
    needed = class_of(manifest).run_bytes(manifest, shape)
    if needed > most_bytes:
        raise RequestError(
            "too-large",
            f"a run of {shape.steps or 'the usual'} steps x {shape.batch or 'the usual batch'} "
            f"takes {needed:,} bytes; at most {most_bytes:,} here: ask for fewer steps or a "
            "smaller batch",
        )


def _sessions(
    bundle: OpenBundle, threads: int, device: str, control: RunControl
) -> dict[str, OrtSession]:
    kind = class_of(bundle.manifest)
    return {
        variant.name: kind.open_session(
            bundle.path(variant.file), threads=threads, device=device
        ).bound(control)
        for variant in bundle.manifest.variants
    }

"""`POST /models/{model}/run`: a graph of any inputs and outputs, run by one variant, or by several side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from pydantic import ValidationError

from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.model import LoadedGraph
from isslim.runtime.graphs.recorded_inputs import NamedArrays, read_runs
from isslim.service.context import AppContext, Context
from isslim.service.parameters import ModelName, QueryDevice, QueryOutputs, QueryVariants
from isslim.service.problems import RequestError
from isslim.service.serving.executor import RunLabels
from isslim.service.timing import json_with_server_timing, server_timing
from isslim.service.uploads import refusal
from isslim.types.arrays import dump_npz
from isslim.types.manifest import VariantName
from isslim.types.quality import output_change
from isslim.types.schemas.graphs import GraphRequest, GraphResponse, RunTimes, VariantRun
from isslim.types.schemas.problems import ProblemDocument

router = APIRouter(tags=["score"])
JSON, NPZ = "application/json", ("application/x-npz", "application/octet-stream")
_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "required": True,
    "description": "JSON, or an npz with an array for each input; then `variants`, `outputs` and `device` are query parameters",
    "content": {
        JSON: {"schema": {"$ref": "#/components/schemas/GraphRequest"}},
        **dict.fromkeys(NPZ, _BYTES),
    },
}


@dataclass(frozen=True)
class VariantOutputs:
    """One variant's run.

    Attributes:
        variant: which one.
        outputs: by name.
        milliseconds: in ONNX Runtime, without the way to the graph's process and back.
    """

    variant: VariantName
    outputs: dict[str, NDArray[Any]]
    milliseconds: float


@dataclass(frozen=True)
class GraphResult:
    """All variants' runs, and the milliseconds from the body to arrays."""

    model: LoadedGraph
    device: str
    runs: list[VariantOutputs]
    read_ms: float


@router.post(
    "/models/{model}/run",
    response_model=GraphResponse,
    summary="Run a graph with the original and the compressed model",
    responses={
        200: {
            "description": "JSON; to an npz an npz with arrays `<variant>/<output>`",
            "content": {NPZ[0]: _BYTES},
        },
        **{status: {"model": ProblemDocument} for status in (404, 409, 413, 415, 422, 503)},
    },
    openapi_extra={"requestBody": _BODY},
)
async def run(
    model: ModelName,
    request: Request,
    context: Context,
    variants: QueryVariants = [],  # noqa: B006 - the framework copies it
    outputs: QueryOutputs = [],  # noqa: B006
    device: QueryDevice = "cpu",
) -> Response:
    """Outputs by name by each variant, with what changed against the first one and the time of every stage."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != JSON and kind not in NPZ:
        description = f"'{kind}'" if kind else "none"
        raise RequestError(
            "unsupported-media-type",
            f"the content type is {description}; send {JSON}, or an npz as {NPZ[0]}",
        )
    if kind == JSON and request.query_params:
        raise RequestError(
            "invalid-request", "query parameters are for an npz; JSON holds everything in its body"
        )
    content, served = await request.body(), RunLabels()

    def work() -> GraphResult:
        began = time.perf_counter()
        if kind == JSON:
            asked = _parsed(content)
        else:
            asked = GraphRequest.model_construct(
                inputs=_single(content, context), variants=variants, outputs=outputs, device=device
            )
        return _answer(model, asked, context, served, began)

    answered, queue_ms = await context.inference.run(work, served)
    stages = {
        "queue": queue_ms,
        "read": answered.read_ms,
        "run": sum(each.milliseconds for each in answered.runs),
        **{f"run-{each.variant}": each.milliseconds for each in answered.runs},
    }
    if kind == JSON:
        return json_with_server_timing(_schema(answered, queue_ms, context), stages)
    began = time.perf_counter()
    body = _npz(answered, context)
    stages["serialize"] = 1e3 * (time.perf_counter() - began)
    return Response(body, media_type=NPZ[0], headers=server_timing(stages))


def _parsed(content: bytes) -> GraphRequest:
    try:
        return GraphRequest.model_validate_json(content)
    except ValidationError as error:
        raise refusal("body", error) from error


def _single(content: bytes, context: AppContext) -> NamedArrays:
    runs = read_runs(content, context.settings.array_bytes_limit)
    if len(runs) > 1:
        raise InputsRefused([f"the npz holds {len(runs)} runs; send one at a time"])
    return runs[0]


def _answer(
    name: str, asked: GraphRequest, context: AppContext, served: RunLabels, began: float
) -> GraphResult:
    model, settings = context.models.get(name, LoadedGraph), context.settings
    served.model = model.id
    names = asked.variants or model.default_variants(asked.device)
    graphs = context.models.processes(
        model, names, asked.device, settings.threads, settings.graph_memory_bytes
    )
    served.device, served.variants = asked.device, list(graphs)
    first = next(iter(graphs.values()))
    inputs, outputs = first.checked(asked.inputs), first.named(asked.outputs)
    read_ms = 1e3 * (time.perf_counter() - began)
    runs = []
    for variant, graph in graphs.items():
        found, milliseconds = graph.run(inputs, outputs)
        context.metrics.runs.labels(model.id, variant, asked.device).observe(milliseconds / 1e3)
        runs.append(VariantOutputs(variant, found, milliseconds))
    return GraphResult(model, asked.device, runs, read_ms)


def _schema(answered: GraphResult, queue_ms: float, context: AppContext) -> GraphResponse:
    entries = sum(array.size for each in answered.runs for array in each.outputs.values())
    if entries > context.settings.entries_limit:
        raise RequestError(
            "too-large",
            f"the answer would hold {entries:,} numbers; at most {context.settings.entries_limit:,} as JSON: name fewer "
            f"`outputs`, or send an npz, which is answered as one",
        )
    first = answered.runs[0]
    variants = []
    for each in answered.runs:
        lost = {name: _not_finite(array) for name, array in each.outputs.items()}
        variants.append(
            VariantRun(
                variant=each.variant,
                outputs={name: _listed(array) for name, array in each.outputs.items()},
                not_finite={name: count for name, count in lost.items() if count},
                change=None if each is first else _changes(each.outputs, first.outputs),
                speedup=None if each is first else first.milliseconds / each.milliseconds,
                timing=RunTimes(queue_ms=queue_ms, run_ms=each.milliseconds),
            )
        )
    manifest = answered.model.manifest
    return GraphResponse(
        model_id=answered.model.id, model=manifest.name, device=answered.device, variants=variants
    )


def _changes(
    found: Mapping[str, NDArray[Any]], first: Mapping[str, NDArray[Any]]
) -> dict[str, float | None]:
    changes: dict[str, float | None] = {}
    for name, wanted in first.items():
        if wanted.dtype.kind in "biuf":
            alike = found[name].shape == wanted.shape
            change = output_change([(found[name], wanted)]) if alike else np.inf
            changes[name] = change if np.isfinite(change) else None
    return changes


def _not_finite(array: NDArray[Any]) -> int:
    return int(array.size - np.isfinite(array).sum()) if array.dtype.kind == "f" else 0


def _listed(array: NDArray[Any]) -> Any:
    """Nested lists; JSON has no word for what is not finite."""
    if _not_finite(array):
        known = np.isfinite(array)
        array = array.astype(np.object_)
        array[~known] = None
    return array.tolist()


def _npz(answered: GraphResult, context: AppContext) -> bytes:
    arrays = {
        f"{each.variant}/{name}": array
        for each in answered.runs
        for name, array in each.outputs.items()
    }
    total, most = sum(array.nbytes for array in arrays.values()), context.settings.array_bytes_limit
    if total > most:
        raise RequestError(
            "too-large",
            f"the answer would take {total:,} bytes; at most {most:,}: name fewer `outputs`",
        )
    return dump_npz(arrays)

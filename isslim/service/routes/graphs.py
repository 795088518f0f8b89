"""`POST /models/{model}/run`: runs a graph with one or several variants."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import Request, Response
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.model import LoadedGraph
from isslim.runtime.graphs.recorded_inputs import GraphInterface, NamedArrays, read_runs
from isslim.runtime.graphs.subprocess_session import SubprocessGraphSession
from isslim.service.array_answers import check_bytes, check_entries, listed, not_finite
from isslim.service.array_trials import repeatable_run
from isslim.service.bodies import BodyLimits
from isslim.service.context import context_of
from isslim.service.parameters import TIMEOUT, ModelName, QueryDevice, QueryOutputs, QueryVariants
from isslim.service.problems import RequestError
from isslim.service.routing import checked_router, content_type, unsupported
from isslim.service.serving.batching import Job, Run
from isslim.service.serving.compare_variants import ComparedRun, Timed
from isslim.service.serving.runners import GraphRunner
from isslim.service.timing import json_with_server_timing, server_timing
from isslim.settings.service import ServiceSettings
from isslim.types.arrays import dump_npz
from isslim.types.manifest import VariantName
from isslim.types.quality import output_change
from isslim.types.schemas.graphs import GraphRequest, GraphResponse, RunTimes, VariantRun
from isslim.types.schemas.problems import ProblemDocument

router = checked_router(tag="score")
JSON, NPZ = "application/json", ("application/x-npz", "application/octet-stream")
_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "required": True,
    "description": "JSON, or an npz with an array for each input; then `variants`, `outputs` and "
    "`device` are query parameters",
    "content": {
        JSON: {"schema": {"$ref": "#/components/schemas/GraphRequest"}},
        **dict.fromkeys(NPZ, _BYTES),
    },
}


Outputs = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class GraphInputs:
    """Arrays of the graph's types, names of the outputs, and the milliseconds spent on them."""

    arrays: NamedArrays
    outputs: list[str]
    milliseconds: float


SMALL = 10_000
"""Numbers of an answer that is built at once; a larger one is built beside others."""
HINT = "; send them as an npz, of which larger ones are read"


@router.post(
    "/models/{model}/run",
    response_model=GraphResponse,
    summary="Run a graph with the original and the compressed model",
    responses={
        200: {
            "description": "JSON; to an npz an npz with arrays `<variant>/<output>`",
            "content": {NPZ[0]: _BYTES},
        },
        **{status: {"model": ProblemDocument} for status in (404, 409, 413, 415, 422, 503, 504)},
    },
    openapi_extra={"requestBody": _BODY} | TIMEOUT,
)
async def run_graph(
    model: ModelName,
    request: Request,
    variants: QueryVariants = [],  # noqa: B006 - the framework copies it
    outputs: QueryOutputs = [],  # noqa: B006
    device: QueryDevice = "cpu",
) -> Response:
    """Each variant's outputs by name, with their change against the first variant.

    The time of every stage stands beside them.
    """
    kind = _body_type(request)
    context, content = context_of(request), await request.body()
    settings = context.settings
    async with context.admission.admit(request, settings.run_seconds, "ISS_RUN_SECONDS") as ticket:
        if kind == JSON:
            limits = BodyLimits(settings.json_values_limit, {}, HINT)
            asked = await context.bodies.read(content, GraphRequest, limits)
            variants, outputs, device = asked.variants, asked.outputs, asked.device
        else:
            asked = None
        models = context.models

        async def opened() -> tuple[LoadedGraph, dict[VariantName, SubprocessGraphSession]]:
            loaded = await models.load(model, LoadedGraph, ticket)
            return loaded, await models.open_processes(loaded, variants, device, ticket)

        loaded, processes = await models.followed(ticket, opened)
        graph = next(iter(processes.values()))

        def encode() -> GraphInputs:
            return _encoded(content, asked, graph, outputs, settings)

        def run_one(process: SubprocessGraphSession, encoded: GraphInputs) -> Job[Timed[Outputs]]:
            runs = [Run(GraphRunner(process), (encoded.arrays, encoded.outputs), 1.0)]
            (done,) = yield runs
            return Timed(*done.output)

        encoded, runs = await context.variants.run(processes, encode, run_one, ticket, loaded)
        ticket.repeatable = repeatable_run(encoded.arrays, encoded.outputs, device)
    stages = {
        "queue": ticket.queue_ms,
        "read": encoded.milliseconds,
        "run": sum(each.run_ms for each in runs),
        **{f"run-{each.variant}": each.run_ms for each in runs},
    }
    if kind != JSON:
        return await run_in_threadpool(_npz, runs, stages, settings)
    arrays = [array for each in runs for array in each.result.values()]
    check_entries(
        arrays, settings, "name fewer `outputs`, or send an npz, which is answered as one"
    )

    def answer() -> Response:
        found = GraphResponse(
            model_id=loaded.id,
            model=loaded.manifest.name,
            device=device,
            variants=[_schema(each, runs[0], ticket.queue_ms) for each in runs],
        )
        return json_with_server_timing(found, stages)

    is_small = sum(array.size for array in arrays) <= SMALL
    return answer() if is_small else await run_in_threadpool(answer)


def _body_type(request: Request) -> str:
    """The form of the body.

    Raises:
        RequestError: (unsupported-media-type) when it is not supported; (invalid-request) when
            there are query parameters with JSON, which holds everything.
    """
    kind = content_type(request)
    if kind != JSON and kind not in NPZ:
        raise unsupported(request, f"{JSON}, or an npz as {NPZ[0]}")
    if kind == JSON and request.query_params:
        raise RequestError(
            "invalid-request", "query parameters are for an npz; JSON holds everything in its body"
        )
    return kind


def _encoded(
    content: bytes,
    asked: GraphRequest | None,
    graph: GraphInterface,
    outputs: Sequence[str],
    settings: ServiceSettings,
) -> GraphInputs:
    """The inputs of the run.

    Args:
        content: an npz; unused where JSON was read.
        asked: the JSON that was read; None if an npz was sent.
        graph: whose inputs they are.
        outputs: names of the requested ones; none for all.
        settings: the limits on their sizes.
    """
    began = time.perf_counter()
    given = _single(content, settings) if asked is None else asked.inputs
    arrays, wanted = graph.checked(given), graph.named(outputs)
    return GraphInputs(arrays, wanted, 1e3 * (time.perf_counter() - began))


def _single(content: bytes, settings: ServiceSettings) -> NamedArrays:
    runs = read_runs(content, settings.array_bytes_limit)
    if len(runs) > 1:
        raise InputsRefused([f"the npz holds {len(runs)} runs; send one at a time"])
    return runs[0]


def _schema(run: ComparedRun[Outputs], first: ComparedRun[Outputs], queue_ms: float) -> VariantRun:
    lost = {name: not_finite(array) for name, array in run.result.items()}
    return VariantRun(
        variant=run.variant,
        outputs={name: listed(array) for name, array in run.result.items()},
        not_finite={name: count for name, count in lost.items() if count},
        change=None if run is first else _changes(run.result, first.result),
        speedup=run.speedup,
        timing=RunTimes(queue_ms=queue_ms, run_ms=run.run_ms),
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


def _npz(
    runs: list[ComparedRun[Outputs]], stages: dict[str, float], settings: ServiceSettings
) -> Response:
    began = time.perf_counter()
    arrays = {
        f"{each.variant}/{name}": array for each in runs for name, array in each.result.items()
    }
    check_bytes(arrays.values(), settings)
    body = dump_npz(arrays)
    stages["serialize"] = 1e3 * (time.perf_counter() - began)
    return Response(body, media_type=NPZ[0], headers=server_timing(stages))

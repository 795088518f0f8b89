"""`/v2`: the Open Inference Protocol over HTTP, with tensors as JSON or bytes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from isslim import __version__
from isslim.service.bodies import BodyLimits
from isslim.service.context import Context, context_of
from isslim.service.inference_protocol.bodies import (
    BYTES_TYPE,
    HINT,
    answer_of,
    as_bytes,
    inputs_of,
    split_body,
)
from isslim.service.inference_protocol.descriptions import EXTENSIONS, index, metadata, statistics
from isslim.service.inference_protocol.inference import SETTING, open_graph, run_graph
from isslim.service.inference_protocol.messages import (
    IndexEntry,
    IndexRequest,
    InferenceRequest,
    InferenceResponse,
    ModelConfig,
    ModelLoaded,
    ModelMetadata,
    ModelReady,
    ModelUnloaded,
    ServerLive,
    ServerMetadata,
    ServerReady,
    Statistics,
)
from isslim.service.inference_protocol.parameters import TIMEOUT as TIMEOUT_PARAMETER
from isslim.service.inference_protocol.parameters import RunParameters
from isslim.service.model_reference import ModelReference
from isslim.service.parameters import TIMEOUT
from isslim.service.problems import RequestError, problem_of
from isslim.store.errors import StoreError

router = APIRouter(prefix="/v2", tags=["inference protocol"])
Name = Annotated[
    str,
    Path(
        description="id or name of a model, with `:<variant>` behind it if not its last one",
        examples=["demo", "demo:original"],
    ),
]
Version = Annotated[str, Path(description="name of a variant", examples=["compressed-int8"])]
SERVER, MODEL, VERSION = "", "/models/{model}", "/models/{model}/versions/{version}"
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {} for status in (400, 404, 409, 413, 415, 503, 504)
}
_UNKNOWN: dict[int | str, dict[str, Any]] = {status: {} for status in (400, 404, 409, 503)}
_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_RUN: dict[str, Any] = {
    "response_model": InferenceResponse,
    "responses": {
        200: {
            "description": "JSON; where bytes were asked for, they follow it",
            "content": {BYTES_TYPE: _BYTES},
        },
        **_REFUSALS,
    },
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "description": "JSON, whatever the content type says; bytes of tensors follow it where "
            "the header `Inference-Header-Content-Length` says how long it is",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/InferenceRequest"}},
                BYTES_TYPE: _BYTES,
            },
        },
        **TIMEOUT,
    },
}
_INDEX: dict[str, Any] = {
    "requestBody": {
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/IndexRequest"}}}
    }
}


@router.get("", summary="What this server is")
async def get_server() -> ServerMetadata:
    """Name, version, and which extensions of the protocol there are."""
    return ServerMetadata(name="isslim", version=__version__, extensions=EXTENSIONS)


@router.get("/health/live", summary="The server lives")
async def get_live() -> ServerLive:
    """Always true."""
    return ServerLive()


@router.get(
    "/health/ready",
    summary="The server can answer",
    response_model=ServerReady,
    responses={503: {}},
)
def get_ready(context: Context) -> ServerReady | Response:
    """As `/health/ready`: database, storage and keys can be read."""
    try:
        context.check_readable()
    except (StoreError, RequestError) as error:
        problem = problem_of(error)
        body = {"ready": False, "live": True, "error": problem.detail}
        return JSONResponse(body, 503, {"retry-after": "1"})
    return ServerReady()


@router.get("/models/stats", summary="Statistics of all variants that ran")
def get_all_stats(context: Context) -> Statistics:
    """Since the service started, with the runs of its other routes."""
    return Statistics(model_stats=statistics(context, None))


@router.get(f"{MODEL}/stats", summary="Statistics of a model", responses=_UNKNOWN)
def get_model_stats(model: Name, context: Context) -> Statistics:
    """As of all, for each variant of a model."""
    return Statistics(model_stats=statistics(context, ModelReference.parse(model)))


@router.get(f"{VERSION}/stats", summary="Statistics of a variant", responses=_UNKNOWN)
def get_version_stats(model: Name, version: Version, context: Context) -> Statistics:
    """As of all, for one variant."""
    return Statistics(model_stats=statistics(context, ModelReference.parse(model, version)))


@router.get(f"{MODEL}/ready", summary="A model can answer", responses=_UNKNOWN)
def get_model_ready(model: Name, context: Context) -> ModelReady:
    """True for every model that is whole: its first request loads it."""
    return _ready(context, ModelReference.parse(model))


@router.get(f"{VERSION}/ready", summary="A variant can answer", responses=_UNKNOWN)
def get_version_ready(model: Name, version: Version, context: Context) -> ModelReady:
    """True for every variant of a model that is whole."""
    return _ready(context, ModelReference.parse(model, version))


def _ready(context: Context, reference: ModelReference) -> ModelReady:
    _, manifest = context.models.manifest(reference.model)
    reference.variant_of(manifest)
    return ModelReady(name=reference.model)


@router.get(f"{MODEL}/config", summary="A model's configuration", responses=_UNKNOWN)
def get_model_config(model: Name, context: Context) -> ModelConfig:
    """What load generators ask for."""
    return ModelConfig(name=_ready(context, ModelReference.parse(model)).name)


@router.get(f"{VERSION}/config", summary="A variant's configuration", responses=_UNKNOWN)
def get_version_config(model: Name, version: Version, context: Context) -> ModelConfig:
    """What load generators ask for."""
    return ModelConfig(name=_ready(context, ModelReference.parse(model, version)).name)


@router.get(MODEL, summary="A model's inputs and outputs", responses=_UNKNOWN)
async def get_model_metadata(model: Name, request: Request) -> ModelMetadata:
    """Of its last variant; the model is loaded if necessary."""
    return await _metadata(request, ModelReference.parse(model))


@router.get(VERSION, summary="A variant's inputs and outputs", responses=_UNKNOWN)
async def get_version_metadata(model: Name, version: Version, request: Request) -> ModelMetadata:
    """The model is loaded if necessary."""
    return await _metadata(request, ModelReference.parse(model, version))


async def _metadata(request: Request, reference: ModelReference) -> ModelMetadata:
    context = context_of(request)
    async with context.admission.admit(request, context.settings.run_seconds, SETTING) as ticket:
        return metadata(reference, await open_graph(context, reference, ticket))


@router.post(f"{MODEL}/infer", summary="Run a model's graph on tensors", **_RUN)
async def infer_model(model: Name, request: Request) -> Response:
    """Runs the last variant of a model of any kind on all inputs of its graph, as they are."""
    return await _infer(request, ModelReference.parse(model))


@router.post(f"{VERSION}/infer", summary="Run a variant's graph on tensors", **_RUN)
async def infer_version(model: Name, version: Version, request: Request) -> Response:
    """As without a version, for one variant."""
    return await _infer(request, ModelReference.parse(model, version))


async def _infer(request: Request, reference: ModelReference) -> Response:
    context = context_of(request)
    settings = context.settings
    await request.body()
    async with context.admission.admit(request, settings.run_seconds, SETTING) as ticket:
        body = await split_body(request, request.app.state.run_limit)
        limits = BodyLimits(settings.json_values_limit, {}, HINT)
        asked = await context.bodies.read(body.header, InferenceRequest, limits)
        parameters = RunParameters.of(asked.parameters)
        if parameters.seconds is not None:
            ticket.end_within(parameters.seconds, TIMEOUT_PARAMETER)
        wanted = [each.name for each in asked.outputs or []]
        as_bytes(asked, wanted, parameters.binary)  # refused before anything is run
        opened = await open_graph(context, reference, ticket, parameters.device)
        found = await run_graph(
            context,
            opened,
            lambda: inputs_of(asked, body.tail, settings.json_values_limit),
            wanted,
            ticket,
        )
    binary = as_bytes(asked, list(found.outputs), parameters.binary)
    return await run_in_threadpool(answer_of, reference.model, asked.id, found, binary, settings)


@router.post(
    "/repository/index",
    summary="All models and their variants",
    openapi_extra=_INDEX,
    responses={400: {}},
)
async def list_repository(request: Request) -> list[IndexEntry]:
    """Damaged ones are not available, for the reason that they name."""
    context = context_of(request)
    content = await request.body()
    limits = BodyLimits(1, {})
    asked = await context.bodies.read(content or b"{}", IndexRequest, limits)
    found = await run_in_threadpool(index, context)
    return [each for each in found if each.state == "READY" or not asked.ready]


@router.post("/repository/models/{model}/load", summary="Load a model", responses=_UNKNOWN)
async def load_model(model: Name, request: Request) -> ModelLoaded:
    """Opens and warms its last variant, or the one that is named, before its first request."""
    context, reference = context_of(request), ModelReference.parse(model)
    async with context.admission.admit(request, context.settings.run_seconds, SETTING) as ticket:
        await open_graph(context, reference, ticket)
    return ModelLoaded(name=model)


@router.post(
    "/repository/models/{model}/unload", summary="Remove a model from memory", responses=_UNKNOWN
)
def unload_model(model: Name, context: Context) -> ModelUnloaded:
    """With all of its variants, once their runs have ended; its next request loads it again."""
    context.unload(ModelReference.parse(model).model)
    return ModelUnloaded(name=model)

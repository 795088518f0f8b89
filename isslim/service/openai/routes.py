"""The paths of the protocol, for all models and below the address of one.

A request below `/models/{model}/` is about this model, whatever its body names: clients that send
no model with their questions about tokenizers have a base address for each.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.sse import format_sse_event
from starlette.concurrency import run_in_threadpool

from isslim.service.context import Context
from isslim.service.error_shapes import completion_error
from isslim.service.live import EventSender, LiveResponse
from isslim.service.openai.completions import complete
from isslim.service.openai.models import describe, describe_variants, list_variants
from isslim.service.openai.tokenizing import detokenize, tokenize, tokenizer_info
from isslim.service.openapi import body_of
from isslim.service.parameters import TIMEOUT
from isslim.types.schemas.completions import (
    Completion,
    CompletionRequest,
    DetokenizeRequest,
    DetokenizeResponse,
    Model,
    ModelList,
    TokenizeRequest,
    TokenizeResponse,
    TokenizerInfo,
)
from isslim.types.schemas.problems import ProblemDocument

_FAULTS: dict[int | str, dict[str, Any]] = {
    status: {} for status in (400, 401, 404, 413, 415, 429, 500, 503, 504)
}
ModelId = Annotated[
    str,
    Path(
        description="name or id of a model, and behind a colon of its variant",
        examples=["demo:original"],
    ),
]
router = APIRouter(tags=["openai"], responses=_FAULTS)
of_model = APIRouter(prefix="/models/{model}", include_in_schema=False)
"""The same paths for one model; `http.path_params` names it."""


@router.get("/v1/models", summary="All variants of language models")
@of_model.get("/v1/models")
async def list_completion_models(http: Request, context: Context) -> ModelList:
    """Ids for `model`, of the newest model first."""
    named = http.path_params.get("model")
    if named is None:
        return await run_in_threadpool(list_variants, context)
    return ModelList(data=await run_in_threadpool(describe_variants, context, named))


@router.get("/v1/models/{model_id}", summary="One variant of a language model")
@of_model.get("/v1/models/{model_id}")
async def get_completion_model(model_id: ModelId, context: Context) -> Model:
    """By the name that a completion has for it."""
    return await run_in_threadpool(describe, context, model_id)


@router.post(
    "/v1/completions",
    response_model=Completion,
    summary="Scores texts, or goes on with them",
    responses={
        200: {
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
            "description": "With `stream`: a `Completion` for each token as it comes, for the end "
            "of each text, and for `usage`; then `[DONE]`. Fields without a meaning are named in "
            "the header `x-isslim-ignored`.",
        }
    },
    openapi_extra=body_of(CompletionRequest) | TIMEOUT,
)
@of_model.post("/v1/completions")
async def create_completion(http: Request) -> Response:
    """As the OpenAI API has it, for clients that speak it."""

    async def answer(events: EventSender) -> Response | None:
        return await complete(http, events)

    return LiveResponse(answer, _fault)


def _fault(problem: ProblemDocument) -> bytes:
    return format_sse_event(data_str=completion_error(problem).body.model_dump_json())


@router.get("/tokenizer_info", summary="Special tokens of a model")
@of_model.get("/tokenizer_info")
async def get_tokenizer_info(http: Request) -> TokenizerInfo:
    """Of the model in the address, of `ISS_DEFAULT_MODEL`, or of the only language model."""
    return await tokenizer_info(http)


@router.post(
    "/tokenize", summary="Token ids of a text", openapi_extra=body_of(TokenizeRequest) | TIMEOUT
)
@of_model.post("/tokenize")
async def tokenize_text(http: Request) -> TokenizeResponse:
    """Of any text: without tokens, of unknown words, or a special token alone."""
    return await tokenize(http)


@router.post(
    "/detokenize", summary="Text of token ids", openapi_extra=body_of(DetokenizeRequest) | TIMEOUT
)
@of_model.post("/detokenize")
async def detokenize_ids(http: Request) -> DetokenizeResponse:
    """Words joined by spaces, characters and subwords as they are."""
    return await detokenize(http)

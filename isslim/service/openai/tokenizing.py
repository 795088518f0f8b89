"""`/tokenize`, `/detokenize` and `/tokenizer_info`: what lm-evaluation-harness asks besides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fastapi import Request

from isslim.runtime.language.session import check_range
from isslim.runtime.language.text import TextCodec
from isslim.service.bodies import ROOM, BodyLimits, json_content
from isslim.service.context import context_of
from isslim.service.openai.models import load_tokenizer
from isslim.service.problems import RequestError
from isslim.service.serving.batching import Job
from isslim.service.uploads import refuse_long
from isslim.types.schemas.completions import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeRequest,
    TokenizeResponse,
    TokenizerInfo,
)

SETTING = "ISS_SCORE_SECONDS"


async def tokenizer_info(http: Request) -> TokenizerInfo:
    """The special tokens of the model that a request names."""
    context = context_of(http)
    async with context.admission.admit(http, context.settings.score_seconds, SETTING) as ticket:
        model = await load_tokenizer(context, http, "", ticket)
    start = model.codec.contract.start_token
    return TokenizerInfo(eos_token=start, bos_token=start)


async def tokenize(http: Request) -> TokenizeResponse:
    """The token ids of a text, which may hold none, or unknown ones alone."""
    context, content = context_of(http), await json_content(http)
    settings = context.settings
    async with context.admission.admit(http, settings.score_seconds, SETTING) as ticket:
        request = await context.bodies.read(content, TokenizeRequest, BodyLimits(ROOM, {}))
        refuse_long([request.prompt], settings)
        model = await load_tokenizer(context, http, request.model, ticket)
        ids = await context.executor.submit(_tokenized(request, model.codec), ticket, model)
    if len(ids) > settings.tokens_limit:
        raise RequestError("too-large", f"{len(ids):,} tokens; at most {settings.tokens_limit:,}")
    return TokenizeResponse(tokens=ids, count=len(ids), max_model_len=settings.tokens_limit)


async def detokenize(http: Request) -> DetokenizeResponse:
    """The text of token ids."""
    context, content = context_of(http), await json_content(http)
    settings = context.settings
    async with context.admission.admit(http, settings.score_seconds, SETTING) as ticket:
        limits = BodyLimits(settings.tokens_limit + ROOM, {})
        request = await context.bodies.read(content, DetokenizeRequest, limits)
        model = await load_tokenizer(context, http, request.model, ticket)
        job = _detokenized(request.tokens, model.codec)
        text = await context.executor.submit(job, ticket, model)
    return DetokenizeResponse(prompt=text)


def _tokenized(request: TokenizeRequest, codec: TextCodec) -> Job[list[int]]:
    yield from ()  # it needs no run
    special = codec.special_id(request.prompt)
    ids = codec.tokenize(request.prompt) if special is None else [special]
    start = [codec.start_id] if request.add_special_tokens and codec.start_id is not None else []
    return start + ids


def _detokenized(ids: Sequence[int], codec: TextCodec) -> Job[str]:
    yield from ()  # it needs no run
    if ids:
        check_range(np.asarray(ids, np.int64), codec.contract.vocabulary)
    return codec.decode(ids)

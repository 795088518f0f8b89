"""`POST /score`: texts by one variant, or by several side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.language.scoring import SequenceScore, score_batch
from isslim.runtime.language.text import TextCodec
from isslim.service.context import AppContext, context_of
from isslim.service.problems import RequestError
from isslim.service.serving.executor import RunLabels
from isslim.service.timing import json_with_server_timing
from isslim.service.uploads import refuse_long
from isslim.settings.service import ServiceSettings
from isslim.types.schemas.problems import ProblemDocument
from isslim.types.schemas.scores import (
    ScoreRequest,
    ScoreResponse,
    TextScore,
    Timing,
    TokenScore,
    TopToken,
    VariantScore,
)

router = APIRouter(tags=["score"])


@router.post(
    "/score",
    response_model=ScoreResponse,
    summary="Score texts with the original and the compressed model",
    responses={status: {"model": ProblemDocument} for status in (400, 404, 409, 413, 422, 503)},
)
async def score(request: ScoreRequest, http: Request) -> Response:
    """Log-probabilities and perplexity of each text by each variant, with the time of every stage."""
    served, context = RunLabels(), context_of(http)
    (answer, tokenize_ms), queue_ms = await context.inference.run(
        lambda: _score(request, context, served), served
    )
    for variant in answer.variants:
        variant.timing.queue_ms = queue_ms
    run_ms = sum(variant.timing.run_ms for variant in answer.variants)
    return json_with_server_timing(
        answer, {"queue": queue_ms, "tokenize": tokenize_ms, "run": run_ms}
    )


def _score(
    request: ScoreRequest, context: AppContext, served: RunLabels
) -> tuple[ScoreResponse, float]:
    if (request.texts is None) == (request.token_ids is None):
        raise RequestError("invalid-request", "send either `texts` or `token_ids`")
    given: Sequence[object] = (
        request.texts if request.texts is not None else request.token_ids or []
    )
    if len(given) > context.settings.texts_limit:
        raise RequestError(
            "too-large",
            f"{len(given)} texts; at most {context.settings.texts_limit} in one request",
        )
    model = context.models.get(request.model, LoadedLanguageModel)
    served.model = model.id
    began = time.perf_counter()
    sequences = _sequences(request, model.codec, context.settings)
    tokenize_ms = 1e3 * (time.perf_counter() - began)
    results: list[VariantScore] = []
    names = request.variants or model.default_variants(request.device)
    entries = (
        len(names) * sum(map(len, sequences)) * (1 + request.top_k) if request.per_token else 0
    )
    if entries > context.settings.entries_limit:
        raise RequestError(
            "too-large",
            f"the answer would hold {entries:,} log-probabilities; at most {context.settings.entries_limit:,}",
        )
    sessions = context.models.sessions(model, names, request.device, context.settings.threads)
    served.device, served.variants = request.device, list(sessions)
    for name, session in sessions.items():
        began = time.perf_counter()
        scores = score_batch(
            session,
            sequences,
            model.codec.start_id,
            top_k=request.top_k if request.per_token else 0,
        )
        seconds = time.perf_counter() - began
        context.metrics.runs.labels(model.id, name, request.device).observe(seconds)
        timing = Timing(queue_ms=0.0, tokenize_ms=tokenize_ms, run_ms=1e3 * seconds)
        speedup = results[0].timing.run_ms / timing.run_ms if results else None
        results.append(
            VariantScore(
                variant=name,
                texts=[
                    _text(each, ids, model.codec, request.per_token)
                    for each, ids in zip(scores, sequences, strict=True)
                ],
                perplexity=_overall(scores),
                speedup=speedup,
                timing=timing,
            )
        )
    answer = ScoreResponse(
        model_id=model.id, model=model.manifest.name, device=request.device, variants=results
    )
    return answer, tokenize_ms


def _sequences(
    request: ScoreRequest, codec: TextCodec, settings: ServiceSettings
) -> list[list[int]]:
    if request.texts is not None:
        refuse_long(request.texts, settings)
        sequences = [codec.encode(text) for text in request.texts]
    else:
        sequences = request.token_ids or []
        empty = [index for index, ids in enumerate(sequences) if not ids]
        if empty:
            raise RequestError("invalid-request", f"token_ids: sequence {empty[0]} is empty")
    total = sum(map(len, sequences))
    if total > settings.tokens_limit:
        raise RequestError(
            "too-large", f"{total:,} tokens; at most {settings.tokens_limit:,} in one request"
        )
    return sequences


def _overall(scores: list[SequenceScore]) -> float | None:
    counted = sum(each.counted for each in scores)
    return math.exp(min(700.0, -sum(each.total for each in scores) / counted)) if counted else None


def _text(score: SequenceScore, ids: list[int], codec: TextCodec, per_token: bool) -> TextScore:
    tokens = None
    if per_token:
        tokens = [
            TokenScore(
                token=codec.token(token),
                id=token,
                log_prob=None if math.isnan(log_prob) else float(log_prob),
                top=[TopToken(token=codec.token(i), id=i, log_prob=p) for i, p in (top or [])],
            )
            for token, log_prob, top in zip(
                ids, score.log_probs, score.top or [None] * len(ids), strict=True
            )
        ]
    return TextScore(
        log_prob=score.total,
        counted=score.counted,
        perplexity=score.perplexity,
        unknown=0 if codec.unknown_id is None else ids.count(codec.unknown_id),
        tokens=tokens,
    )

"""`POST /qa`: questions to contexts, answered by one variant, or by several side by side."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request, Response

from isslim.runtime.errors import TextRefused
from isslim.runtime.questions.answering import (
    AnswerResult,
    TokenizedQuestion,
    answer,
    encode_question,
    tokenize_question,
)
from isslim.runtime.questions.model import LoadedQuestionModel
from isslim.service.context import AppContext, context_of
from isslim.service.problems import RequestError
from isslim.service.serving.executor import RunLabels
from isslim.service.timing import json_with_server_timing
from isslim.service.uploads import refuse_long
from isslim.types.schemas.problems import ProblemDocument
from isslim.types.schemas.questions import (
    AnswerSpan,
    QuestionAnswer,
    QuestionInput,
    QuestionRequest,
    QuestionResponse,
    StageTimes,
    VariantAnswers,
)

router = APIRouter(tags=["score"])


@router.post(
    "/qa",
    response_model=QuestionResponse,
    summary="Answer questions with the original and the compressed model",
    responses={status: {"model": ProblemDocument} for status in (400, 404, 409, 413, 422, 503)},
)
async def qa(request: QuestionRequest, http: Request) -> Response:
    """The best spans of each context by each variant, with the time of every stage."""
    served, context = RunLabels(), context_of(http)
    (response, tokenize_ms), queue_ms = await context.inference.run(
        lambda: _answer_all(request, context, served), served
    )
    for variant in response.variants:
        variant.timing.queue_ms = queue_ms
    stages = {
        "queue": queue_ms,
        "tokenize": tokenize_ms,
        "run": sum(variant.timing.run_ms for variant in response.variants),
        "search": sum(variant.timing.search_ms for variant in response.variants),
    }
    return json_with_server_timing(response, stages)


def _answer_all(
    request: QuestionRequest, context: AppContext, served: RunLabels
) -> tuple[QuestionResponse, float]:
    pairs = request.pairs()
    if len(pairs) > context.settings.texts_limit:
        raise RequestError(
            "too-large",
            f"{len(pairs)} questions; at most {context.settings.texts_limit} in one request",
        )
    refuse_long(
        [text for pair in pairs for text in (pair.question, pair.context)], context.settings
    )
    model = context.models.get(request.model, LoadedQuestionModel)
    served.model = model.id
    asked = [_tokens(pair, index) for index, pair in enumerate(pairs)]
    _check_lengths(asked, context)
    readings = [encode_question(model.codec, each) for each in asked]
    tokenize_ms = sum(reading.milliseconds for reading in readings)
    results: list[VariantAnswers] = []
    names = request.variants or model.default_variants(request.device)
    sessions = context.models.sessions(model, names, request.device, context.settings.threads)
    served.device, served.variants = request.device, list(sessions)
    for name in names:
        began = time.perf_counter()
        found = [
            answer(
                sessions[name],
                each,
                top_k=request.top_k,
                max_answer_tokens=request.max_answer_tokens,
            )
            for each in readings
        ]
        context.metrics.runs.labels(model.id, name, request.device).observe(
            time.perf_counter() - began
        )
        timing = StageTimes(
            queue_ms=0.0,
            tokenize_ms=tokenize_ms,
            run_ms=sum(each.run_ms for each in found),
            search_ms=sum(each.search_ms for each in found),
        )
        results.append(
            VariantAnswers(
                variant=name,
                answers=[
                    _schema(each, len(reading.windows))
                    for each, reading in zip(found, readings, strict=True)
                ],
                speedup=results[0].timing.run_ms / timing.run_ms if results else None,
                timing=timing,
            )
        )
    response = QuestionResponse(
        model_id=model.id, model=model.manifest.name, device=request.device, variants=results
    )
    return response, tokenize_ms


def _tokens(pair: QuestionInput, index: int) -> TokenizedQuestion:
    try:
        return tokenize_question(pair.question, pair.context)
    except TextRefused as refused:
        raise TextRefused(f"question {index}: {refused.detail}") from refused


def _check_lengths(asked: list[TokenizedQuestion], context: AppContext) -> None:
    """Refuses what would run for minutes, before any array is made of it."""
    longest = max(len(each.question) for each in asked)
    if longest > context.settings.question_tokens_limit:
        raise RequestError(
            "too-large",
            f"a question of {longest:,} tokens; at most {context.settings.question_tokens_limit:,}",
        )
    total = sum(len(each.spans) for each in asked)
    if total > context.settings.context_tokens_limit:
        raise RequestError(
            "too-large",
            f"contexts of {total:,} tokens; at most {context.settings.context_tokens_limit:,} in one request",
        )


def _schema(found: AnswerResult, windows: int) -> QuestionAnswer:
    spans = [
        AnswerSpan(answer=a.text, score=a.score, start=a.start, end=a.end) for a in found.answers
    ]
    return QuestionAnswer(**spans[0].model_dump(), top_k=spans, windows=windows)

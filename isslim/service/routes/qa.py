"""`POST /qa`: answers questions about contexts with one or several variants."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from fastapi import Request, Response

from isslim.runtime.errors import TextRefused
from isslim.runtime.questions.answering import (
    AnswerResult,
    EncodedQuestion,
    TokenizedQuestion,
    best_answers,
    encode_question,
    tokenize_question,
)
from isslim.runtime.questions.model import LoadedQuestionModel
from isslim.runtime.questions.question_tokenizer import PassageCodec
from isslim.runtime.questions.session import QuestionSession
from isslim.service.bodies import ROOM, BodyLimits, json_content
from isslim.service.context import context_of
from isslim.service.openapi import body_of
from isslim.service.parameters import TIMEOUT
from isslim.service.problems import RequestError
from isslim.service.routing import checked_router
from isslim.service.serving.batching import Job
from isslim.service.serving.compare_variants import ComparedRun, Timed
from isslim.service.serving.repeatable import Outcome, Repeatable
from isslim.service.serving.runners import score_windows
from isslim.service.timing import json_with_server_timing
from isslim.service.uploads import refuse_long
from isslim.settings.service import ServiceSettings
from isslim.types.manifest import VariantName
from isslim.types.schemas.problems import ProblemDocument
from isslim.types.schemas.questions import (
    QUESTIONS,
    AnswerSpan,
    QuestionAnswer,
    QuestionInput,
    QuestionRequest,
    QuestionResponse,
    StageTimes,
    VariantAnswers,
)

router = checked_router(tag="score")


@dataclass(frozen=True)
class Answered:
    """One variant's answers to all questions.

    Attributes:
        answers: in the order of the request.
        search_ms: milliseconds of finding the best spans, all questions together.
    """

    answers: list[QuestionAnswer]
    search_ms: float


@router.post(
    "/qa",
    response_model=QuestionResponse,
    summary="Answer questions with the original and the compressed model",
    responses={
        status: {"model": ProblemDocument} for status in (400, 404, 409, 413, 415, 422, 503, 504)
    },
    openapi_extra=body_of(QuestionRequest) | TIMEOUT,
)
async def answer_questions(http: Request) -> Response:
    """The best spans of each context by each variant, with the time of every stage."""
    context, content = context_of(http), await json_content(http)
    settings = context.settings
    async with context.admission.admit(http, settings.qa_seconds, "ISS_QA_SECONDS") as ticket:
        request = await context.bodies.read(content, QuestionRequest, _limits(settings))
        models, variants, device = context.models, request.variants, request.device

        async def opened() -> tuple[LoadedQuestionModel, dict[VariantName, QuestionSession]]:
            model = await models.load(request.model, LoadedQuestionModel, ticket)
            return model, await models.open(model, variants, device, ticket)

        model, sessions = await models.followed(ticket, opened)
        ticket.repeatable = Repeatable(
            LoadedQuestionModel, request.device, partial(_outcome, request, settings)
        )

        def encode() -> list[EncodedQuestion]:
            return _encoded(request.pairs(), model.codec, settings)

        def run(session: QuestionSession, encoded: list[EncodedQuestion]) -> Job[Timed[Answered]]:
            return _answered(session, encoded, request)

        encoded, runs = await context.variants.run(sessions, encode, run, ticket, model)
    tokenize_ms = sum(each.milliseconds for each in encoded)
    response = QuestionResponse(
        model_id=model.id,
        model=model.manifest.name,
        device=request.device,
        variants=[_schema(each, ticket.queue_ms, tokenize_ms) for each in runs],
    )
    stages = {
        "queue": ticket.queue_ms,
        "tokenize": tokenize_ms,
        "run": sum(each.run_ms for each in runs),
        "search": sum(each.result.search_ms for each in runs),
    }
    return json_with_server_timing(response, stages)


def _limits(settings: ServiceSettings) -> BodyLimits:
    return BodyLimits(4 * settings.texts_limit + ROOM, {QUESTIONS: settings.texts_limit})


def _encoded(
    pairs: list[QuestionInput], codec: PassageCodec, settings: ServiceSettings
) -> list[EncodedQuestion]:
    """The arrays of every question, once all of them are known to be short enough."""
    refuse_long([text for pair in pairs for text in (pair.question, pair.context)], settings)
    asked = [_tokens(pair, index) for index, pair in enumerate(pairs)]
    _check_lengths(asked, settings)
    return [encode_question(codec, each) for each in asked]


def _tokens(pair: QuestionInput, index: int) -> TokenizedQuestion:
    try:
        return tokenize_question(pair.question, pair.context)
    except TextRefused as refused:
        raise TextRefused(f"question {index}: {refused.detail}") from refused


def _check_lengths(asked: list[TokenizedQuestion], settings: ServiceSettings) -> None:
    """Refuses questions that would run for minutes, before any array is made."""
    longest = max(len(each.question) for each in asked)
    if longest > settings.question_tokens_limit:
        raise RequestError(
            "too-large",
            f"a question of {longest:,} tokens; at most {settings.question_tokens_limit:,}",
        )
    total = sum(len(each.spans) for each in asked)
    if total > settings.context_tokens_limit:
        raise RequestError(
            "too-large",
            f"contexts of {total:,} tokens; at most {settings.context_tokens_limit:,} in one "
            "request",
        )


def _answered(
    session: QuestionSession, encoded: list[EncodedQuestion], request: QuestionRequest
) -> Job[Timed[Answered]]:
    limits = {"top_k": request.top_k, "max_answer_tokens": request.max_answer_tokens}
    scored = yield from score_windows(session, encoded)
    found = [
        best_answers(asked, scores, 1e3 * seconds, **limits)
        for asked, (scores, seconds) in zip(encoded, scored, strict=True)
    ]
    answers = [
        _answer(each, len(asked.windows)) for each, asked in zip(found, encoded, strict=True)
    ]
    search_ms = sum(each.search_ms for each in found)
    return Timed(Answered(answers, search_ms), sum(each.run_ms for each in found))


def _outcome(
    request: QuestionRequest,
    settings: ServiceSettings,
    model: LoadedQuestionModel,
    session: QuestionSession,
) -> Job[Outcome]:
    """Answers questions for a comparison of models."""
    encoded = _encoded(request.pairs(), model.codec, settings)
    timed = yield from _answered(session, encoded, request)
    spans = tuple((each.start, each.end) for each in timed.result.answers)
    return Outcome(log_prob=None, decisions=spans, run_ms=timed.run_ms)


def _answer(found: AnswerResult, windows: int) -> QuestionAnswer:
    spans = [
        AnswerSpan(answer=a.text, score=a.score, start=a.start, end=a.end) for a in found.answers
    ]
    return QuestionAnswer(**spans[0].model_dump(), top_k=spans, windows=windows)


def _schema(run: ComparedRun[Answered], queue_ms: float, tokenize_ms: float) -> VariantAnswers:
    return VariantAnswers(
        variant=run.variant,
        answers=run.result.answers,
        speedup=run.speedup,
        timing=StageTimes(
            queue_ms=queue_ms,
            tokenize_ms=tokenize_ms,
            run_ms=run.run_ms,
            search_ms=run.result.search_ms,
        ),
    )

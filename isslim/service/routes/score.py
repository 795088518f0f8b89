"""`POST /score`: scores texts with one or several variants."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fastapi import Request, Response
from pydantic import TypeAdapter

from isslim.runtime.language.sampling import random_seed
from isslim.runtime.language.scoring import SequenceScore
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.language.text import TextCodec
from isslim.service.bodies import ROOM, BodyLimits, json_content
from isslim.service.context import context_of
from isslim.service.openapi import body_of
from isslim.service.parameters import TIMEOUT
from isslim.service.problems import RequestError
from isslim.service.routing import checked_router
from isslim.service.serving.batching import Job
from isslim.service.serving.compare_variants import ComparedRun, Timed
from isslim.service.serving.continuing import open_to_go_on
from isslim.service.serving.generation import Prompt, read_prompt
from isslim.service.serving.runners import score_sequences
from isslim.service.serving.signed_states import KeptText
from isslim.service.text_trials import repeatable_texts, sequences_of
from isslim.service.timing import json_response
from isslim.settings.service import ServiceSettings
from isslim.types.manifest import VariantName
from isslim.types.schemas.problems import ProblemDocument
from isslim.types.schemas.scores import (
    TEXTS,
    ScoreRequest,
    ScoreResponse,
    TextScore,
    Timing,
    TokenScore,
    TopToken,
    VariantScore,
)

router = checked_router(tag="score")
TOKENS_AT_ONCE = 500
"""Serialised together; each may have 50 likely tokens beside it."""
_TOKENS, _NO_TOKENS = TypeAdapter(list[TokenScore]), b'"tokens":[]'


@dataclass(frozen=True)
class EncodedTexts:
    """Token ids of each text, and the milliseconds that they took."""

    sequences: list[list[int]]
    milliseconds: float


@dataclass(frozen=True)
class ScoredTexts:
    """One variant's scores of all texts.

    Attributes:
        texts: in the order of the request, without their tokens.
        tokens: of each text as JSON; empty where they were not requested.
        perplexity: over all texts together.
        stands: where the only text stands, where that is to be known.
    """

    texts: list[TextScore]
    tokens: list[bytes]
    perplexity: float | None
    stands: KeptText | None = None


@router.post(
    "/score",
    response_model=ScoreResponse,
    summary="Score texts with the original and the compressed model",
    responses={
        status: {"model": ProblemDocument} for status in (400, 404, 409, 413, 415, 422, 503, 504)
    },
    openapi_extra=body_of(ScoreRequest) | TIMEOUT,
)
async def score_texts(http: Request) -> Response:
    """Log-probabilities and perplexity of each text by each variant, and every stage's time."""
    context, content = context_of(http), await json_content(http)
    settings = context.settings
    async with context.admission.admit(http, settings.score_seconds, "ISS_SCORE_SECONDS") as ticket:
        request = await context.bodies.read(content, ScoreRequest, _limits(settings))
        given = _given(request)
        before = context.states.open(request.state)
        model, sessions = await open_to_go_on(context.models, request, before, ticket)
        kept = {sessions[each]: text for each, text in before.texts.items() if each in sessions}
        seed = random_seed() if request.return_state else 0
        if not kept:  # another model cannot go on with a state
            ticket.repeatable = repeatable_texts(given, request.device, settings)

        def encode() -> EncodedTexts:
            encoded = _encoded(given, model.codec, settings)
            _check_entries(len(sessions), encoded.sequences, request, settings)
            return encoded

        def run(session: LanguageSession, encoded: EncodedTexts) -> Job[Timed[ScoredTexts]]:
            if request.return_state or kept:
                return _read_on(session, encoded.sequences, model.codec, request, kept, seed)
            return _scored(session, encoded.sequences, model.codec, request)

        encoded, runs = await context.variants.run(sessions, encode, run, ticket, model)
    tokens = sum(map(len, encoded.sequences))
    for variant in sessions:
        context.metrics.note_tokens(ticket.name, variant, tokens, "scored")
    answer = ScoreResponse(
        model_id=model.id,
        model=model.manifest.name,
        device=request.device,
        variants=[_schema(each, ticket.queue_ms, encoded.milliseconds) for each in runs],
        state=context.states.sign(model.id, _stands(runs)) if request.return_state else None,
    )
    began = time.perf_counter()
    body = _with_tokens(answer.model_dump_json().encode(), [each.result.tokens for each in runs])
    stages = {
        "queue": ticket.queue_ms,
        "tokenize": encoded.milliseconds,
        "run": sum(each.run_ms for each in runs),
        "serialize": 1e3 * (time.perf_counter() - began),
    }
    return json_response(body, stages)


def _limits(settings: ServiceSettings) -> BodyLimits:
    return BodyLimits(settings.tokens_limit + ROOM, {TEXTS: settings.texts_limit})


def _given(request: ScoreRequest) -> list[str] | list[list[int]]:
    """The texts, or the sequences of token ids.

    Raises:
        RequestError: (invalid-request) when there are both or neither.
    """
    if (request.texts is None) == (request.token_ids is None):
        raise RequestError("invalid-request", "send either `texts` or `token_ids`")
    given = request.texts if request.texts is not None else request.token_ids or []
    if (request.return_state or request.state is not None) and len(given) != 1:
        detail = f"a state is of one text, and {len(given)} were sent"
        raise RequestError("invalid-request", detail, [{"pointer": "/body", "detail": detail}])
    return given


def _encoded(
    given: list[str] | list[list[int]], codec: TextCodec, settings: ServiceSettings
) -> EncodedTexts:
    began = time.perf_counter()
    sequences = sequences_of(given, codec, settings)
    return EncodedTexts(sequences, 1e3 * (time.perf_counter() - began))


def _check_entries(
    variants: int, sequences: list[list[int]], request: ScoreRequest, settings: ServiceSettings
) -> None:
    """Refuses an answer that would be too long, before anything is run."""
    if not request.per_token:
        return
    entries = variants * sum(map(len, sequences)) * (1 + request.top_k)
    if entries > settings.entries_limit:
        raise RequestError(
            "too-large",
            f"the answer would hold {entries:,} log-probabilities; at most "
            f"{settings.entries_limit:,}",
        )


def _scored(
    session: LanguageSession, sequences: list[list[int]], codec: TextCodec, request: ScoreRequest
) -> Job[Timed[ScoredTexts]]:
    top_k = request.top_k if request.per_token else 0
    scores, seconds = yield from score_sequences(session, sequences, codec.start_id, top_k)
    return Timed(_texts(scores, sequences, codec, request), 1e3 * seconds)


def _read_on(
    session: LanguageSession,
    sequences: list[list[int]],
    codec: TextCodec,
    request: ScoreRequest,
    kept: Mapping[LanguageSession, KeptText],
    seed: int,
) -> Job[Timed[ScoredTexts]]:
    """Scores one text from its beginning, or from where it stands, to where it stands then."""
    before, (ids,) = kept.get(session), sequences
    prompt = (
        Prompt.after_start(ids, session, codec) if before is None else Prompt(ids, before.position)
    )
    read = yield from read_prompt(session, prompt, request.top_k if request.per_token else 0)
    stands = (
        KeptText(read.position, seed, 0)
        if before is None
        else replace(before, position=read.position)
    )
    found = replace(_texts([read.scores], sequences, codec, request), stands=stands)
    return Timed(found, 1e3 * read.seconds)


def _stands(runs: list[ComparedRun[ScoredTexts]]) -> dict[VariantName, KeptText]:
    """Where the only text stands, by variant."""
    return {each.variant: each.result.stands for each in runs if each.result.stands is not None}


def _texts(
    scores: list[SequenceScore],
    sequences: list[list[int]],
    codec: TextCodec,
    request: ScoreRequest,
) -> ScoredTexts:
    texts = [
        _text(each, ids, codec, request.per_token)
        for each, ids in zip(scores, sequences, strict=True)
    ]
    tokens = [
        _tokens(each, ids, codec)
        for each, ids in zip(scores, sequences, strict=True)
        if request.per_token
    ]
    return ScoredTexts(texts, tokens, _overall(scores))


def _schema(run: ComparedRun[ScoredTexts], queue_ms: float, tokenize_ms: float) -> VariantScore:
    return VariantScore(
        variant=run.variant,
        texts=run.result.texts,
        perplexity=run.result.perplexity,
        speedup=run.speedup,
        timing=Timing(queue_ms=queue_ms, tokenize_ms=tokenize_ms, run_ms=run.run_ms),
    )


def _overall(scores: list[SequenceScore]) -> float | None:
    """Perplexity over all texts together; None when nothing was counted."""
    counted = sum(each.counted for each in scores)
    return math.exp(min(700.0, -sum(each.total for each in scores) / counted)) if counted else None


def _text(score: SequenceScore, ids: list[int], codec: TextCodec, per_token: bool) -> TextScore:
    return TextScore(
        log_prob=score.total,
        counted=score.counted,
        perplexity=score.perplexity,
        unknown=0 if codec.unknown_id is None else ids.count(codec.unknown_id),
        tokens=[] if per_token else None,
    )


def _tokens(score: SequenceScore, ids: list[int], codec: TextCodec) -> bytes:
    """The tokens of a text as a list in JSON, some at a time.

    All at once they would be many objects, whose serialisation lets nothing else be done.
    """
    tops, parts = score.top or [None] * len(ids), list[bytes]()
    for first in range(0, len(ids), TOKENS_AT_ONCE):
        some = slice(first, first + TOKENS_AT_ONCE)
        tokens = [
            TokenScore(
                token=codec.token(token),
                id=token,
                log_prob=None if math.isnan(log_prob) else float(log_prob),
                top=[TopToken(token=codec.token(i), id=i, log_prob=p) for i, p in (top or [])],
            )
            for token, log_prob, top in zip(
                ids[some], score.log_probs[some], tops[some], strict=True
            )
        ]
        parts.append(_TOKENS.dump_json(tokens)[1:-1])
    return b"[" + b",".join(parts) + b"]"


def _with_tokens(body: bytes, tokens: list[list[bytes]]) -> list[bytes]:
    """The parts of an answer with the tokens of its texts in the place of the empty lists.

    Args:
        body: the answer as JSON, in which quotes of texts are escaped.
        tokens: of each variant and text.
    """
    lists = [each for texts in tokens for each in texts]
    first, *rest = body.split(_NO_TOKENS)
    parts = [first]
    for each, after in zip(lists, rest, strict=True):
        parts += [_NO_TOKENS[:-2], each, after]
    return parts

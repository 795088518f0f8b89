"""`POST /generate`: texts that the variants add to one prompt, side by side from one seed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fastapi import Request, Response
from fastapi.sse import format_sse_event
from pydantic import BaseModel

from isslim.runtime.language.completion import Completion, Ends, Written
from isslim.runtime.language.generation import TokenStream
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.language.sampling import Sampler, Sampling, random_seed
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.language.text import TextCodec
from isslim.service.bodies import ROOM, BodyLimits, json_content
from isslim.service.context import AppContext, context_of
from isslim.service.live import EventSender, LiveResponse
from isslim.service.openapi import body_of
from isslim.service.parameters import TIMEOUT
from isslim.service.problems import RequestError
from isslim.service.routing import checked_router
from isslim.service.serving.admission import Ticket
from isslim.service.serving.batching import Job
from isslim.service.serving.continuing import open_to_go_on
from isslim.service.serving.generation import (
    Prompt,
    Writing,
    check_generated,
    read_prompt,
    write,
)
from isslim.service.serving.run_spans import RunSpans
from isslim.service.serving.signed_states import KeptText
from isslim.service.text_trials import repeatable_texts
from isslim.service.timing import json_with_server_timing
from isslim.service.uploads import refuse_long
from isslim.settings.service import ServiceSettings
from isslim.types.manifest import VariantName
from isslim.types.schemas.generation import (
    GeneratedText,
    GeneratedToken,
    GenerateRequest,
    GenerateResponse,
    GenerateTiming,
    TokenEvent,
)
from isslim.types.schemas.problems import ProblemDocument
from isslim.types.schemas.scores import TopToken

router = checked_router(tag="generate")


@dataclass
class _Text:
    """The text of one variant, as it grows.

    Attributes:
        variant: which one.
        writing: draws its tokens.
        prompt_ms: milliseconds that reading the prompt took.
        pieces: of the text.
        tokens: for the answer.
    """

    variant: VariantName
    writing: Writing
    prompt_ms: float
    pieces: list[str] = field(default_factory=list)
    tokens: list[GeneratedToken] = field(default_factory=list)


@dataclass(frozen=True)
class _Begun:
    """All texts behind their prompt.

    Attributes:
        texts: in the order of the answer.
        seed: of all.
        prompt_tokens: how many the prompt has.
        tokenize_ms: milliseconds that they took.
    """

    texts: list[_Text]
    seed: int
    prompt_tokens: int
    tokenize_ms: float


@router.post(
    "/generate",
    response_model=GenerateResponse,
    summary="Continue a text with the original and the compressed model",
    responses={
        200: {
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
            "description": "With `stream`: an event `token` (`TokenEvent`) for each token as it "
            "comes, and an event `result` (`GenerateResponse`, without tokens) at the end. Where "
            "it fails on the way, an event `problem` (`ProblemDocument`) is the last one.",
        },
        **{
            status: {"model": ProblemDocument}
            for status in (400, 404, 409, 413, 415, 422, 503, 504)
        },
    },
    openapi_extra=body_of(GenerateRequest) | TIMEOUT,
)
async def generate_texts(http: Request) -> Response:
    """Text that each variant adds to a prompt, drawn from its own probabilities.

    All variants have the same random numbers: where their texts part, the models differ. With
    `return_state` the answer says where the texts stand, and a later request with that `state` goes
    on from there.
    """

    async def answer(events: EventSender) -> Response | None:
        return await _answer(http, events)

    return LiveResponse(answer, lambda problem: _event("problem", problem))


async def _answer(http: Request, events: EventSender) -> Response | None:
    context, content = context_of(http), await json_content(http)
    settings = context.settings
    async with context.admission.admit(
        http, settings.generate_seconds, "ISS_GENERATE_SECONDS"
    ) as ticket:
        limits = BodyLimits(settings.tokens_limit + ROOM, {})
        request = await context.bodies.read(content, GenerateRequest, limits)
        before = context.states.open(request.state)
        model, sessions = await open_to_go_on(context.models, request, before, ticket)
        spans = RunSpans(ticket.model)
        job = _begun(sessions, model.codec, request, before.texts, settings, spans)
        begun = await context.executor.submit(job, ticket, model)
        writings = [each.writing for each in begun.texts]
        async for index, written in write(writings, context.executor, ticket, model):
            text = begun.texts[index]
            tokens = [_token(each, model.codec, request) for each in written]
            text.pieces += [each.text for each in tokens]
            if not request.stream:
                text.tokens += tokens
            elif tokens:
                await events.send(_token_events(tokens, text.variant))
        result = _result(context, model, request, begun, ticket)
        if request.state is None:  # another model cannot go on with a state
            texts = _whole(request, begun)
            ticket.repeatable = repeatable_texts(texts, request.device, settings)
        if request.stream:
            await events.send(_event("result", result))
            return None
    timing = result.variants[0].timing
    run_ms = sum(each.timing.prompt_ms + each.timing.run_ms for each in result.variants)
    stages = {"queue": timing.queue_ms, "tokenize": timing.tokenize_ms, "run": run_ms}
    return json_with_server_timing(result, stages)


def _whole(request: GenerateRequest, begun: _Begun) -> list[str]:
    """The texts with their prompts, as far as there is any."""
    texts = [request.prompt + "".join(each.pieces) for each in begun.texts]
    return [each for each in texts if each]


def _begun(
    sessions: Mapping[VariantName, LanguageSession],
    codec: TextCodec,
    request: GenerateRequest,
    kept: Mapping[VariantName, KeptText],
    settings: ServiceSettings,
    spans: RunSpans,
) -> Job[_Begun]:
    """Reads the prompt with every variant."""
    spans.begin()
    began = time.perf_counter()
    with spans.step("tokenize"):
        refuse_long([request.prompt], settings)
        ids = codec.encode(request.prompt) if request.prompt else []
    tokenize_ms = 1e3 * (time.perf_counter() - began)
    _check(len(ids), len(sessions), request, settings)
    sampling = Sampling(request.temperature, request.top_p, request.top_k)
    ends = Ends(request.max_tokens, tuple(request.stop), codec.end_id)
    first = next(iter(kept.values()), None)
    seed = request.seed
    if seed is None:
        seed = random_seed() if first is None else first.seed
    is_repeatable = request.seed is not None or request.state is not None or sampling.greedy
    texts = []
    for variant, session in sessions.items():
        before = kept.get(variant)
        prompt = (
            Prompt.after_start(ids, session, codec)
            if before is None
            else Prompt(ids, before.position)
        )
        with spans.step(f"run {variant}"):
            read = yield from read_prompt(session, prompt)
        drawn = 0 if before is None or request.seed is not None else before.drawn
        sampler = Sampler(sampling, seed, drawn)
        stream = TokenStream(read.position, sampler, request.log_probs or 0)
        text = Writing(session, Completion(stream, codec, ends), is_repeatable)
        texts.append(_Text(variant, text, 1e3 * read.seconds))
    return _Begun(texts, seed, len(ids), tokenize_ms)


def _check(prompt: int, variants: int, request: GenerateRequest, settings: ServiceSettings) -> None:
    """Refuses what would be too much, before anything is run."""
    if prompt > settings.tokens_limit:
        raise RequestError(
            "too-large", f"{prompt:,} tokens; at most {settings.tokens_limit:,} in one request"
        )
    check_generated(variants * request.max_tokens, 1 + (request.log_probs or 0), settings)


def _token(written: Written, codec: TextCodec, request: GenerateRequest) -> GeneratedToken:
    drawn = written.drawn
    return GeneratedToken(
        token=codec.token(drawn.id),
        id=drawn.id,
        text=written.text,
        log_prob=None if request.log_probs is None else drawn.log_prob,
        top=[TopToken(token=codec.token(i), id=i, log_prob=p) for i, p in drawn.top],
    )


def _token_events(tokens: Sequence[GeneratedToken], variant: VariantName) -> bytes:
    return b"".join(_event("token", TokenEvent(**dict(each), variant=variant)) for each in tokens)


def _event(name: str, data: BaseModel) -> bytes:
    return format_sse_event(data_str=data.model_dump_json(), event=name)


def _result(
    context: AppContext,
    model: LoadedLanguageModel,
    request: GenerateRequest,
    begun: _Begun,
    ticket: Ticket,
) -> GenerateResponse:
    """The whole answer; the times are recorded too."""
    texts: list[GeneratedText] = []
    for each in begun.texts:
        completion, run_ms = each.writing.completion, 1e3 * each.writing.seconds
        context.metrics.note_texts(
            ticket.labels,
            each.variant,
            (each.prompt_ms + run_ms) / 1e3,
            scored=begun.prompt_tokens,
            generated=completion.drawn,
        )
        timing = GenerateTiming(
            queue_ms=ticket.queue_ms,
            tokenize_ms=begun.tokenize_ms,
            prompt_ms=each.prompt_ms,
            run_ms=run_ms,
            token_ms=run_ms / completion.drawn if completion.drawn else None,
        )
        first = texts[0].timing.token_ms if texts else None
        texts.append(
            GeneratedText(
                variant=each.variant,
                text="".join(each.pieces),
                finish_reason=completion.finish_reason or "length",
                prompt_tokens=begun.prompt_tokens,
                drawn=completion.drawn,
                tokens=each.tokens,
                speedup=first / timing.token_ms if first and timing.token_ms else None,
                timing=timing,
            )
        )
    state = None
    if request.return_state:
        kept = {each.variant: KeptText.of(each.writing.completion.stream) for each in begun.texts}
        state = context.states.sign(model.id, kept)
    return GenerateResponse(
        model_id=model.id,
        model=model.manifest.name,
        device=request.device,
        seed=begun.seed,
        variants=texts,
        state=state,
    )

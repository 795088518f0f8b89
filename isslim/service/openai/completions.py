"""`POST /v1/completions`: prompts that one variant scores, continues, or both."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request, Response
from fastapi.sse import format_sse_event

from isslim.runtime.language.completion import Completion as Continuation
from isslim.runtime.language.completion import Ends, FinishReason, Written
from isslim.runtime.language.detokenizing import Detokenizer
from isslim.runtime.language.generation import TokenStream
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.language.sampling import SEEDS, Sampler, Sampling, random_seed
from isslim.runtime.language.scoring import Top
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.language.text import TextCodec
from isslim.service.bodies import ROOM, BodyLimits, json_content
from isslim.service.context import context_of
from isslim.service.live import EventSender
from isslim.service.model_reference import ModelReference
from isslim.service.openai.models import named_model
from isslim.service.problems import RequestError
from isslim.service.serving.batching import Job
from isslim.service.serving.generation import (
    Prompt,
    ReadPrompt,
    Writing,
    check_generated,
    read_prompt,
    write,
)
from isslim.service.serving.run_spans import RunSpans
from isslim.service.text_trials import Given, repeatable_texts
from isslim.service.uploads import refuse_long
from isslim.settings.service import ServiceSettings
from isslim.types.manifest import VariantName
from isslim.types.schemas.completions import (
    Choice,
    Completion,
    CompletionRequest,
    LogProbs,
    Usage,
)

DONE = b"data: [DONE]\n\n"
IGNORED_HEADER, MAX_IGNORED = "x-isslim-ignored", 1000


@dataclass
class Text:
    """A text of the answer, as it grows.

    Attributes:
        codec: of its tokens.
        logprobs: how many most likely tokens are returned in each place; None: no
            log-probabilities at all.
        pieces: of the text.
        length: of them all, in characters.
        found: log-probabilities so far.
    """

    codec: TextCodec
    logprobs: int | None
    pieces: list[str] = field(default_factory=list)
    length: int = 0
    found: LogProbs = field(default_factory=LogProbs.empty)

    def add(self, token_id: int, piece: str, log_prob: float, top: Top | None) -> None:
        """Adds a token.

        Args:
            token_id: its id.
            piece: what it adds to the text.
            log_prob: of the token; NaN: it was given.
            top: the most likely tokens in its place.
        """
        self.pieces.append(piece)
        self.length += len(piece)
        if self.logprobs is None:
            return
        token = self.codec.token(token_id)
        # A word's own place is behind the space that its piece brings.
        begins = len(token) if piece.endswith(token) else len(piece)
        self.found.tokens.append(token)
        self.found.token_logprobs.append(None if math.isnan(log_prob) else log_prob)
        self.found.text_offset.append(self.length - begins)
        if self.logprobs and self.found.top_logprobs is not None:
            named = None if top is None else {self.codec.token(i): p for i, p in top}
            self.found.top_logprobs.append(named)

    def take(self, index: int, finish_reason: FinishReason | None = None) -> Choice:
        """What was added since the last call.

        Args:
            index: of the text in the answer.
            finish_reason: None: it goes on.
        """
        found = None
        if self.logprobs is not None:
            found, self.found = self.found, LogProbs.empty()
            if not self.logprobs:
                found.top_logprobs = None
        text, self.pieces = "".join(self.pieces), []
        return Choice(index=index, text=text, finish_reason=finish_reason, logprobs=found)


@dataclass
class _Begun:
    """All texts behind their prompts, which are a part of them where they are echoed.

    Attributes:
        texts: prompt by prompt.
        writings: of the same.
        prompts: of the same, as they were given.
        written: tokens of the same, so far.
        prompt_tokens: of all prompts.
        seconds: that these took.
    """

    texts: list[Text] = field(default_factory=list)
    prompts: list[str | list[int]] = field(default_factory=list)
    written: list[list[Written]] = field(default_factory=list)
    writings: list[Writing] = field(default_factory=list)
    prompt_tokens: int = 0
    seconds: float = 0.0

    def final(self, index: int) -> Choice:
        """What is left of a text, with the reason why it ended."""
        return self.texts[index].take(index, self.writings[index].completion.finish_reason)

    def whole(self) -> Given:
        """The texts with their prompts; all of these are texts, or token ids."""
        found: list[Any] = []
        for prompt, written in zip(self.prompts, self.written, strict=True):
            if isinstance(prompt, str):
                found.append(prompt + "".join(each.text for each in written))
            else:
                found.append([*prompt, *(each.drawn.id for each in written)])
        return [each for each in found if each]

    @property
    def drawn(self) -> int:
        """How many tokens were written."""
        return sum(each.completion.drawn for each in self.writings)

    def usage(self) -> Usage:
        """How many tokens there were."""
        total = self.prompt_tokens + self.drawn
        return Usage(
            prompt_tokens=self.prompt_tokens, completion_tokens=self.drawn, total_tokens=total
        )


async def complete(http: Request, events: EventSender) -> Response | None:
    """Answers a request, or sends the answer as events.

    Args:
        http: the request.
        events: sends a stream, where one is asked for.
    """
    context, content = context_of(http), await json_content(http)
    settings = context.settings
    async with context.admission.admit(
        http, settings.generate_seconds, "ISS_GENERATE_SECONDS"
    ) as ticket:
        limits = BodyLimits(settings.tokens_limit + ROOM, {})
        request = await context.bodies.read(content, CompletionRequest, limits)
        named = named_model(http, request.model)
        if not named:
            raise refusal("model", "it is needed: the name of a model, as /v1/models lists them")
        reference = ModelReference.parse(named)
        models = context.models

        async def opened() -> tuple[LoadedLanguageModel, dict[VariantName, LanguageSession]]:
            model = await models.load(reference.model, LoadedLanguageModel, ticket)
            variant = reference.variant_of(model.manifest, ticket.variant)
            return model, await models.open(model, [variant], "cpu", ticket)

        model, sessions = await models.followed(ticket, opened)
        ((variant, session),) = sessions.items()
        job = _begun(session, model.codec, request, settings, RunSpans(ticket.model))
        begun = await context.executor.submit(job, ticket, model)
        answer = Completion(
            id=f"cmpl-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=named,
            system_fingerprint=model.id,
            choices=[],
        )
        headers = _ignored(request)
        stream = _Stream(events, answer, headers) if request.stream else None
        if stream is not None:
            await stream.begin(begun, request)
        async for index, written in write(begun.writings, context.executor, ticket, model):
            text, choices = begun.texts[index], list[Choice]()
            begun.written[index] += written
            for each in written:
                drawn = each.drawn
                text.add(drawn.id, each.text, drawn.log_prob, drawn.top)
                if stream is not None:
                    choices.append(text.take(index))
            if stream is not None:
                if begun.writings[index].completion.finish_reason is not None:
                    choices.append(begun.final(index))
                await stream.send(choices)
        seconds = begun.seconds + sum(each.seconds for each in begun.writings)
        context.metrics.note_texts(
            ticket.labels, variant, seconds, scored=begun.prompt_tokens, generated=begun.drawn
        )
        ticket.repeatable = repeatable_texts(begun.whole(), "cpu", settings)
        if stream is not None:
            await stream.end(begun.usage() if request.stream_options.include_usage else None)
            return None
    answer.choices = [begun.final(index) for index in range(len(begun.texts))]
    answer.usage = begun.usage()
    return Response(answer.model_dump_json(), headers=headers, media_type="application/json")


def _begun(
    session: LanguageSession,
    codec: TextCodec,
    request: CompletionRequest,
    settings: ServiceSettings,
    spans: RunSpans,
) -> Job[_Begun]:
    """Reads the prompts, each once."""
    spans.begin()
    is_scoring = request.echo and request.logprobs is not None
    with spans.step("tokenize"):
        refuse_long([each for each in request.prompts if isinstance(each, str)], settings)
        ids = [codec.tokenize(each) if isinstance(each, str) else each for each in request.prompts]
    _check(request, ids, settings)
    ends = Ends(request.max_tokens, request.stops, codec.end_id)
    if is_scoring:
        ends = Ends(request.max_tokens)
    sampling = Sampling(request.temperature, request.top_p, max(0, request.top_k))
    is_repeatable = request.seed is not None or sampling.greedy
    seed = random_seed() if request.seed is None else request.seed
    begun, top_k = _Begun(), request.logprobs or 0
    for given, tokens in zip(request.prompts, ids, strict=True):
        make = Prompt.after_start if isinstance(given, str) else Prompt.of_ids
        prompt = make(tokens, session, codec)
        with spans.step("run prompt"):
            read = yield from read_prompt(session, prompt, top_k if is_scoring else 0)
        begun.prompt_tokens += len(tokens)
        begun.seconds += read.seconds
        for number in range(request.n):
            text = Text(codec, request.logprobs)
            if request.echo:
                _echo(text, tokens, read)
            stream = TokenStream(read.position, Sampler(sampling, (seed + number) % SEEDS), top_k)
            begun.texts.append(text)
            begun.prompts.append(given)
            begun.written.append([])
            continuation = Continuation(stream, codec, ends)
            begun.writings.append(Writing(session, continuation, is_repeatable))
    return begun


def _check(
    request: CompletionRequest, ids: Sequence[Sequence[int]], settings: ServiceSettings
) -> None:
    """Refuses what would be too much, before anything is run."""
    if request.max_tokens == 0 and not request.echo:
        raise refusal("max_tokens", "0 tokens are an answer only with `echo`")
    total, texts = sum(map(len, ids)), len(ids) * request.n
    entries = (
        total * (1 + (request.logprobs or 0)) * (request.echo and request.logprobs is not None)
    )
    for number, most, what in (
        (texts, settings.texts_limit, "texts"),
        (total, settings.tokens_limit, "tokens"),
        (entries * request.n, settings.entries_limit, "log-probabilities"),
    ):
        if number > most:
            raise RequestError(
                "too-large",
                f"the prompts ask for {number:,} {what}; at most {most:,} in one request",
                [{"pointer": "/body/prompt", "detail": "it is too long"}],
            )
    check_generated(texts * request.max_tokens, 1 + (request.logprobs or 0), settings)


def _echo(text: Text, ids: Sequence[int], read: ReadPrompt) -> None:
    """Begins a text with its prompt."""
    pieces = Detokenizer(text.codec)
    tops = read.scores.top or [None] * len(ids)
    for token, log_prob, top in zip(ids, read.scores.log_probs.tolist(), tops, strict=True):
        text.add(token, pieces.add(token), log_prob, top)


def refusal(name: str, detail: str) -> RequestError:
    """What is wrong with one field.

    Args:
        name: of the field.
        detail: what is wrong.
    """
    issue = {"pointer": f"/body/{name}", "detail": detail}
    return RequestError("invalid-request", f"{name}: {detail}", [issue])


def _ignored(request: CompletionRequest) -> dict[str, str]:
    """The header that names the fields without a meaning here."""
    names = ", ".join(json.dumps(each)[1:-1] for each in request.ignored)
    return {IGNORED_HEADER: names[:MAX_IGNORED]} if names else {}


class _Stream:
    """An answer as events, a token each.

    Args:
        events: sends them.
        answer: what all of them have in common.
        headers: of the answer.
    """

    def __init__(self, events: EventSender, answer: Completion, headers: dict[str, str]) -> None:
        self._events, self._answer = events, answer
        events.headers.update(headers)

    async def begin(self, begun: _Begun, request: CompletionRequest) -> None:
        """Sends the prompts that are echoed, and the ends of texts that have no more.

        Args:
            begun: the texts.
            request: says whether prompts are echoed.
        """
        choices = list[Choice]()
        for index, (text, writing) in enumerate(zip(begun.texts, begun.writings, strict=True)):
            if request.echo:
                choices.append(text.take(index))
            if writing.completion.finish_reason is not None:
                choices.append(begun.final(index))
        await self.send(choices)

    async def send(self, choices: Sequence[Choice]) -> None:
        """Sends an event for each, and waits until the connection has room for more."""
        if choices:
            parts = (self._answer.model_copy(update={"choices": [each]}) for each in choices)
            await self._events.send(b"".join(map(_event, parts)))

    async def end(self, usage: Usage | None) -> None:
        """Sends how many tokens there were, if that was asked for, and the end."""
        last = b""
        if usage is not None:
            last = _event(self._answer.model_copy(update={"choices": [], "usage": usage}))
        await self._events.send(last + DONE)


def _event(part: Completion) -> bytes:
    return format_sse_event(data_str=part.model_dump_json())

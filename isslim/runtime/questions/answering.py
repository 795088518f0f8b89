"""Answers questions: text to tokens, runs, and the best spans of the context, each stage timed.

A context longer than a window is read in windows that overlap by half, each a run of its own. The
logits of every token come from the window in which it is farther from an edge, and one softmax is
taken over all of them: a score is a probability over the whole context whatever the number of
windows, no span occurs twice, and a span may cross from one window to the next. (Probabilities
normalised within each window would not be comparable: a window without the answer must put its
whole probability somewhere. The logits are, in that the same weights and bias computed them.)

Questions are run one at a time, so that an answer never depends on the rest of the request, even in
an int8 graph.

Legend: T tokens of a context.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isslim.runtime.errors import TextRefused
from isslim.runtime.questions.question_tokenizer import PassageCodec, token_spans
from isslim.runtime.questions.session import QuestionSession, SpanScores, TokenBatch
from isslim.runtime.questions.spans import best_spans
from isslim.types.schemas.questions import MAX_ANSWER_TOKENS

WINDOW_TOKENS, STRIDE_TOKENS = 400, 200
"""Most tokens of a window: training used no longer contexts."""


@dataclass(frozen=True)
class TokenizedQuestion:
    """A question and its context as tokens.

    Attributes:
        context: as given.
        spans: start (inclusive) and end (exclusive) in characters of each of the context's tokens;
            at least one token.
        question: the question's tokens, at least one.
        milliseconds: duration of the tokenization.
    """

    context: str
    spans: list[tuple[int, int]]
    question: list[str]
    milliseconds: float


@dataclass(frozen=True)
class EncodedQuestion:
    """A question and its context as arrays: encoded once, for all variants.

    Attributes:
        tokenized: the tokens that were encoded.
        question: the question, a batch of one.
        windows: first token and arrays of every window, in order.
        milliseconds: duration of tokenization and encoding.
    """

    tokenized: TokenizedQuestion
    question: TokenBatch
    windows: list[tuple[int, TokenBatch]]
    milliseconds: float


@dataclass(frozen=True)
class Answer:
    """A span of the context.

    Attributes:
        text: `context[start:end]`.
        score: P(start) P(end), 0 to 1.
        start: its first character's index in the context.
        end: the index behind its last character.
    """

    text: str
    score: float
    start: int
    end: int


@dataclass(frozen=True)
class AnswerResult:
    """A variant's answers to one question.

    Attributes:
        answers: best first, no span twice.
        run_ms: milliseconds in ONNX Runtime, all windows.
        search_ms: milliseconds of joining the windows and finding the spans.
    """

    answers: list[Answer]
    run_ms: float
    search_ms: float


def tokenize_question(question: str, context: str) -> TokenizedQuestion:
    """Tokens of a question and its context; the caller may still refuse them as too many.

    Args:
        question: any text.
        context: the text that is searched for the answer.

    Raises:
        TextRefused: when the question or the context holds no token.
    """
    began = time.perf_counter()
    spans, words = token_spans(context), _words(question, token_spans(question))
    for what, found in (("question", words), ("context", spans)):
        if not found:
            raise TextRefused(f"the {what} holds no token")
    return TokenizedQuestion(context, spans, words, 1e3 * (time.perf_counter() - began))


def encode_question(
    codec: PassageCodec,
    asked: TokenizedQuestion,
    *,
    window: int = WINDOW_TOKENS,
    stride: int = STRIDE_TOKENS,
) -> EncodedQuestion:
    """The arrays of a question and its context.

    Args:
        codec: of the bundle.
        asked: see `tokenize_question`.
        window: most tokens of one run.
        stride: tokens between the beginnings of two windows, 1 to `window`.
    """
    began = time.perf_counter()
    vectors, characters = codec.encode(_words(asked.context, asked.spans))
    windows = [
        (
            first,
            TokenBatch.of_one(vectors[first : first + window], characters[first : first + window]),
        )
        for first in window_starts(len(asked.spans), window, stride)
    ]
    question = TokenBatch.of_one(*codec.encode(asked.question))
    return EncodedQuestion(
        asked, question, windows, asked.milliseconds + 1e3 * (time.perf_counter() - began)
    )


def answer(
    session: QuestionSession,
    reading: EncodedQuestion,
    *,
    top_k: int = 1,
    max_answer_tokens: int = MAX_ANSWER_TOKENS,
) -> AnswerResult:
    """The best answers of a variant.

    Args:
        session: the variant.
        reading: see `encode_question`.
        top_k: how many, 1 or more; fewer are returned when the context has fewer spans.
        max_answer_tokens: of one answer, 1 or more.
    """
    began = time.perf_counter()
    scores = [session.run(side, reading.question) for _, side in reading.windows]
    run_ms = 1e3 * (time.perf_counter() - began)
    return best_answers(reading, scores, run_ms, top_k=top_k, max_answer_tokens=max_answer_tokens)


def best_answers(
    reading: EncodedQuestion,
    scores: Sequence[SpanScores],
    run_ms: float,
    *,
    top_k: int = 1,
    max_answer_tokens: int = MAX_ANSWER_TOKENS,
) -> AnswerResult:
    """The best answers, from what a variant gave for each window.

    Args:
        reading: see `encode_question`.
        scores: of each window, a batch of one.
        run_ms: milliseconds that they took.
        top_k: see `answer`.
        max_answer_tokens: see `answer`.
    """
    began = time.perf_counter()
    firsts = [first for first, _ in reading.windows]
    starts = join_windows(
        firsts, [(each.start_log_probs[0], float(each.start_totals[0])) for each in scores]
    )
    ends = join_windows(
        firsts, [(each.end_log_probs[0], float(each.end_totals[0])) for each in scores]
    )
    places, answers = reading.tokenized.spans, []
    for span in best_spans(starts, ends, max_tokens=max_answer_tokens, top_k=top_k):
        first, behind = places[span.start][0], places[span.end][1]
        answers.append(
            Answer(reading.tokenized.context[first:behind], math.exp(span.log_prob), first, behind)
        )
    return AnswerResult(answers, run_ms, 1e3 * (time.perf_counter() - began))


def _words(text: str, spans: list[tuple[int, int]]) -> list[str]:
    return [text[start:end] for start, end in spans]


def window_starts(tokens: int, window: int, stride: int) -> list[int]:
    """First tokens of the windows; the last window is moved back so that it is full.

    Args:
        tokens: of the context.
        window: tokens of one window.
        stride: from one window's first token to the next one's.
    """
    last = max(0, tokens - window)
    return [*range(0, last, stride), last]


def join_windows(
    firsts: list[int], windows: list[tuple[NDArray[np.float32], float]]
) -> NDArray[np.float64]:
    """Log-probabilities over the whole context.

    Args:
        firsts: first token of each window, ascending; together they hold every token.
        windows: log-probabilities and total of each (see `isslim/runtime/contract.py`).

    Returns:
        float64 (T,); for a single window its own log-probabilities.
    """
    if len(windows) == 1:
        return windows[0][0].astype(np.float64)
    ends = [first + len(log_probs) for first, (log_probs, _) in zip(firsts, windows, strict=True)]
    # The middle of an overlap is the border between one window and the next.
    borders = [
        0,
        *((first + end) // 2 for first, end in zip(firsts[1:], ends[:-1], strict=True)),
        ends[-1],
    ]
    logits = np.concatenate(
        [
            log_probs[begin - first : end - first].astype(np.float64) + total
            for first, (log_probs, total), begin, end in zip(
                firsts, windows, borders[:-1], borders[1:], strict=True
            )
        ]
    )
    largest = logits.max()
    whole: NDArray[np.float64] = logits - (largest + np.log(np.exp(logits - largest).sum()))
    return whole

"""Scores token sequences of any length: state carried over chunks, bounded memory, exact padding.

Sequences are sorted by length and batched; one that ends leaves the batch with its state.
An int8 graph is run one sequence at a time: its quantization scales span a whole run, and an answer
must not depend on other sequences.

Legend: B batch, T steps, V vocabulary, N tokens of a sequence, K most likely tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from isslim.runtime.language.session import NOWHERE, Integers, LanguageSession, State, check_range

CHUNK_STEPS = 64
RUN_BYTES = 32 << 20
"""Memory limit for the log-probabilities of one run, (T, B, V) float32."""
ONE_STREAM, MIN_PIECE, MAX_PIECES = 20_000, 2_000, 16
WARM_TOKENS = 128
"""Tokens read before a piece of a long text. On Penn Treebank, 2 x 400 units, the perplexity of
pieces equals that of one stream to 0.01 %."""

Top = list[tuple[int, float]]
_FIRST: Integers = np.zeros((1, 2), np.int64)


@dataclass(frozen=True)
class SequenceScore:
    """Natural log-probabilities of a sequence's tokens.

    Attributes:
        log_probs: float32 (N,); NaN for a first token without a start token.
        top: per token the K most likely tokens at its position, with their log-probabilities, when
            requested.
    """

    log_probs: NDArray[np.float32]
    top: list[Top | None] = field(default_factory=list)

    @cached_property
    def _scored(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.log_probs)

    @cached_property
    def counted(self) -> int:
        """How many tokens have a log-probability."""
        return int(np.count_nonzero(self._scored))

    @cached_property
    def total(self) -> float:
        """Sum of the log-probabilities, in float64."""
        return float(self.log_probs.sum(dtype=np.float64, where=self._scored))

    @property
    def perplexity(self) -> float | None:
        """exp(-total / counted); None when nothing was counted."""
        return math.exp(min(700.0, -self.total / self.counted)) if self.counted else None


def score_batch(
    session: LanguageSession,
    sequences: Sequence[Sequence[int]],
    start_id: int | None,
    *,
    top_k: int = 0,
) -> list[SequenceScore]:
    """Scores sequences of any and unequal lengths.

    Args:
        session: the variant.
        sequences: token ids of each, at least one token.
        start_id: id of the token before the first; if None, the first token is given, not scored.
        top_k: how many of the most likely tokens to return at each position.

    Returns:
        The scores in the order of `sequences`.

    Raises:
        TokenOutOfRange: when an id is not of the vocabulary.
        ValueError: when a sequence is empty.
    """
    arrays = [np.asarray(sequence, np.int64) for sequence in sequences]
    for array in arrays:
        if not len(array):
            raise ValueError("a sequence holds no token")
        check_range(array, session.vocabulary)
    width = 1 if session.integer else max(1, RUN_BYTES // (4 * session.vocabulary * 8))
    order = sorted(range(len(arrays)), key=lambda index: -len(arrays[index]))
    results: dict[int, SequenceScore] = {}
    for first in range(0, len(order), width):
        group = order[first : first + width]
        scores = _score_group(session, [arrays[index] for index in group], start_id, top_k)
        results.update(zip(group, scores, strict=True))
    return [results[index] for index in range(len(arrays))]


def text_log_probs(
    session: LanguageSession, ids: Sequence[int], start_id: int | None
) -> NDArray[np.float32]:
    """Natural log-probabilities (N,) of the tokens of one text.

    A text of up to `ONE_STREAM` tokens is one stream from its beginning, as the service answers it.
    A longer one is cut into a batch of up to `MAX_PIECES` equal pieces, since one stream uses
    little of a processor: each piece is scored after the `WARM_TOKENS` that precede it in the text,
    so that its first tokens have a context too. What a state carries over more tokens than that is
    lost at these few borders.

    Args:
        session: of a scoring graph.
        ids: of the text's tokens, N of them.
        start_id: stands before the text; None: its first token is given, not scored.

    Returns:
        NaN for a first token without a start token.

    Raises:
        TokenOutOfRange: when an id is not of the vocabulary.
        ValueError: when there is no token.
    """
    number = 1 if len(ids) <= ONE_STREAM else min(MAX_PIECES, len(ids) // MIN_PIECE)
    borders = [round(each) for each in np.linspace(0, len(ids), number + 1)]
    pieces = [ids[max(0, first - WARM_TOKENS) : last] for first, last in pairwise(borders)]
    scores = score_batch(session, pieces, start_id)
    return np.concatenate(
        [
            each.log_probs[first - last :]
            for each, (first, last) in zip(scores, pairwise(borders), strict=True)
        ]
    )


def perplexity_of(log_probs: NDArray[np.float32]) -> float:
    """Exp of minus the mean log-probability, without tokens that are not scored (NaN).

    Raises:
        ValueError: when none is scored.
    """
    found = SequenceScore(log_probs).perplexity
    if found is None:
        raise ValueError("a perplexity needs at least one scored token")
    return found


def perplexity(session: LanguageSession, ids: Sequence[int], start_id: int | None) -> float:
    """Perplexity of one text; see `text_log_probs`.

    Args:
        session: of a scoring graph.
        ids: of the text's tokens.
        start_id: stands before the text; None: its first token is given, not scored.

    Raises:
        ValueError: when no token is counted.
    """
    return perplexity_of(text_log_probs(session, ids, start_id))


def _score_group(
    session: LanguageSession, arrays: list[Integers], start_id: int | None, top_k: int
) -> list[SequenceScore]:
    """Scores a batch of sequences, longest first."""
    if start_id is None:
        inputs, targets = [array[:-1] for array in arrays], [array[1:] for array in arrays]
    else:
        start = np.array([start_id], np.int64)
        inputs, targets = [np.concatenate([start, array[:-1]]) for array in arrays], arrays
    logs: list[list[NDArray[np.float32]]] = [[] for _ in arrays]
    tops: list[list[Top | None]] = [[] for _ in arrays]
    state = session.zero_state(len(arrays))
    position = 0
    while True:
        running = sum(len(each) > position for each in targets)  # a prefix: they are sorted
        if not running:
            break
        state = {name: np.ascontiguousarray(value[:, :running]) for name, value in state.items()}
        steps = min(len(targets[0]) - position, _chunk(session, running))
        tokens, wanted = np.zeros((steps, running), np.int64), np.zeros((steps, running), np.int64)
        lengths = np.zeros(running, np.int32)
        for column in range(running):
            part = slice(position, min(position + steps, len(targets[column])))
            lengths[column] = part.stop - part.start
            tokens[: lengths[column], column] = inputs[column][part]
            wanted[: lengths[column], column] = targets[column][part]
        positions = _steps_of(lengths) if top_k else NOWHERE
        found, of_all, state = session.run(tokens, wanted, lengths, state, positions)
        for column, length in enumerate(lengths):
            logs[column].append(found[:length, column])
            if top_k:
                tops[column] += most_likely(of_all[positions[:, 1] == column], top_k)
        position += steps
    given = [] if start_id is not None else [np.array([np.nan], np.float32)]
    return [
        SequenceScore(np.concatenate([*given, *log]), [*([None] if given and top_k else []), *top])
        for log, top in zip(logs, tops, strict=True)
    ]


def score_stream(
    session: LanguageSession, ids: Sequence[int], state: State, *, top_k: int = 0
) -> tuple[SequenceScore, State]:
    """Scores the tokens of one stream that follow its first, from any state on.

    Its runs are those of `score_batch` for one sequence.

    Args:
        session: of a scoring graph.
        ids: the token that precedes those to score, and these; N + 1 of them.
        state: before the first of them, float32 (1, 1, H) by name.
        top_k: how many of the most likely tokens to return at each position.

    Returns:
        The scores of N tokens, and the state before the last token.

    Raises:
        TokenOutOfRange: when an id is not of the vocabulary.
    """
    array = np.asarray(ids, np.int64)
    check_range(array, session.vocabulary)
    logs: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
    tops: list[Top | None] = []
    steps = _chunk(session, 1)
    for first in range(0, len(array) - 1, steps):
        part = array[first : first + steps + 1]
        length = np.array([len(part) - 1], np.int32)
        positions = _steps_of(length) if top_k else NOWHERE
        found, of_all, state = session.run(
            part[:-1, None], part[1:, None], length, state, positions
        )
        if top_k:
            # Of the same row as the most likely ones: equal where the token is one of these.
            logs.append(of_all[np.arange(len(part) - 1), part[1:]])
            tops += most_likely(of_all, top_k)
        else:
            logs.append(found[:, 0])
    return SequenceScore(np.concatenate(logs), tops), state


def next_log_probs(
    session: LanguageSession, token: int, state: State
) -> tuple[NDArray[np.float32], State]:
    """Log-probabilities (V,) of the token after `token`, and the state after it.

    One step of generation.

    Args:
        session: of a scoring graph.
        token: the last one.
        state: before it, float32 (1, 1, H) by name.
    """
    ids = np.array([[token]], np.int64)
    _, log_probs, after = session.run(ids, ids, np.ones(1, np.int32), state, _FIRST)
    return log_probs[0], after


def _steps_of(lengths: NDArray[np.int32]) -> Integers:
    """All positions before the padding, sequence by sequence: int64 (R, 2)."""
    return np.array(
        [(step, column) for column, length in enumerate(lengths) for step in range(length)],
        np.int64,
    )


def _chunk(session: LanguageSession, batch: int) -> int:
    return max(1, min(CHUNK_STEPS, RUN_BYTES // (4 * session.vocabulary * batch)))


def most_likely(log_probs: NDArray[np.float32], count: int) -> list[Top]:
    """The most likely tokens at each position, best first.

    Args:
        log_probs: of all tokens, (R, V).
        count: how many, at least one; more than V are as many as there are.
    """
    count = min(count, log_probs.shape[1])
    some = np.argpartition(-log_probs, count - 1, axis=1)[:, :count]
    result: list[Top] = []
    for row, indices in zip(log_probs, some, strict=True):
        best = indices[np.argsort(-row[indices], kind="stable")]
        result.append([(int(index), float(row[index])) for index in best])
    return result

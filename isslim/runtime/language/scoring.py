"""Scores token sequences of any length, piece by piece, with the state carried on.

A sequence's scores are a generator of its pieces: whoever drives it chooses which pieces of which
sequences share a run (`score_batch` here, `isslim/service/serving/batching.py` for requests).
An int8 graph is run one sequence at a time: its quantization scales span a whole run, and an answer
must not depend on other sequences.

Legend: V vocabulary, N tokens of a sequence, K most likely tokens.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from isslim.runtime.language.pieces import Piece, PieceScores, most_pieces, most_steps, run_pieces
from isslim.runtime.language.session import Integers, LanguageSession, State, check_range

CHUNK_STEPS = 64
"""Most tokens of a piece."""
SHORTEST_STEPS = 8
"""To which many sequences at once may shorten the runs of their pieces, for the memory."""
ONE_STREAM, MIN_PIECE, MAX_PIECES = 20_000, 2_000, 16
WARM_TOKENS = 128
"""Tokens read before a piece of a long text. On Penn Treebank, 2 x 400 units, the perplexity of
pieces equals that of one stream to 0.01 %."""

Top = list[tuple[int, float]]
Returned = TypeVar("Returned")
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
    def counted(self) -> int:
        """How many tokens have a log-probability."""
        return len(self.log_probs) - int(np.count_nonzero(np.isnan(self.log_probs)))

    @cached_property
    def total(self) -> float:
        """Sum of the log-probabilities, in float64."""
        if self.counted == len(self.log_probs):
            # The same sum; with a mask it takes several times as long.
            return float(np.add.reduce(self.log_probs, dtype=np.float64))
        return float(self.log_probs.sum(dtype=np.float64, where=~np.isnan(self.log_probs)))

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
    streams = [scored_pieces(session, sequence, start_id, top_k=top_k) for sequence in sequences]
    results: dict[int, SequenceScore] = {}
    pieces: dict[int, Piece] = {}

    def advance(index: int, found: PieceScores | None) -> None:
        try:
            pieces[index] = streams[index].send(found)  # type: ignore[arg-type]
        except StopIteration as ended:
            results[index] = ended.value
            pieces.pop(index, None)

    for index in range(len(streams)):
        advance(index, None)
    width = most_pieces(session, SHORTEST_STEPS)
    order = sorted(pieces, key=lambda index: -len(sequences[index]))
    for first in range(0, len(order), width):
        while group := [index for index in order[first : first + width] if index in pieces]:
            steps = most_steps(session, len(group))
            for index, found in zip(
                group, run_pieces(session, [pieces[each] for each in group], steps), strict=True
            ):
                advance(index, found)
    return [results[index] for index in range(len(streams))]


def scored_pieces(
    session: LanguageSession, sequence: Sequence[int], start_id: int | None, *, top_k: int = 0
) -> Generator[Piece, PieceScores, SequenceScore]:
    """The pieces of a sequence, each after the results of the one before it; returns its score.

    Args:
        session: the variant.
        sequence: token ids, at least one.
        start_id: id of the token before the first; if None, the first token is given, not scored.
        top_k: how many of the most likely tokens to return at each position.

    Raises:
        TokenOutOfRange: when an id is not of the vocabulary.
        ValueError: when the sequence is empty.
    """
    if not len(sequence):
        raise ValueError("a sequence holds no token")
    first = [] if start_id is None else [start_id]
    score, _ = yield from stream_pieces(session, [*first, *sequence], None, top_k=top_k)
    if start_id is None:
        given = np.concatenate([np.array([np.nan], np.float32), score.log_probs])
        score = SequenceScore(given, [None, *score.top] if top_k else [])
    return score


def stream_pieces(
    session: LanguageSession, ids: Sequence[int], state: State | None, *, top_k: int = 0
) -> Generator[Piece, PieceScores, tuple[SequenceScore, State | None]]:
    """The pieces of one stream, from any state on.

    Args:
        session: of a scoring graph.
        ids: the token that precedes those to score, and these; N + 1 of them.
        state: before the first of them, float32 (1, 1, H) by name; None: that before a text.
        top_k: how many of the most likely tokens to return at each position.

    Returns:
        The scores of N tokens, and the state before the last token; None as given, where N is 0.

    Raises:
        TokenOutOfRange: when an id is not of the vocabulary.
    """
    array = np.asarray(ids, np.int64)
    check_range(array, session.vocabulary)
    logs: list[NDArray[np.float32]] = []
    tops: list[Top | None] = []
    position = 0
    while position < len(array) - 1:
        tokens = array[position : min(position + CHUNK_STEPS, len(array) - 1)]
        targets = array[position + 1 : position + 1 + len(tokens)]
        found = yield Piece(tokens, targets, state, wants_all=bool(top_k))
        count = len(found.log_probs)
        if top_k:
            # Of the same row as the most likely ones: equal where the token is one of these.
            logs.append(found.of_all[np.arange(count), targets[:count]])
            tops += most_likely(found.of_all, top_k)
        else:
            logs.append(found.log_probs)
        state, position = found.state, position + count
    if not logs:
        return SequenceScore(np.empty(0, np.float32), tops), state
    return SequenceScore(logs[0] if len(logs) == 1 else np.concatenate(logs), tops), state


def run_stream(
    session: LanguageSession, pieces: Generator[Piece, PieceScores, Returned]
) -> Returned:
    """Runs the pieces of one stream, one after the other, to what it returns.

    Args:
        session: of a scoring graph.
        pieces: not begun.
    """
    found = None
    while True:
        try:
            piece = pieces.send(found)  # type: ignore[arg-type]
        except StopIteration as ended:
            returned: Returned = ended.value
            return returned
        (found,) = run_pieces(session, [piece], most_steps(session, 1))


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

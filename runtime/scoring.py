"""Scores sequences of any lengths with one graph: batches, chunks, carried states, bounded memory.

A run's largest tensor is the (T, B, V) of log-probabilities, so T x B rows are bounded. Sequences are sorted by
length and run side by side; a long one is cut into chunks with its state carried; one that has ended leaves the
batch. Float32 results are those of scoring one sequence alone (up to the last bits of a matrix product).

An int8 graph finds the scale of its activations over everything in a run. There a sequence runs alone and its
chunks have one length that depends on the vocabulary only: an answer must not depend on its neighbours.

Legend: B batch, T steps, V vocabulary, n targets of a sequence, k best tokens asked for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.graph import LOG_PROBS, TOKEN_LOG_PROBS
from runtime.session import State, VariantSession
from runtime.text import Scorable, scorable

BYTES_PER_RUN = 32 * 2**20
WIDEST_BATCH = 32
LONGEST_CHUNK = 512

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class SequenceScore:
    """What a sequence scored.

    Attributes:
        log_probs: float32 (n,), natural logs, one for each target.
        top_ids: int64 (n, k), the most probable tokens at each place, best first; None when not asked for.
        top_log_probs: float32 (n, k), theirs.
        run_seconds: this sequence's share of the time in the runtime; the shares of a call sum to all of it.
    """

    log_probs: Floats
    top_ids: Integers | None
    top_log_probs: Floats | None
    run_seconds: float

    @property
    def counted(self) -> int:
        """How many tokens have a log-probability."""
        return len(self.log_probs)

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-probability; nan when nothing was counted."""
        if not self.counted:
            return math.nan
        return math.exp(-float(self.log_probs.sum(dtype=np.float64)) / self.counted)


def rows_per_run(vocabulary: int) -> int:
    """How many rows T x B one run may have."""
    return max(1, BYTES_PER_RUN // (4 * vocabulary))


def score_batch(
    session: VariantSession,
    sequences: Sequence[Scorable],
    *,
    top: int = 0,
    rows_limit: int | None = None,
) -> list[SequenceScore]:
    """Scores every sequence from the zero state.

    Args:
        session: the graph.
        sequences: any number, of any lengths.
        top: k, how many of the most probable tokens to return at each place.
        rows_limit: largest T x B of a run; by default what `rows_per_run` says.

    Returns:
        One score for each sequence, in their order.

    Raises:
        TokenOutOfRange: when a token is not of the vocabulary.
    """
    limit = rows_limit or rows_per_run(session.vocabulary)
    best = min(top, session.vocabulary)
    order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index].targets))
    width = 1 if session.integer else max(1, min(WIDEST_BATCH, limit))
    scores: dict[int, SequenceScore] = {}
    for first in range(0, len(order), width):
        group = order[first : first + width]
        scored = _score_group(session, [sequences[index] for index in group], best, limit)
        scores |= dict(zip(group, scored, strict=True))
    return [scores[index] for index in range(len(sequences))]


def perplexity(session: VariantSession, ids: Sequence[int], start_id: int | None) -> float:
    """The perplexity of one stream of tokens, from the zero state.

    Raises:
        TokenOutOfRange: when a token is not of the vocabulary.
        ValueError: when there is nothing to count.
    """
    score = score_batch(session, [scorable(list(ids), start_id)])[0]
    if not score.counted:
        raise ValueError("a perplexity needs at least one scored token")
    return score.perplexity


def next_log_probs(session: VariantSession, context: Sequence[int]) -> Floats:
    """The log-probability of every token to stand next.

    Args:
        session: the graph.
        context: what stands before, the start token included; at least one token.

    Returns:
        float32 (V,).

    Raises:
        TokenOutOfRange: when a token is not of the vocabulary.
        ValueError: when the context is empty.
    """
    if not len(context):
        raise ValueError("the next token needs at least one token before it")
    stream = np.array(context, dtype=np.int64)[:, None]  # (n, 1)
    state, one = session.zero_state(1), np.ones(1, np.int32)
    chunk = min(rows_per_run(session.vocabulary), LONGEST_CHUNK)
    for start in range(0, len(stream) - 1, chunk):
        part = stream[start : min(start + chunk, len(stream) - 1)]
        _, state = session.run(part, part, one * np.int32(len(part)), state, ())
    outputs, _ = session.run(stream[-1:], stream[-1:], one, state, (LOG_PROBS,))
    row: Floats = outputs[LOG_PROBS][0, 0]
    return row


@dataclass(frozen=True)
class _Chunk:
    """One run of the sequences that still go on: the first `batch` of the group, steps from `start`."""

    start: int
    steps: int
    lengths: NDArray[np.int32]  # (B,)


def _chunks(lengths: Sequence[int], limit: int) -> Iterator[_Chunk]:
    """Cuts a group, longest first, into runs of at most `limit` rows; ended sequences drop off its end."""
    start = 0
    while going := sum(length > start for length in lengths):
        steps = min(max(1, limit // going), LONGEST_CHUNK, lengths[0] - start)
        left = np.array(lengths[:going]) - start
        yield _Chunk(start, steps, np.minimum(left, steps).astype(np.int32))
        start += steps


def _score_group(
    session: VariantSession, group: Sequence[Scorable], best: int, limit: int
) -> list[SequenceScore]:
    """Scores sequences side by side; `group` is sorted, longest first."""
    lengths = [len(sequence.targets) for sequence in group]
    log_probs = [np.empty(length, np.float32) for length in lengths]
    top_ids = [np.empty((length, best), np.int64) for length in lengths]
    top_values = [np.empty((length, best), np.float32) for length in lengths]
    seconds = [0.0] * len(group)
    state = session.zero_state(len(group))
    want = (TOKEN_LOG_PROBS, LOG_PROBS) if best else (TOKEN_LOG_PROBS,)
    for chunk in _chunks(lengths, limit):
        tokens, targets = _padded(group, chunk)
        state = _first(state, len(chunk.lengths))
        started = time.perf_counter()
        outputs, state = session.run(tokens, targets, chunk.lengths, state, want)
        share = (time.perf_counter() - started) / int(chunk.lengths.sum())
        for row, length in enumerate(chunk.lengths):
            place = slice(chunk.start, chunk.start + int(length))
            log_probs[row][place] = outputs[TOKEN_LOG_PROBS][:length, row]
            seconds[row] += share * int(length)
            if best:
                top_ids[row][place], top_values[row][place] = _best(outputs[LOG_PROBS][:length, row], best)
    return [
        SequenceScore(found, ids if best else None, values if best else None, spent)
        for found, ids, values, spent in zip(log_probs, top_ids, top_values, seconds, strict=True)
    ]


def _padded(group: Sequence[Scorable], chunk: _Chunk) -> tuple[Integers, Integers]:
    """A chunk's inputs and targets, int64 (T, B); padding is token 0."""
    shape = (chunk.steps, len(chunk.lengths))
    tokens, targets = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, length in enumerate(chunk.lengths):
        place = slice(chunk.start, chunk.start + int(length))
        tokens[:length, row] = group[row].inputs[place]
        targets[:length, row] = group[row].targets[place]
    return tokens, targets


def _first(state: State, batch: int) -> State:
    """The states of the first `batch` sequences."""
    return {name: np.ascontiguousarray(value[:, :batch]) for name, value in state.items()}


def _best(log_probs: Floats, best: int) -> tuple[Integers, Floats]:
    """(n, V) -> ids and values (n, k) of the highest, best first."""
    ids = np.argpartition(-log_probs, best - 1, axis=-1)[:, :best]
    values = np.take_along_axis(log_probs, ids, axis=-1)
    order = np.argsort(-values, axis=-1, kind="stable")
    return np.take_along_axis(ids, order, axis=-1), np.take_along_axis(values, order, axis=-1)

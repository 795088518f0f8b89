"""Pieces of token sequences, several of which may share a run: unequal lengths, exact padding.

Legend: B batch, T steps, N tokens of a piece, R positions, V vocabulary, H units of a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isslim.runtime.language.session import NOWHERE, Integers, LanguageSession, State

RUN_BYTES = 32 << 20
"""Memory limit for the log-probabilities of one run, (T, B, V) float32."""


@dataclass(frozen=True)
class Piece:
    """Consecutive tokens of one sequence.

    Attributes:
        tokens: int64 (N,), at least one.
        targets: int64 (N,), the token to score after each of them.
        state: before the first, float32 (1, 1, H) by name; None: that before a text.
        wants_all: whether the log-probability of every token is requested at each position.
    """

    tokens: Integers
    targets: Integers
    state: State | None = None
    wants_all: bool = False

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class PieceScores:
    """A piece's results, as far as it was run.

    Attributes:
        log_probs: float32 (N',), natural logarithms of the targets' probabilities; N' is at least
            one, and less than N where the run had fewer steps.
        of_all: float32 (N', V), those of every token; (0, V) where they were not requested.
        state: after the last of them.
    """

    log_probs: NDArray[np.float32]
    of_all: NDArray[np.float32]
    state: State


def run_pieces(session: LanguageSession, pieces: Sequence[Piece], steps: int) -> list[PieceScores]:
    """Runs pieces together.

    Args:
        session: of a scoring graph.
        pieces: B of them, of different sequences.
        steps: run of each piece, fewer of a shorter one; see `most_steps`.

    Raises:
        TokenOutOfRange: when a token or target is not of the vocabulary.
        RunStopped: when the session's control ended the run.
    """
    counts = [min(len(piece), steps) for piece in pieces]
    lengths = np.array(counts, np.int32)
    wanted = [piece.wants_all for piece in pieces]
    positions = _positions(counts, wanted) if any(wanted) else NOWHERE
    found, of_all, state = session.run(
        _padded([piece.tokens for piece in pieces], counts),
        _padded([piece.targets for piece in pieces], counts),
        lengths,
        _joined(session, [piece.state for piece in pieces]),
        positions,
    )
    if len(pieces) == 1:
        return [PieceScores(found[:, 0], of_all, state)]
    results, first = [], 0
    for column, (count, wants_all) in enumerate(zip(counts, wanted, strict=True)):
        last = first + (count if wants_all else 0)
        # Copies: a stream that is slow to go on would keep the states of all others in memory.
        own = {name: value[:, column : column + 1].copy() for name, value in state.items()}
        results.append(PieceScores(found[:count, column], of_all[first:last], own))
        first = last
    return results


def most_steps(session: LanguageSession, batch: int) -> int:
    """How many steps of so many pieces a run may take, by its memory.

    Args:
        session: of a scoring graph.
        batch: B.
    """
    return max(1, RUN_BYTES // (4 * session.vocabulary * batch))


def most_pieces(session: LanguageSession, steps: int) -> int:
    """How many pieces may share a run; one where quantization scales span a whole run.

    Args:
        session: of a scoring graph.
        steps: T, of the run.
    """
    return 1 if session.integer else max(1, RUN_BYTES // (4 * session.vocabulary * steps))


def _padded(rows: Sequence[Integers], counts: Sequence[int]) -> Integers:
    """The first numbers of each row as columns, with zeros behind them: int64 (T, B)."""
    if len(rows) == 1:
        return rows[0][: counts[0], None]
    result = np.zeros((max(counts), len(rows)), np.int64)
    for column, (row, count) in enumerate(zip(rows, counts, strict=True)):
        result[:count, column] = row[:count]
    return result


def _joined(session: LanguageSession, states: Sequence[State | None]) -> State:
    """The states side by side, (1, B, H) by name."""
    if all(state is None for state in states):
        return session.zero_state(len(states))
    zero = session.zero_state(1)
    given = [zero if state is None else state for state in states]
    if len(given) == 1:
        return given[0]
    return {name: np.concatenate([state[name] for state in given], axis=1) for name in zero}


def _positions(counts: Sequence[int], wanted: Sequence[bool]) -> Integers:
    """All positions of the pieces that want them, piece by piece: int64 (R, 2)."""
    return np.array(
        [
            (step, column)
            for column, (count, wants_all) in enumerate(zip(counts, wanted, strict=True))
            if wants_all
            for step in range(count)
        ],
        np.int64,
    )

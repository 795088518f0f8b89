"""Generation: a prompt is read in chunks, then every token takes one run of one step.

The states stay in memory between the tokens. A position in a text holds all that is needed to go on
from there: in constant time and memory, whatever was read before.

Legend: N tokens of a text, V vocabulary, K most likely tokens.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isslim.runtime.language.detokenizing import CONTEXT
from isslim.runtime.language.pieces import Piece, PieceScores
from isslim.runtime.language.sampling import Sampler
from isslim.runtime.language.scoring import (
    SequenceScore,
    Top,
    most_likely,
    next_log_probs,
    run_stream,
    stream_pieces,
)
from isslim.runtime.language.session import LanguageSession, State


@dataclass(frozen=True)
class Position:
    """A place behind a token of a text.

    Attributes:
        state: after all tokens but the last, float32 (1, 1, H) by name.
        last: id of the last token, which the next run reads.
        context: the last few ids of the text, at most `CONTEXT`; without the start token.
    """

    state: State
    last: int
    context: tuple[int, ...] = ()


def beginning(session: LanguageSession, start_id: int) -> Position:
    """The position before the first token of a text.

    Args:
        session: of a scoring graph.
        start_id: the token that precedes every text.
    """
    return Position(session.zero_state(1), start_id)


def read(
    session: LanguageSession, ids: Sequence[int], before: Position | None, *, top_k: int = 0
) -> tuple[Position, SequenceScore]:
    """Reads tokens that are given.

    The runs are those of `score_batch` for the same tokens alone, and so are the results.

    Args:
        session: of a scoring graph.
        ids: of the tokens, N of them; at least one.
        before: where they begin; None: the first is the beginning of the text, and not scored.
        top_k: K, how many of the most likely tokens are returned at each place.

    Returns:
        The position behind the last token, and the log-probabilities of all.

    Raises:
        TokenOutOfRange: when an id is not of the vocabulary.
    """
    return run_stream(session, read_pieces(session, ids, before, top_k=top_k))


def read_pieces(
    session: LanguageSession, ids: Sequence[int], before: Position | None, *, top_k: int = 0
) -> Generator[Piece, PieceScores, tuple[Position, SequenceScore]]:
    """The pieces of tokens that are given, each after the results of the one before it; see `read`.

    Args:
        session: of a scoring graph.
        ids: of the tokens, N of them; at least one.
        before: where they begin; None: the first is the beginning of the text, and not scored.
        top_k: K, how many of the most likely tokens are returned at each place.
    """
    first = ids[0] if before is None else before.last
    state = session.zero_state(1) if before is None else before.state
    targets = ids[1:] if before is None else ids
    score, after = yield from stream_pieces(session, [first, *targets], state, top_k=top_k)
    if before is None:
        log_probs = np.concatenate([np.array([np.nan], np.float32), score.log_probs])
        score = SequenceScore(log_probs, [None, *score.top] if top_k else [])
    context = (*(() if before is None else before.context), *ids[-CONTEXT:])[-CONTEXT:]
    return Position(state if after is None else after, ids[-1], context), score


@dataclass(frozen=True)
class Drawn:
    """A token that was drawn.

    Attributes:
        id: of the token.
        log_prob: its natural log-probability by the model, whatever the temperature.
        top: the K most likely tokens in its place, with their log-probabilities, best first.
    """

    id: int
    log_prob: float
    top: Top


class TokenStream:
    """Tokens that a model adds to a text, one run each, without end.

    Args:
        position: where the text stands.
        sampler: draws the tokens.
        top_k: K.

    Attributes:
        position: where the text stands now.
    """

    def __init__(self, position: Position, sampler: Sampler, top_k: int = 0) -> None:
        self.position, self.sampler, self._top_k = position, sampler, top_k

    def draw(self, session: LanguageSession) -> Drawn:
        """The next token. Where the run is stopped, the stream stays where it was.

        Args:
            session: of the graph whose states the position holds.
        """
        return self.take(*next_log_probs(session, self.position.last, self.position.state))

    def piece(self) -> Piece:
        """The run whose results `take` expects, for whoever runs it together with others."""
        last = np.array([self.position.last], np.int64)
        return Piece(last, last, self.position.state, wants_all=True)

    def take(self, log_probs: NDArray[np.float32], state: State) -> Drawn:
        """The next token, from the results of the run that reads the last one.

        Args:
            log_probs: of the tokens that may follow, (V,).
            state: after the last token.
        """
        token = self.sampler.draw(log_probs)
        context = (*self.position.context, token)[-CONTEXT:]
        self.position = Position(state, token, context)
        return Drawn(token, float(log_probs[token]), _top(log_probs, self._top_k))


def _top(log_probs: NDArray[np.float32], count: int) -> Top:
    return most_likely(log_probs[None], count)[0] if count else []

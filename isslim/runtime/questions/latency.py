"""Times question graphs against each other on random words.

Legend: B batch, T tokens of the context, J tokens of a question, E width of a word vector, W
characters of a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from isslim.runtime.latency import baseline_session, time_in_turn
from isslim.runtime.questions.session import QuestionSession, TokenBatch
from isslim.types.manifest import LatencyRecord

CHARACTERS_OF_A_TOKEN = 16
"""W: characters of the longest word of a usual paragraph."""
QUESTION_STEPS = 12
"""J: tokens of a usual question."""


def compare_questions(
    sessions: Mapping[str, QuestionSession],
    *,
    steps: int,
    batch: int,
    pairs: int | None = None,
    baseline: str = "original",
    seed: int = 0,
) -> dict[str, LatencyRecord]:
    """Times question sessions on the same random words, round by round.

    Args:
        sessions: by name, all of one width of word vectors; `baseline` among them.
        steps: T, tokens of the context.
        batch: B.
        pairs: rounds; None: as many as fit a few seconds.
        baseline: whose time is divided by the others'.
        seed: of the words.

    Returns:
        A record per session.

    Raises:
        ValueError: when the baseline is missing.
    """
    width, generator = baseline_session(sessions, baseline).width, np.random.default_rng(seed)

    def side(length: int) -> TokenBatch:
        vectors = generator.normal(0, 0.5, (length, batch, width)).astype(np.float32)
        # Tokens consist of padding and unknown characters: the choice does not affect the time, and
        # every model knows these.
        characters = generator.integers(0, 2, (length, batch, CHARACTERS_OF_A_TOKEN))
        return TokenBatch(vectors, characters, np.full(batch, length, np.int32))

    context, question = side(steps), side(QUESTION_STEPS)
    runs = {name: partial(session.run, context, question) for name, session in sessions.items()}
    return time_in_turn(runs, sessions, (steps, batch), pairs=pairs, baseline=baseline)

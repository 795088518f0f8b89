"""Times scoring graphs against each other on random tokens.

Legend: B batch, T steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from isslim.runtime.language.session import LanguageSession
from isslim.runtime.latency import baseline_session, time_in_turn
from isslim.types.manifest import LatencyRecord


def compare(
    sessions: Mapping[str, LanguageSession],
    *,
    steps: int,
    batch: int,
    pairs: int | None = None,
    baseline: str = "original",
    seed: int = 0,
) -> dict[str, LatencyRecord]:
    """Times scoring sessions on the same random tokens, round by round.

    Args:
        sessions: by name, all of one vocabulary; `baseline` among them.
        steps: T.
        batch: B.
        pairs: rounds; None: as many as fit a few seconds.
        baseline: whose time is divided by the others'.
        seed: of the tokens.

    Returns:
        A record per session.

    Raises:
        ValueError: when the baseline is missing.
    """
    generator = np.random.default_rng(seed)

    def ready(session: LanguageSession) -> Callable[[], object]:
        state = session.zero_state(batch)
        return lambda: session.run(tokens, targets, lengths, state)

    tokens, targets = generator.integers(
        0, baseline_session(sessions, baseline).vocabulary, (2, steps, batch)
    )
    lengths = np.full(batch, steps, np.int32)
    return time_in_turn(
        {name: ready(session) for name, session in sessions.items()},
        sessions,
        (steps, batch),
        pairs=pairs,
        baseline=baseline,
    )

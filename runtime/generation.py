"""Text that a model makes up: tokens drawn one after another from its own distribution.

Used to calibrate a compression without a corpus. Draws are by the Gumbel trick: the largest of log-probability plus
Gumbel noise is a sample of the distribution, with no cumulative sums in float32.

Legend: B streams, V vocabulary.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.graph import LOG_PROBS
from runtime.session import VariantSession


def sample(
    session: VariantSession,
    start_id: int | None,
    tokens: int,
    streams: int = 8,
    seed: int = 1,
    temperature: float = 1.0,
) -> NDArray[np.int64]:
    """Draws independent streams of tokens, each from the zero state.

    Args:
        session: the graph.
        start_id: the token before the first; None: the first token of each stream is drawn uniformly.
        tokens: how many tokens each stream has.
        streams: B.
        seed: of the draws; the same seed on the same machine gives the same streams.
        temperature: divides the log-probabilities; above 0.

    Returns:
        int64 (streams, tokens).

    Raises:
        ValueError: when the temperature is not above 0.
    """
    if temperature <= 0:
        raise ValueError(f"a temperature is above 0: {temperature}")
    generator = np.random.default_rng(seed)
    drawn = np.empty((streams, tokens), np.int64)
    first = 0
    if start_id is None and tokens:
        drawn[:, 0] = generator.integers(0, session.vocabulary, streams)
        first = 1
    last = drawn[:, 0] if start_id is None else np.full(streams, start_id, np.int64)  # (B,)
    state, lengths = session.zero_state(streams), np.ones(streams, np.int32)
    for place in range(first, tokens):
        outputs, state = session.run(last[None], last[None], lengths, state, (LOG_PROBS,))
        scores = outputs[LOG_PROBS][0] / temperature  # (B, V)
        last = np.argmax(scores + generator.gumbel(size=scores.shape), axis=-1)
        drawn[:, place] = last
    return drawn

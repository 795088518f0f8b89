"""Honest latency: the same runtime, threads and inputs, the variants interleaved round by round after a warm-up.

The machine's speed drifts; a ratio of two medians taken one after the other drifts with it. Each round runs every
variant in a short burst, so that its ratio to the baseline is taken within a moment. A burst's first runs, which find the
processor's caches full of another variant's weights, are not counted: a server runs one model again and again. The median of
the rounds' ratios is what is reported, with its 95 % interval from order statistics (no distribution assumed).

Legend: B batch, T steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import numpy as np

from runtime.graph import TOKEN_LOG_PROBS
from runtime.session import VariantSession
from store.manifest import LatencyRecord

LEAST_ROUNDS, MOST_ROUNDS, BURST = 7, 301, 3
WARM_SECONDS = 0.005
"""Uncounted runs at the start of a burst: at least one, and for so long."""
SECONDS = 3.0
"""How long one comparison may take beyond `LEAST_ROUNDS`."""
MOST_SECONDS = 60.0
"""After which even those are not waited for, once every session was timed three times."""


def compare(
    sessions: Mapping[str, VariantSession],
    *,
    steps: int,
    batch: int,
    pairs: int | None = None,
    baseline: str = "original",
    seed: int = 0,
) -> dict[str, LatencyRecord]:
    """Times every session on the same random tokens, round by round.

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
    if baseline not in sessions:
        raise ValueError(f"the baseline '{baseline}' is not among {sorted(sessions)}")
    generator = np.random.default_rng(seed)
    tokens = generator.integers(0, sessions[baseline].vocabulary, (steps, batch))
    targets = generator.integers(0, sessions[baseline].vocabulary, (steps, batch))
    lengths = np.full(batch, steps, np.int32)
    states = {name: session.zero_state(batch) for name, session in sessions.items()}

    def once(name: str) -> float:
        started = time.perf_counter()
        sessions[name].run(tokens, targets, lengths, states[name], (TOKEN_LOG_PROBS,))
        return 1e3 * (time.perf_counter() - started)

    for _ in range(2):
        for name in sessions:
            once(name)
    times: dict[str, list[float]] = {name: [] for name in sessions}
    began = time.perf_counter()
    while True:
        for name in sessions:
            warmed = time.perf_counter() + WARM_SECONDS
            once(name)
            while time.perf_counter() < warmed:
                once(name)
            times[name].append(float(np.median([once(name) for _ in range(BURST)])))
        rounds = len(times[baseline])
        enough = pairs if pairs is not None else LEAST_ROUNDS
        late = pairs is not None or rounds >= MOST_ROUNDS or time.perf_counter() - began > SECONDS
        exhausted = pairs is None and rounds >= 3 and time.perf_counter() - began > MOST_SECONDS
        if (rounds >= enough and late) or exhausted:
            break
    return {
        name: _record(np.array(times[baseline]), np.array(each), steps, batch, sessions[name])
        for name, each in times.items()
    }


def _record(baseline: np.ndarray, times: np.ndarray, steps: int, batch: int, session: VariantSession) -> LatencyRecord:
    ratios = np.sort(baseline / times)
    count = len(ratios)
    # Binomial order statistics: the interval holds the median with 95 %.
    spread = 0.98 * math.sqrt(count)
    low, high = max(0, math.floor(count / 2 - spread)), min(count - 1, math.ceil(count / 2 + spread))
    return LatencyRecord(
        steps=steps,
        batch=batch,
        threads=session.threads,
        device=session.device,
        median_ms=float(np.median(times)),
        p90_ms=float(np.quantile(times, 0.9)),
        speedup=float(np.median(ratios)),
        speedup_low=float(ratios[low]),
        speedup_high=float(ratios[high]),
    )

"""Compares the latency of variants honestly: same inputs, same threads, interleaved round by round.

In each round every variant runs once untimed and then once timed, in an order that moves on by one each round. The
untimed run brings the variant's weights back into the processor's caches, from which the variant before has pushed
them: what is timed is a variant in steady use. What disturbs a machine for a while disturbs all variants of a round.

The speedup is the median over rounds of baseline / variant, with the distribution-free 95 % interval of a median:
order statistics of the ratios, no assumption about how times are distributed.

Legend: B batch, T steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from runtime.session import VariantSession
from store.manifest import LatencyRecord


def compare(
    sessions: dict[str, VariantSession],
    steps: int,
    batch: int,
    pairs: int = 21,
    baseline: str = "original",
    seed: int = 1,
) -> dict[str, LatencyRecord]:
    """Times every variant on the same random tokens.

    Args:
        sessions: the variants by name, all with the same vocabulary.
        steps: T.
        batch: B.
        pairs: how many rounds are timed.
        baseline: the variant that speedups are relative to.
        seed: of the tokens.

    Returns:
        A record for each name.

    Raises:
        ValueError: when the baseline is not among the sessions, or there is no round.
    """
    times = interleaved(sessions, steps, batch, pairs, seed)
    if baseline not in times or pairs < 1:
        raise ValueError(f"a comparison needs the baseline '{baseline}' and at least one round")
    reference = np.array(times[baseline])
    records = {}
    for name, session in sessions.items():
        low, median, high = median_interval(reference / np.array(times[name]))
        records[name] = LatencyRecord(
            steps=steps,
            batch=batch,
            threads=session.threads,
            device=session.device,
            median_ms=1e3 * float(np.median(times[name])),
            p90_ms=1e3 * float(np.quantile(times[name], 0.9)),
            speedup=median,
            speedup_low=low,
            speedup_high=high,
        )
    return records


def interleaved(
    sessions: dict[str, VariantSession], steps: int, batch: int, rounds: int, seed: int = 1
) -> dict[str, list[float]]:
    """Seconds of each variant in each round, after one round of warm-up."""
    generator = np.random.default_rng(seed)
    names = list(sessions)
    runs = {name: _runner(session, steps, batch, generator) for name, session in sessions.items()}
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-1, rounds):
        shift = turn % len(names) if names else 0
        for name in names[shift:] + names[:shift]:
            runs[name]()
            seconds = runs[name]()
            if turn >= 0:
                times[name].append(seconds)
    return times


def median_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Low, median and high of the 95 % interval of the median, by order statistics of `values` (n,)."""
    ordered = np.sort(values)
    count = len(ordered)
    reach = 1.96 * math.sqrt(count) / 2
    low = max(0, math.floor(count / 2 - reach))
    high = min(count - 1, math.ceil(count / 2 + reach) - 1)
    return float(ordered[low]), float(np.median(ordered)), float(ordered[max(high, low)])


def _runner(
    session: VariantSession, steps: int, batch: int, generator: np.random.Generator
) -> Callable[[], float]:
    """A function that runs the session once and returns the seconds."""
    tokens, targets = generator.integers(0, session.vocabulary, (2, steps, batch), dtype=np.int64)
    lengths, state = np.full(batch, steps, np.int32), session.zero_state(batch)

    def run() -> float:
        started = time.perf_counter()
        session.run(tokens, targets, lengths, state)
        return time.perf_counter() - started

    return run

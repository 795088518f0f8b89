"""Honest latency: the same runtime, threads and inputs, the variants interleaved round by round after a warm-up.

The machine's speed drifts; a ratio of two medians taken one after the other drifts with it. Each round runs every
variant in a short burst, so that its ratio to the baseline is taken within a moment. A burst's first runs, which find the
processor's caches full of another variant's weights, are not counted: a server runs one model again and again. The median of
the rounds' ratios is what is reported, with its 95 % interval from order statistics (no distribution assumed).

Legend: B batch, T steps, J tokens of a question, E width of a word vector, W characters of a token.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime.opening import OpenedGraph
from runtime.questions import QuestionSession, Side
from runtime.samples import AnyGraph, Inputs
from runtime.session import VariantSession
from store.manifest import LatencyRecord

LEAST_ROUNDS, MOST_ROUNDS, BURST = 7, 301, 3
WARM_SECONDS = 0.005
"""Uncounted runs at the start of a burst: at least one, and for so long."""
SLOW_SECONDS = 1.0
"""A run of so long is timed once a round and warmed by its first run alone: cold caches are nothing to it."""
SECONDS = 3.0
"""How long one comparison may take beyond `LEAST_ROUNDS`."""
MOST_SECONDS = 60.0
"""After which, warm-up included, no further round is begun; there is always one."""
CHARACTERS_OF_A_TOKEN = 16
"""W: what the longest word of a usual paragraph has."""

Times = NDArray[np.float64]
Session = TypeVar("Session", bound=OpenedGraph)


def compare(
    sessions: Mapping[str, VariantSession],
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

    def ready(session: VariantSession) -> Callable[[], object]:
        state = session.zero_state(batch)
        return lambda: session.run(tokens, targets, lengths, state)

    tokens, targets = generator.integers(0, _first(sessions, baseline).vocabulary, (2, steps, batch))
    lengths = np.full(batch, steps, np.int32)
    times = interleave({name: ready(session) for name, session in sessions.items()}, pairs=pairs)
    return _records(times, sessions, baseline, steps, batch)


def compare_questions(
    sessions: Mapping[str, QuestionSession],
    *,
    steps: int,
    batch: int,
    question_steps: int = 12,
    pairs: int | None = None,
    baseline: str = "original",
    seed: int = 0,
) -> dict[str, LatencyRecord]:
    """Times question sessions on the same random words, round by round.

    Args:
        sessions: by name, all of one width of word vectors; `baseline` among them.
        steps: T, tokens of the context.
        batch: B.
        question_steps: J, tokens of the question.
        pairs: rounds; None: as many as fit a few seconds.
        baseline: whose time is divided by the others'.
        seed: of the words.

    Returns:
        A record per session.

    Raises:
        ValueError: when the baseline is missing.
    """
    width, generator = _first(sessions, baseline).width, np.random.default_rng(seed)

    def side(length: int) -> Side:
        vectors = generator.normal(0, 0.5, (length, batch, width)).astype(np.float32)
        # Every token of padding and unknown characters: which they are costs nothing, and every model knows these.
        characters = generator.integers(0, 2, (length, batch, CHARACTERS_OF_A_TOKEN))
        return Side(vectors, characters, np.full(batch, length, np.int32))

    context, question = side(steps), side(question_steps)
    runs = {name: partial(session.run, context, question) for name, session in sessions.items()}
    return _records(interleave(runs, pairs=pairs), sessions, baseline, steps, batch)


def compare_graphs(
    sessions: Mapping[str, AnyGraph], inputs: Inputs, *, pairs: int | None = None, baseline: str = "original"
) -> dict[str, LatencyRecord]:
    """Times graphs of any kind on the same inputs, round by round; a record's steps and batch are 1: one run.

    Args:
        sessions: by name; `baseline` among them.
        inputs: of one run.
        pairs: rounds; None: as many as fit a few seconds.
        baseline: whose time is divided by the others'.

    Raises:
        ValueError: when the baseline is missing.
        InputsRefused: when a graph cannot be run on the inputs.
    """
    _first(sessions, baseline)
    runs = {name: partial(session.run, inputs) for name, session in sessions.items()}
    return _records(interleave(runs, pairs=pairs), sessions, baseline, 1, 1)


def interleave(runs: Mapping[str, Callable[[], object]], *, pairs: int | None = None) -> dict[str, Times]:
    """Times calls in turn, burst by burst: the one loop behind every comparison.

    Args:
        runs: what is timed, by name; called again and again.
        pairs: rounds; None: as many as fit a few seconds.

    Returns:
        Milliseconds of every round (R,), in the same round at the same position.
    """

    def once(name: str) -> float:
        started = time.perf_counter()
        runs[name]()
        return 1e3 * (time.perf_counter() - started)

    def warm(name: str) -> None:
        until = time.perf_counter() + WARM_SECONDS
        once(name)
        while time.perf_counter() < until:
            once(name)

    began = time.perf_counter()
    slow = {name: once(name) > 1e3 * SLOW_SECONDS for name in runs}
    for name in runs:
        if not slow[name]:
            once(name)
    times: dict[str, list[float]] = {name: [] for name in runs}
    warmed, rounds = time.perf_counter(), 0
    while True:
        for name in runs:
            if not slow[name]:
                warm(name)
            times[name].append(float(np.median([once(name) for _ in range(1 if slow[name] else BURST)])))
        rounds += 1
        enough = pairs if pairs is not None else LEAST_ROUNDS
        late = pairs is not None or rounds >= MOST_ROUNDS or time.perf_counter() - warmed > SECONDS
        exhausted = pairs is None and time.perf_counter() - began > MOST_SECONDS
        if (rounds >= enough and late) or exhausted:
            break
    return {name: np.array(each) for name, each in times.items()}


def _first(sessions: Mapping[str, Session], baseline: str) -> Session:
    if baseline not in sessions:
        raise ValueError(f"the baseline '{baseline}' is not among {sorted(sessions)}")
    return sessions[baseline]


def _records(
    times: Mapping[str, Times], sessions: Mapping[str, Session], baseline: str, steps: int, batch: int
) -> dict[str, LatencyRecord]:
    return {name: _record(times[baseline], times[name], steps, batch, session) for name, session in sessions.items()}


def _record(baseline: Times, times: Times, steps: int, batch: int, session: OpenedGraph) -> LatencyRecord:
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

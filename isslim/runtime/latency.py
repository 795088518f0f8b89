"""Honest latency: the same runtime, threads and inputs, the variants timed in turn (`isslim/runtime/clock.py`).

The median of the rounds' ratios is what is reported, with its 95 % interval from order statistics
(no distribution assumed): against the baseline, and against int8 alone where that is timed beside.
On a busy host the ratios are of CPU time, and a record says so; where the rounds disagree all the
same, a record says that it is not steady.

Legend: B batch, T steps, J tokens of a question, E width of a word vector, W characters of a token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import numpy as np

from isslim.runtime.clock import Comparison, Times, interleave, ratio
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays
from isslim.runtime.graphs.shapes import sizes
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.opening import OrtSession
from isslim.runtime.questions.session import QuestionSession, TokenBatch
from isslim.types.manifest import LatencyRecord, Ratio

ALONE = "original-int8"
"""The variant that pruning has to beat."""
CHARACTERS_OF_A_TOKEN = 16
"""W: what the longest word of a usual paragraph has."""
MAX_INTERVAL, MAX_SPREAD = 1.2, 1.6
"""Of a steady figure: upper end / lower end of its interval, and of eight in ten of the rounds'
ratios."""

Session = TypeVar("Session", bound=OrtSession)


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
        0, _first(sessions, baseline).vocabulary, (2, steps, batch)
    )
    lengths = np.full(batch, steps, np.int32)
    return _records(
        {name: ready(session) for name, session in sessions.items()},
        sessions,
        baseline,
        steps,
        batch,
        pairs,
    )


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

    def side(length: int) -> TokenBatch:
        vectors = generator.normal(0, 0.5, (length, batch, width)).astype(np.float32)
        # Every token of padding and unknown characters: which they are costs nothing, and every
        # model knows these.
        characters = generator.integers(0, 2, (length, batch, CHARACTERS_OF_A_TOKEN))
        return TokenBatch(vectors, characters, np.full(batch, length, np.int32))

    context, question = side(steps), side(question_steps)
    runs = {name: partial(session.run, context, question) for name, session in sessions.items()}
    return _records(runs, sessions, baseline, steps, batch, pairs)


def compare_graphs(
    sessions: Mapping[str, GraphSession],
    inputs: NamedArrays,
    description: str,
    *,
    pairs: int | None = None,
    baseline: str = "original",
) -> dict[str, LatencyRecord]:
    """Times graphs of any kind on the same inputs, round by round.

    Args:
        sessions: by name; `baseline` among them.
        inputs: of one run.
        description: which run that is, in words.
        pairs: rounds; None: as many as fit a few seconds.
        baseline: whose time is divided by the others'.

    Raises:
        ValueError: when the baseline is missing.
        InputsRefused: when a graph cannot be run on the inputs.
    """
    counted = sizes(_first(sessions, baseline), inputs)
    runs = {name: partial(session.run, inputs) for name, session in sessions.items()}
    found = _records(
        runs, sessions, baseline, counted.get("steps", 1), counted.get("batch", 1), pairs
    )
    return {name: record.model_copy(update={"run": description}) for name, record in found.items()}


def _first(sessions: Mapping[str, Session], baseline: str) -> Session:
    if baseline not in sessions:
        raise ValueError(f"the baseline '{baseline}' is not among {sorted(sessions)}")
    return sessions[baseline]


def _records(
    runs: Mapping[str, Callable[[], object]],
    sessions: Mapping[str, Session],
    baseline: str,
    steps: int,
    batch: int,
    pairs: int | None,
) -> dict[str, LatencyRecord]:
    """Times the runs in turn; a record for each."""
    first = sessions[baseline]
    found = interleave(runs, pairs=pairs, threads=first.threads, device=first.device)
    return {
        name: _record(name, found, baseline, steps, batch, session)
        for name, session in sessions.items()
    }


def _record(
    name: str, found: Comparison, baseline: str, steps: int, batch: int, session: OrtSession
) -> LatencyRecord:
    timed, basis = found.timed[name], found.basis
    times = {
        each: found.timed[each].rounds(basis)
        for each in (name, baseline, ALONE)
        if each in found.timed
    }
    median, low, high = ratio(times[baseline], times[name])
    steady = found.settled(times) and _is_steady(times[baseline], times[name])
    alone = None
    if ALONE in times:
        alone = Ratio(
            **dict(zip(("median", "low", "high"), ratio(times[ALONE], times[name]), strict=True))
        )
        steady = steady and _is_steady(times[ALONE], times[name])
    wall = timed.rounds("wall")
    return LatencyRecord(
        steps=steps,
        batch=batch,
        threads=session.threads,
        device=session.device,
        median_ms=float(np.median(wall)),
        p90_ms=float(np.quantile(wall, 0.9)),
        speedup=median,
        speedup_low=low,
        speedup_high=high,
        against_int8=alone,
        cpu_ms=None if timed.cpu is None else float(np.median(timed.rounds("cpu"))),
        basis=basis,
        steady=steady,
    )


def _is_steady(baseline: Times, times: Times) -> bool:
    """Whether the rounds agree on how many times as fast one is as the other."""
    _, low, high = ratio(baseline, times)
    tenth, ninth = np.quantile(baseline / times, (0.1, 0.9))
    return high <= MAX_INTERVAL * low and bool(ninth <= MAX_SPREAD * tenth)

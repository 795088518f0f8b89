"""Fair latency comparisons: the same runtime, threads and inputs, with the variants interleaved.

The reported figure is the median of the rounds' ratios, with its 95 % interval from order
statistics (no distribution assumed): against the baseline, and against int8 alone where that is
timed as well. On a busy host the ratios are based on CPU time, and a record notes this; where the
rounds still disagree, a record is marked as not steady.

Each kind defines what is run on which inputs: `isslim/runtime/<kind>/latency.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from isslim.runtime.clock import Comparison, Times, interleave, ratio
from isslim.runtime.opening import OrtSession
from isslim.runtime.time_sources import SystemTime, TimeSource
from isslim.types.manifest import LatencyRecord, Ratio

ALONE = "original-int8"
"""The variant that pruning has to outperform."""
MAX_INTERVAL, MAX_SPREAD = 1.2, 1.6
"""Largest upper end / lower end of a steady figure's interval, and of the range that holds eight in
ten of the rounds' ratios."""

Session = TypeVar("Session", bound=OrtSession)


def baseline_session(sessions: Mapping[str, Session], baseline: str) -> Session:
    """The session whose time is divided by the others'.

    Args:
        sessions: by name.
        baseline: its name.

    Raises:
        ValueError: when it is missing.
    """
    if baseline not in sessions:
        raise ValueError(f"the baseline '{baseline}' is not among {sorted(sessions)}")
    return sessions[baseline]


def time_in_turn(
    runs: Mapping[str, Callable[[], object]],
    sessions: Mapping[str, Session],
    size: tuple[int, int],
    *,
    pairs: int | None = None,
    baseline: str = "original",
    time: TimeSource = SystemTime(),
) -> dict[str, LatencyRecord]:
    """Times runs round by round.

    Args:
        runs: by name; each runs a session once.
        sessions: by the same names, all of one device and number of threads.
        size: steps and batch of a run, to be recorded.
        pairs: rounds; None: as many as fit a few seconds.
        baseline: whose time is divided by the others'.
        time: the clocks.

    Returns:
        A record per session.
    """
    first = sessions[baseline]
    found = interleave(runs, pairs=pairs, threads=first.threads, device=first.device, time=time)
    return {
        name: _record(name, found, baseline, size, session) for name, session in sessions.items()
    }


def _record(
    name: str, found: Comparison, baseline: str, size: tuple[int, int], session: OrtSession
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
        steps=size[0],
        batch=size[1],
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
    """Whether the rounds agree on the speed-up."""
    _, low, high = ratio(baseline, times)
    tenth, ninth = np.quantile(baseline / times, (0.1, 0.9))
    return high <= MAX_INTERVAL * low and bool(ninth <= MAX_SPREAD * tenth)

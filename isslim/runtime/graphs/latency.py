"""Times graphs against each other on the inputs of one run."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays
from isslim.runtime.graphs.shapes import sizes
from isslim.runtime.latency import baseline_session, time_in_turn
from isslim.types.manifest import LatencyRecord


def compare_graphs(
    sessions: Mapping[str, GraphSession],
    inputs: NamedArrays,
    description: str,
    *,
    pairs: int | None = None,
    baseline: str = "original",
) -> dict[str, LatencyRecord]:
    """Times graphs on the same inputs, round by round.

    Args:
        sessions: by name; `baseline` among them.
        inputs: of one run.
        description: the run in words.
        pairs: rounds; None: as many as fit a few seconds.
        baseline: whose time is divided by the others'.

    Raises:
        ValueError: when the baseline is missing.
        InputsRefused: when a graph cannot be run on the inputs.
    """
    counted = sizes(baseline_session(sessions, baseline), inputs)
    runs = {name: partial(session.run, inputs) for name, session in sessions.items()}
    size = counted.get("steps", 1), counted.get("batch", 1)
    found = time_in_turn(runs, sessions, size, pairs=pairs, baseline=baseline)
    return {name: record.model_copy(update={"run": description}) for name, record in found.items()}

"""A graph over a stream: its caller hands the states that come out of one run to the next.

A run by itself begins from recorded states, so that small changes have no time to add up. Here
original and candidate each go on from their own states, run after run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from isslim.compress.kinds.graphs.comparing import Outputs
from isslim.compress.kinds.graphs.running import outputs_of
from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays
from isslim.types.quality import output_change
from isslim.types.states import StreamRecord

RUNS = 16
"""Of a stream: the recorded ones, over and over where there are fewer."""
END = 4
"""The last runs of it, where changes have added up the most."""


@dataclass(frozen=True)
class Stream:
    """Runs one after the other, and what the original makes of them.

    Attributes:
        runs: what else than states goes in.
        carried: per output that is handed back, the input that it goes into.
        wanted: the original's outputs.
    """

    runs: list[NamedArrays]
    carried: Mapping[str, str]
    wanted: list[Outputs]

    def record(
        self, graph: GraphSession, loss: Callable[[Sequence[Outputs], Sequence[Outputs]], float]
    ) -> StreamRecord | None:
        """What another graph makes of it from its own states; None where that is not finite.

        Args:
            graph: the other one.
            loss: of outputs, in the metric of the job, against the original's.
        """
        found = run_stream(graph, self.runs, self.carried)
        whole, end = loss(found, self.wanted), loss(found[-END:], self.wanted[-END:])
        if not (math.isfinite(whole) and math.isfinite(end)):
            return None
        return StreamRecord(runs=len(self.runs), loss=whole, end_loss=end)


def returned_states(
    graph: GraphSession, original: GraphSession, runs: Sequence[NamedArrays], names: Sequence[str]
) -> dict[str, float]:
    """Of states that are outputs, those in which something is zero that was not: how much they change, zeros included.

    Args:
        graph: the smaller one.
        original: what it was made of.
        runs: of both.
        names: of the states.
    """
    changes = {}
    found, wanted = outputs_of(graph, runs, names), outputs_of(original, runs, names)
    for name in names:
        pairs = [(one[name], other[name]) for one, other in zip(found, wanted, strict=True)]
        if any(((one == 0) & (other != 0)).any() for one, other in pairs):
            changes[name] = output_change(pairs)
    return changes


def stream_of(
    graph: GraphSession, carried: Mapping[str, str], runs: Sequence[NamedArrays]
) -> Stream | None:
    """A stream of recorded runs whose states are of one shape.

    Args:
        graph: the original.
        carried: see `Stream`.
        runs: recorded, in their order.

    Returns:
        None where no state is carried, or where what comes out does not fit in again.
    """
    if not carried or not runs:
        return None
    shapes = [tuple(run[name].shape for name in carried.values()) for run in runs]
    (shape, _), *_ = Counter(shapes).most_common(1)
    alike = [run for run, own in zip(runs, shapes, strict=True) if own == shape]
    stream = [alike[index % len(alike)] for index in range(RUNS)]
    try:
        wanted = run_stream(graph, stream, carried)
    except InputsRefused:
        return None
    return Stream(stream, carried, wanted)


def run_stream(
    graph: GraphSession, runs: Sequence[NamedArrays], carried: Mapping[str, str]
) -> list[Outputs]:
    """What a graph makes of a stream, from the first run's states on.

    Raises:
        InputsRefused: when it cannot be run on its own states.
    """
    states: NamedArrays = {}
    found = []
    for run in runs:
        outputs = graph.run({**run, **states})
        states = {given: np.asarray(outputs[name]) for name, given in carried.items()}
        found.append(outputs)
    return found

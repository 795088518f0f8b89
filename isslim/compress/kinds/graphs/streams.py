"""A graph over a stream: the states that one run returns are the initial states of the next.

A run by itself begins from recorded states, so that small changes have no time to add up. Here
original and candidate each continue from their own states, run after run. Where recorded states are
those that the run before returned, the recorded runs are such streams (`Streams`); of others, one
stream is made to be reported beside the quality of single runs (`Stream`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from isslim.compress.errors import ModeUnavailable, RunsUnusable
from isslim.compress.kinds.graphs.comparing import Outputs, difference
from isslim.compress.kinds.graphs.running import outputs_of
from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays
from isslim.types.quality import output_change
from isslim.types.states import StreamRecord

RUNS = 16
"""Length of a stream; the recorded runs are repeated where there are fewer."""
TOLERANCE = 1e-3
"""Within which a recorded state is the one that the run before returned: another runtime may have
recorded it."""
END = 4
"""The last runs of a stream, where changes have added up the most."""


@dataclass(frozen=True)
class Stream:
    """A stream of runs, and the original's outputs on it.

    Attributes:
        runs: the inputs; states among them are those of the first run only.
        carried: by output that holds a state, the input that it is passed to in the next run.
        wanted: the original's outputs.
    """

    runs: list[NamedArrays]
    carried: Mapping[str, str]
    wanted: list[Outputs]

    def record(
        self, graph: GraphSession, loss: Callable[[Sequence[Outputs], Sequence[Outputs]], float]
    ) -> StreamRecord | None:
        """The loss of another graph over the stream, with its own states carried on.

        Args:
            graph: the other graph.
            loss: compares outputs with the original's, in the metric of the job.

        Returns:
            None where the loss is not finite.
        """
        found = run_stream(graph, self.runs, self.carried)
        whole, end = loss(found, self.wanted), loss(found[-END:], self.wanted[-END:])
        if not (math.isfinite(whole) and math.isfinite(end)):
            return None
        return StreamRecord(runs=len(self.runs), loss=whole, end_loss=end)


def returned_states(
    graph: GraphSession, original: GraphSession, runs: Sequence[NamedArrays], names: Sequence[str]
) -> dict[str, float]:
    """How much the returned states change that have zeros in place of removed units.

    Args:
        graph: the smaller graph.
        original: the graph that it was made of.
        runs: inputs of both.
        names: of the outputs that are states.

    Returns:
        The `output_change` of each state in which an entry is zero that was not before.
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
    """A stream of the recorded runs whose states have the most common shape.

    Args:
        graph: the original.
        carried: see `Stream`.
        runs: recorded inputs, in their order.

    Returns:
        None where no state is carried, or where a returned state does not fit its input.
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
    graph: GraphSession,
    runs: Sequence[NamedArrays],
    carried: Mapping[str, str],
    names: Sequence[str] | None = None,
) -> list[Outputs]:
    """The outputs of a graph over a stream, from the initial states of the first run on.

    Args:
        graph: the session.
        runs: the stream.
        carried: by output that holds a state, the input that it is passed to in the next run.
        names: of the outputs that are wanted, the states among them; None: all.

    Raises:
        InputsRefused: when it cannot be run on its own states.
    """
    states: NamedArrays = {}
    found = []
    for run in runs:
        outputs = graph.run({**run, **states}, names)
        states = {given: np.asarray(outputs[name]) for name, given in carried.items()}
        found.append(outputs)
    return found


@dataclass(frozen=True)
class Streams:
    """Recorded runs in order, as one stream or several.

    Attributes:
        parts: the runs of each stream; states among the inputs of its first run are used.
        carried: by output that holds a state, the input that it is passed to in the next run.
    """

    parts: list[list[NamedArrays]]
    carried: Mapping[str, str]

    @property
    def description(self) -> str:
        """What they are, in words."""
        count = len(self.parts)
        return (
            f"as {'one stream' if count == 1 else f'{count} streams'} in which each variant "
            "continues from its own states"
        )

    @property
    def lengths(self) -> list[int]:
        """Runs of every stream."""
        return [len(part) for part in self.parts]

    def outputs(self, graph: GraphSession) -> list[Outputs]:
        """The outputs of a graph on all runs, in their order.

        Raises:
            RunsUnusable: when it cannot be run on its own states.
        """
        try:
            return [each for part in self.parts for each in run_stream(graph, part, self.carried)]
        except InputsRefused as refused:
            raise RunsUnusable(
                f"the graph cannot be run on the states that it returned: {refused.issues[0]}",
                refused.issues,
            ) from refused


Played = Sequence[NamedArrays] | Streams
"""Recorded runs, each from its recorded inputs, or as streams."""


def played(graph: GraphSession, runs: Played, names: Sequence[str] | None = None) -> list[Outputs]:
    """The outputs of a graph on runs or streams.

    Args:
        graph: the session.
        runs: the inputs.
        names: of the outputs that are wanted; None: all.

    Raises:
        RunsUnusable: when it cannot be run.
    """
    return runs.outputs(graph) if isinstance(runs, Streams) else outputs_of(graph, runs, names)


def streams_of(
    graph: GraphSession,
    carried: Mapping[str, str],
    runs: Sequence[NamedArrays],
    asked: bool | None,
) -> Streams | None:
    """Recorded runs as streams.

    Where some run's recorded states are those that the run before returns, a stream begins wherever
    they are not. Otherwise all runs are one stream if that is asked for.

    Args:
        graph: the original.
        carried: see `Streams`.
        runs: recorded inputs in order.
        asked: whether they are streams; None: where recorded states show it.

    Returns:
        None where every run is by itself.

    Raises:
        ModeUnavailable: when streams are asked for and no carried state is recognised.
        RunsUnusable: when a returned state does not fit its input.
    """
    if asked is False or not (carried or asked):
        return None
    if not carried:
        raise ModeUnavailable(
            "`stream` is asked for, and no state that the graph's caller passes from run to run "
            "is recognised: an output that only shows the last state of a recurrent layer, and one "
            "input that only begins it. Leave `stream` out, or record whole sequences as runs"
        )
    outputs = outputs_of(graph, runs, list(carried))
    states = [{name: run[given] for name, given in carried.items()} for run in runs]
    goes_on = [
        difference([before], [state]) <= TOLERANCE
        for before, state in zip(outputs[:-1], states[1:], strict=True)
    ]
    if not any(goes_on):
        if not asked:
            return None
        goes_on = [
            all(before[name].shape == each.shape for name, each in state.items())
            for before, state in zip(outputs[:-1], states[1:], strict=True)
        ]
    parts = [[run] for run in runs[:1]]
    for run, continues in zip(runs[1:], goes_on, strict=True):
        if continues:
            parts[-1].append(run)
        else:
            parts.append([run])
    return Streams(parts, carried)

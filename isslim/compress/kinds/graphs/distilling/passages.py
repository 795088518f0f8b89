"""Recorded runs as passages: what a caller runs one after the other, passing states on.

They are the streams of the recordings (`streams`). A graph without states, or whose states are not
recognised, is run run by run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isslim.compress.kinds.graphs.distilling.joining import Joint
from isslim.compress.kinds.graphs.streams import streams_of
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays

Passage = list[NamedArrays]
"""Runs in order; states are those of the first run only."""
MOST_RUNS = 1024
"""Of a passage: a longer recording is several, each begun with the states that were recorded. The
own states of a network drift away from these, which short passages do not show."""
ANEW = 4
"""Runs of a passage where every recording begins anew: some are learnt from as they were recorded,
and some as they follow others."""


def passages_of(
    graph: GraphSession,
    runs: Sequence[NamedArrays],
    carried: Mapping[str, str],
    joint: Joint | None,
    asked: bool | None,
) -> list[Passage]:
    """The passages of recorded runs.

    Args:
        graph: the original.
        runs: recorded inputs, in their order.
        carried: by output that holds a state, the input that it is passed to in the next run.
        joint: how runs are joined; runs by themselves are taken apart into their sequences.
        asked: whether they are streams; None: where recorded states show it.

    Raises:
        RunsUnusable: when a returned state does not fit its input.
    """
    if not carried or asked is False:
        return [[each] for run in runs for each in (joint.parts(run) if joint else [run])]
    found, most = streams_of(graph, carried, runs, asked), MOST_RUNS
    if found is None:
        found, most = streams_of(graph, carried, runs, True), ANEW
    assert found is not None  # it is asked for, and states are carried
    return [
        part[start : start + most] for part in found.parts for start in range(0, len(part), most)
    ]

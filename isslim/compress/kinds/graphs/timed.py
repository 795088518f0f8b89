"""Which runs of a graph are timed."""

from __future__ import annotations

from collections.abc import Sequence

from isslim.compress.errors import RunsUnusable
from isslim.compress.kinds.graphs.recorded import Recorded
from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays
from isslim.runtime.graphs.shapes import run_of_shape
from isslim.runtime.shape import Shape


def timed_runs(
    graph: GraphSession, runs: Recorded, shapes: Sequence[Shape], *, asked: bool
) -> dict[Shape, tuple[NamedArrays, str]]:
    """By shape, the run to time and its description.

    Args:
        graph: the original.
        runs: recorded or random ones.
        shapes: of the runs.
        asked: whether the recipe names them: the graph may then not run at them.

    Raises:
        RunsUnusable: when it does not.
    """
    try:
        found = {
            shape: run_of_shape(graph, runs.all, shape, random=runs.random) for shape in shapes
        }
        for run, _ in found.values() if asked else ():
            graph.run(run)
    except InputsRefused as refused:
        raise RunsUnusable(
            f"the graph cannot be timed at the recipe's `shapes`: {refused.issues[0]}",
            refused.issues,
        ) from refused
    return found

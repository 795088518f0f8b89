"""The class axis of an output: the dimension along which its classes, or its features, lie.

The first that applies: the axis of a Softmax right before the output; the dimension that a matrix
or a layer produced, as the trace of the graph found it; the only dimension of a fixed size; the
last dimension. What outputs have on recorded runs may overrule it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isslim.compress.errors import RunsUnusable
from isslim.compress.kinds.graphs.comparing import Outputs
from isslim.compress.onnx.model.attributes import get_int
from isslim.compress.onnx.network import GraphNetwork
from isslim.runtime.graphs.recorded_inputs import GraphSession


def class_axes(
    network: GraphNetwork, graph: GraphSession, outputs: Sequence[str], asked: int | None
) -> dict[str, int]:
    """The class axis of each output.

    Args:
        network: the original.
        graph: a session of the same graph.
        outputs: names of its outputs.
        asked: the axis that the recipe names, negative ones counted from the last; None: it is
            inferred.

    Returns:
        Positions, by output.

    Raises:
        RunsUnusable: when an output has no dimension `asked`.
    """
    if asked is None:
        return {name: class_axis(network, graph, name) for name in outputs}
    ranks = {name: len(graph.outputs[name][1]) for name in outputs}
    for name, rank in ranks.items():
        if not -rank <= asked < rank:
            raise RunsUnusable(
                f"`decision_axis` is {asked}, and the output {name} has {rank} dimensions: "
                f"expected {-rank} to {rank - 1}"
            )
    return {name: asked % rank for name, rank in ranks.items()}


def class_axis(network: GraphNetwork, graph: GraphSession, output: str) -> int:
    """The class axis of one output.

    Args:
        network: the original.
        graph: a session of the same graph.
        output: name of one of its outputs.

    Returns:
        The position; -1 where the number of dimensions is not known.
    """
    layout, declared = network.trace.layout(output), graph.outputs[output][1]
    rank = _rank(network, graph, output)
    if rank < 2:
        return rank - 1
    softmax = _softmax_axis(network, output, rank)
    if softmax is not None:
        return softmax
    given = layout.labelled() if layout is not None else []
    if len(given) == 1:
        return given[0]
    fixed = [place for place, size in enumerate(declared) if isinstance(size, int) and size > 1]
    if len(fixed) == 1:
        return fixed[0]
    return rank - 1


def axes_of_answers(
    network: GraphNetwork,
    graph: GraphSession,
    axes: Mapping[str, int | None],
    answers: Sequence[Outputs],
    metric: str,
) -> dict[str, int | None]:
    """Class axes as outputs have them on recorded runs.

    `x.squeeze()` leaves dimensions out where a run has one sequence: the class axis of an output
    with fewer dimensions than are known of it is counted from the last. In a single dimension that
    is of the sequences or steps there are no classes: every number stands for itself.

    Args:
        network: the original.
        graph: a session of the same graph.
        axes: as `class_axes` found them.
        answers: the outputs on every run.
        metric: that they are compared by.

    Raises:
        RunsUnusable: when decisions, or cosines, are along a dimension that a run does not have.
    """
    free = {size for _, shape in graph.inputs.values() for size in shape if isinstance(size, str)}
    found = dict(axes)
    for name, axis in axes.items():
        known, declared = _rank(network, graph, name), graph.outputs[name][1]
        # A single number is the same along any dimension.
        shapes = {run[name].shape for run in answers}
        ranks = {len(shape) for shape in shapes if shape}
        fewest = min(ranks, default=0)
        moving = len(shapes) > 1 or (known == 1 and bool(free & set(declared)))
        if metric != "cosine" and ranks == {1} and moving:
            found[name] = None
        elif axis is not None and ranks - {known}:
            place = axis - known if axis >= 0 else axis
            if fewest < -place and metric in ("argmax", "cosine"):
                raise RunsUnusable(
                    f"the output {name} has {fewest} dimensions on some runs, and {known} are "
                    f"known of it, dimension {axis} with its classes: export the model so that all "
                    "runs give as many, such as with `x.squeeze(0)` in place of `x.squeeze()`"
                )
            found[name] = place if fewest >= -place else None
    return found


def _rank(network: GraphNetwork, graph: GraphSession, output: str) -> int:
    """The number of dimensions that is known of an output; runs may differ."""
    layout = network.trace.layout(output)
    return layout.rank if layout is not None else len(graph.outputs[output][1])


def _softmax_axis(network: GraphNetwork, output: str, rank: int) -> int | None:
    """The axis of a Softmax right before an output; None without one.

    Before opset 13 a Softmax normalises over all dimensions from its axis on, so that only the last
    one names a single dimension.
    """
    for node in network.source.structure.graph.node:
        if output in node.output and node.op_type in ("Softmax", "LogSoftmax"):
            axis = get_int(node, "axis", -1 if network.source.opset >= 13 else 1) % rank
            return axis if network.source.opset >= 13 or axis == rank - 1 else None
    return None

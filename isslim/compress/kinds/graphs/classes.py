"""The class axis of an output: the dimension along which its classes, or its features, lie.

The first that applies: the axis of a Softmax right before the output; the dimension that a matrix
or a layer produced, as the trace of the graph found it; the only dimension of a fixed size; the
last dimension.
"""

from __future__ import annotations

from collections.abc import Sequence

from isslim.compress.errors import RunsUnusable
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
    rank = layout.rank if layout is not None else len(declared)
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

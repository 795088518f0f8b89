"""Along which dimension of an output its classes, or its features, lie.

In order: what a Softmax before it runs over; the dimension that a matrix or a layer gave, as the
walk over the graph found it; the only one of a fixed size; the last one.
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
    """The positions of that dimension, by output.

    Args:
        network: the original.
        graph: the same, opened.
        outputs: of it.
        asked: what the recipe names in their place.

    Raises:
        RunsUnusable: when an output has no such dimension.
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
    """The position of that dimension; -1, the last one, where the number of dimensions is not known.

    Args:
        network: the original.
        graph: the same, opened.
        output: one of its outputs.
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
    """What a Softmax right before an output runs over. Before opset 13 it ran over several dimensions at once."""
    for node in network.source.structure.graph.node:
        if output in node.output and node.op_type in ("Softmax", "LogSoftmax"):
            axis = get_int(node, "axis", -1 if network.source.opset >= 13 else 1) % rank
            return axis if network.source.opset >= 13 or axis == rank - 1 else None
    return None

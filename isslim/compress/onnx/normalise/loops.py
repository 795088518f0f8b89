"""Puts recurrent operators in the place of Loops over a recurrent cell.

Converters from TensorFlow write most layers of Keras so: GRU and SimpleRNN, and an LSTM with a mask
or with activations of its own.
"""

from __future__ import annotations

from onnx import NodeProto

from isslim.compress.onnx.model.shapes import inferred_shapes
from isslim.compress.onnx.model.split_model import SplitModel, inner_first, label, nodes, replace
from isslim.compress.onnx.normalise.cells.forms import NotACell
from isslim.compress.onnx.normalise.cells.invariants import read_from_outside
from isslim.compress.onnx.normalise.cells.layers import write_layer
from isslim.compress.onnx.normalise.cells.recognition import recognised
from isslim.compress.onnx.normalise.folding import fold_known
from isslim.compress.onnx.normalise.normal_form import zero_values


def loops_as_layers(parts: SplitModel) -> dict[str, str]:
    """Rewrites all Loops that a recurrent operator computes; in place.

    Args:
        parts: the model.

    Returns:
        Per Loop that stays the reason, as a clause; it is also noted at the Loop.
    """
    reasons: dict[str, str] = {}
    if not any(node.op_type == "Loop" for node in nodes(parts.structure.graph)):
        return reasons
    read_from_outside(parts)
    fold_known(parts)
    shapes, zeros = inferred_shapes(parts), zero_values(parts)
    for graph in inner_first(parts.structure.graph):
        written: list[NodeProto] = []
        for node in graph.node:
            if node.op_type != "Loop":
                written.append(node)
                continue
            try:
                written += write_layer(parts, node, recognised(parts, node, shapes, zeros))
            except NotACell as reason:
                reasons[label(node)] = node.doc_string = str(reason)
                written.append(node)
        replace(graph.node, [*written])
    return reasons

"""Values that a Loop hands on unchanged, read from around it.

Converters from TensorFlow pass weights and sizes through a loop as if each run might change them.
Read from outside, weights are constants again.
"""

from __future__ import annotations

from onnx import GraphProto, NodeProto, helper

from isslim.compress.onnx.model.attributes import subgraphs
from isslim.compress.onnx.model.split_model import SplitModel, graphs, inner_first, replace


def read_from_outside(parts: SplitModel) -> None:
    """Takes what a Loop only hands on out of what it carries; in place."""
    for graph in inner_first(parts.structure.graph):
        if not any(node.op_type == "Loop" for node in graph.node):
            continue
        written: list[NodeProto] = []
        for node in graph.node:
            written.append(node)
            if node.op_type == "Loop":
                written += _taken_out(node)
        replace(graph.node, [*written])


def _taken_out(node: NodeProto) -> list[NodeProto]:
    """Takes invariants out of one Loop; the nodes that stand for them behind it."""
    body = subgraphs(node)[0]
    behind = []
    # From the last, so that positions before stay what they are.
    for index in range(len(node.input) - 3, -1, -1):
        inner = body.input[index + 2].name
        if body.output[index + 1].name != inner:
            continue
        outer = node.input[index + 2]
        del node.input[index + 2], body.input[index + 2], body.output[index + 1]
        _rename(body, inner, outer)
        if index < len(node.output):
            if node.output[index]:
                behind.append(helper.make_node("Identity", [outer], [node.output[index]]))
            del node.output[index]
    return behind


def _rename(body: GraphProto, old: str, new: str) -> None:
    """Lets everything in a body read another value."""
    for graph in graphs(body):
        for node in graph.node:
            replace(node.input, [new if name == old else name for name in node.input])
        for port in graph.output:
            if port.name == old:
                port.name = new

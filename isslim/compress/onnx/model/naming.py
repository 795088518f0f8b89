"""Names for nodes: every node has one, and no two of a model have the same."""

from __future__ import annotations

from onnx import GraphProto, NodeProto

from isslim.compress.onnx.model.split_model import label, nodes


def name_nodes(graph: GraphProto) -> None:
    """Names the nodes that have no name, or one that an earlier node has; in place.

    Those inside If, Loop and Scan are included. A new name is the operator with the node's first
    output, so that it is the same in every export.
    """
    taken, later = set[str](), list[NodeProto]()
    for node in nodes(graph):
        if not node.name or node.name in taken:
            later.append(node)
        taken.add(node.name)
    for node in later:
        wanted = node_name(node)
        name, number = wanted, 2
        while name in taken:
            name, number = f"{wanted}_{number}", number + 1
        node.name = name
        taken.add(name)


def node_name(node: NodeProto) -> str:
    """The name of a node, or the one that `name_nodes` gives it where no other node has it."""
    return node.name or f"{node.op_type}_{label(node)}"

"""Attributes of a node, by type. One that is left out is its default; of another type than asked for, it is refused."""

from __future__ import annotations

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper

from isslim.compress.errors import GraphNotUnderstood


def get_int(node: NodeProto, name: str, default: int) -> int:
    """A whole number."""
    found = _find(node, name, AttributeProto.INT)
    return default if found is None else int(found.i)


def get_ints(node: NodeProto, name: str) -> list[int] | None:
    """Whole numbers; None when they are left out."""
    found = _find(node, name, AttributeProto.INTS)
    return None if found is None else [int(each) for each in found.ints]


def get_float(node: NodeProto, name: str, default: float) -> float:
    """A number."""
    found = _find(node, name, AttributeProto.FLOAT)
    return default if found is None else float(found.f)


def get_floats(node: NodeProto, name: str) -> list[float]:
    """Numbers; none when they are left out."""
    found = _find(node, name, AttributeProto.FLOATS)
    return [] if found is None else [float(each) for each in found.floats]


def get_string(node: NodeProto, name: str, default: str) -> str:
    """A text."""
    found = _find(node, name, AttributeProto.STRING)
    return default if found is None else bytes(found.s).decode(errors="replace")


def get_strings(node: NodeProto, name: str) -> list[str] | None:
    """Texts; None when they are left out."""
    found = _find(node, name, AttributeProto.STRINGS)
    return (
        None if found is None else [bytes(each).decode(errors="replace") for each in found.strings]
    )


def get_tensor(node: NodeProto, name: str) -> TensorProto | None:
    """A tensor; None when it is left out."""
    found = _find(node, name, AttributeProto.TENSOR)
    return None if found is None else found.t


def get_graph(node: NodeProto, name: str) -> GraphProto:
    """A graph.

    Raises:
        GraphNotUnderstood: when it is left out.
    """
    found = _find(node, name, AttributeProto.GRAPH)
    if found is None:
        raise GraphNotUnderstood(f"'{node.name}', a {node.op_type}, has no {name}")
    return found.g


def subgraphs(node: NodeProto) -> list[GraphProto]:
    """Bodies and branches of a node."""
    return [a.g for a in node.attribute if a.type == AttributeProto.GRAPH]


def set_attribute(node: NodeProto, name: str, value: int | float | list[int]) -> None:
    """Sets an attribute."""
    remove_attribute(node, name)
    node.attribute.append(helper.make_attribute(name, value))


def remove_attribute(node: NodeProto, name: str) -> None:
    """Removes an attribute, if it is there."""
    for index, each in enumerate(node.attribute):
        if each.name == name:
            del node.attribute[index]
            return


def _find(node: NodeProto, name: str, kind: int) -> AttributeProto | None:
    found: AttributeProto | None = next(
        (each for each in node.attribute if each.name == name), None
    )
    if found is not None and found.type != kind:
        raise GraphNotUnderstood(
            f"'{node.name}', a {node.op_type}: its attribute '{name}' is of another type"
        )
    return found

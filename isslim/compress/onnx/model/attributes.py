"""Typed access to a node's attributes: omitted ones have defaults, other types are refused.

https://onnx.ai/onnx/repo-docs/IR.html#attributes
"""

from __future__ import annotations

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper

from isslim.compress.errors import GraphNotUnderstood


def get_int(node: NodeProto, name: str, default: int) -> int:
    """A whole number.

    Args:
        node: whose attribute it is.
        name: of the attribute.
        default: its value where it is left out.

    Raises:
        GraphNotUnderstood: when the attribute is of another type.
    """
    found = _find(node, name, AttributeProto.INT)
    return default if found is None else int(found.i)


def get_ints(node: NodeProto, name: str) -> list[int] | None:
    """Whole numbers.

    Args:
        node: whose attribute it is.
        name: of the attribute.

    Returns:
        The numbers; None where they are left out.

    Raises:
        GraphNotUnderstood: when the attribute is of another type.
    """
    found = _find(node, name, AttributeProto.INTS)
    return None if found is None else [int(each) for each in found.ints]


def get_float(node: NodeProto, name: str, default: float) -> float:
    """A number; see `get_int`.

    Args:
        node: whose attribute it is.
        name: of the attribute.
        default: its value where it is left out.

    Raises:
        GraphNotUnderstood: when the attribute is of another type.
    """
    found = _find(node, name, AttributeProto.FLOAT)
    return default if found is None else float(found.f)


def get_floats(node: NodeProto, name: str) -> list[float]:
    """Numbers.

    Args:
        node: whose attribute it is.
        name: of the attribute.

    Returns:
        The numbers; none where they are left out.

    Raises:
        GraphNotUnderstood: when the attribute is of another type.
    """
    found = _find(node, name, AttributeProto.FLOATS)
    return [] if found is None else [float(each) for each in found.floats]


def get_string(node: NodeProto, name: str, default: str) -> str:
    """A text.

    Args:
        node: whose attribute it is.
        name: of the attribute.
        default: its value where it is left out.

    Raises:
        GraphNotUnderstood: when the attribute is of another type.
    """
    found = _find(node, name, AttributeProto.STRING)
    return default if found is None else _text(found.s)


def get_strings(node: NodeProto, name: str) -> list[str] | None:
    """Texts.

    Args:
        node: whose attribute it is.
        name: of the attribute.

    Returns:
        The texts; None where they are left out.

    Raises:
        GraphNotUnderstood: when the attribute is of another type.
    """
    found = _find(node, name, AttributeProto.STRINGS)
    return None if found is None else [_text(each) for each in found.strings]


def get_tensor(node: NodeProto, name: str) -> TensorProto | None:
    """A tensor.

    Args:
        node: whose attribute it is.
        name: of the attribute.

    Returns:
        The tensor; None where it is left out.

    Raises:
        GraphNotUnderstood: when the attribute is of another type.
    """
    found = _find(node, name, AttributeProto.TENSOR)
    return None if found is None else found.t


def get_graph(node: NodeProto, name: str) -> GraphProto:
    """A graph, which operators that have one never leave out.

    Args:
        node: whose attribute it is.
        name: of the attribute.

    Raises:
        GraphNotUnderstood: when it is left out, or the attribute is of another type.
    """
    found = _find(node, name, AttributeProto.GRAPH)
    if found is None:
        raise GraphNotUnderstood(f"'{node.name}', a {node.op_type}, has no {name}")
    return found.g


def subgraphs(node: NodeProto) -> list[GraphProto]:
    """Bodies and branches of a node."""
    return [a.g for a in node.attribute if a.type == AttributeProto.GRAPH]


def set_attribute(node: NodeProto, name: str, value: int | float | list[int]) -> None:
    """Sets an attribute, replacing one of the same name.

    Args:
        node: is changed in place.
        name: of the attribute.
        value: its type decides the attribute's.
    """
    # The checker refuses a node that has an attribute twice.
    remove_attribute(node, name)
    node.attribute.append(helper.make_attribute(name, value))


def remove_attribute(node: NodeProto, name: str) -> None:
    """Removes an attribute, if it is there.

    Args:
        node: is changed in place.
        name: of the attribute.
    """
    for index, each in enumerate(node.attribute):
        if each.name == name:
            del node.attribute[index]
            return


def _find(node: NodeProto, name: str, kind: int) -> AttributeProto | None:
    found: AttributeProto | None = next(
        (each for each in node.attribute if each.name == name), None
    )
    # In protobuf a field of another type reads as zero or empty, which would be taken for a value.
    if found is not None and found.type != kind:
        raise GraphNotUnderstood(
            f"'{node.name}', a {node.op_type}: its attribute '{name}' is of another type"
        )
    return found


def _text(value: bytes) -> str:
    """A text that need not be valid UTF-8, since it is only compared and shown."""
    return bytes(value).decode(errors="replace")


def append_output(node: NodeProto, name: str) -> None:
    """Lets an If, a Loop or a Scan give one more output, stacked along a new first axis.

    Args:
        node: gets it as its last output; in place.
        name: of the output.
    """
    node.output.append(name)
    # A Scan may say of each of its stacked outputs along which axis, and in which order.
    for attribute in node.attribute:
        if attribute.name in ("scan_output_axes", "scan_output_directions"):
            attribute.ints.append(0)

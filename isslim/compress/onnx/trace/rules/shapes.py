"""Rules for shapes that are computed at run time: which number of them counts which axes.

Such a shape shrinks by itself where it is read off a tensor that shrinks. What is laid out with it
shrinks too; a number that counts an axis and goes anywhere else (a scale of 1 / sqrt(H), a bound)
is an obstacle, raised by `refuse_counts`. How numbers are computed from one another is in
`shape_arithmetic`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import NodeProto, numpy_helper

from isslim.compress.onnx.model.attributes import get_int, get_ints, get_tensor
from isslim.compress.onnx.model.layouts import Dim, Layout, size
from isslim.compress.onnx.model.split_model import given
from isslim.compress.onnx.trace.context import RuleContext
from isslim.compress.onnx.trace.rule import rule
from isslim.compress.onnx.trace.rules.obstacles import COUNTS_UNITS
from isslim.compress.onnx.trace.rules.shape_arithmetic import NUMBER_RULES, InputEntries
from isslim.compress.onnx.trace.types import Entry, Unfollowable

COMPUTED_SIZE = "it computes a size from the number of units"

_MAY_COUNT_UNITS = {
    ("Shape", 0),
    ("Reshape", 1),
    ("Expand", 1),
    ("Tile", 1),
    ("Resize", 3),
    ("ConstantOfShape", 0),
    ("Slice", 1),
    ("Slice", 2),
}
"""Operators and inputs that take a number of units, and whose rules see to it that it shrinks."""


@rule("Shape")
def shape(context: RuleContext, node: NodeProto) -> None:
    """The numbers of a layout: each knows which units it counts."""
    layout = context.layout(node.input[0])
    context.set_default_layout(node)
    if layout is None:
        return
    entries = []
    for position, dim in enumerate(layout.dims):
        varied = layout.per_index is not None and layout.per_index.along == position
        axes = frozenset(layout.axes() if varied else Layout((dim,)).axes())
        # With other units at each index it is not known which ones a tensor of that size has.
        blocks = dim if isinstance(dim, tuple) and not varied else None
        entries.append(Entry(size(dim), axes, blocks))
    start, end = get_int(node, "start", 0), get_int(node, "end", layout.rank)
    context.findings.shapes[node.output[0]] = tuple(entries[start:end])


@rule("ConstantOfShape", obstacles=(COMPUTED_SIZE,))
def constant_of_shape(context: RuleContext, node: NodeProto) -> None:
    """A tensor of one value: its dimensions are what the shape's numbers count."""
    entries = context.entries(node.input[0])
    if entries is None:
        context.set_default_layout(node)
        return
    filled = get_tensor(node, "value")
    zero = filled is None or not np.any(numpy_helper.to_array(filled))
    dims = [counted(entry, zero, node.output[0]) for entry in entries]
    context.set_layout(node, Layout(tuple(dims)))


def counted(entry: Entry, zero_preserving: bool, source: str) -> Dim:
    """The dimension whose size a number is.

    Args:
        entry: the number.
        zero_preserving: whether the tensor is zero at removed units.
        source: the tensor.

    Raises:
        Unfollowable: when it is computed from an axis.
    """
    if not entry.axes:
        return entry.token
    if entry.blocks is None:
        raise Unfollowable(COMPUTED_SIZE)
    found = []
    for block in entry.blocks:
        found.append(replace(block, source=source, zero_preserving=zero_preserving))
    return tuple(found)


def follow_numbers(context: RuleContext, node: NodeProto) -> bool:
    """Follows a node that works on the numbers of a shape.

    Args:
        context: takes the numbers.
        node: any.

    Returns:
        Whether it was one; if not, its own rule is for it.
    """
    if not any(name in context.findings.shapes for name in node.input):
        return False
    inputs = [context.entries(name) for name in node.input if name]
    if node.op_type == "Split":
        return _split(context, node, inputs)
    compute = NUMBER_RULES.get(node.op_type)
    made = compute(context.graph, node, inputs) if compute else None
    if made is None:
        return False
    context.findings.shapes[node.output[0]] = made
    context.set_default_layout(node)
    return True


def refuse_counts(context: RuleContext, node: NodeProto) -> None:
    """Refuses a number that counts an axis where it would not shrink with it.

    Args:
        context: knows which values count.
        node: the reader.

    Raises:
        Unfollowable: see above.
    """
    for index, name in enumerate(node.input):
        if (node.op_type, index) not in _MAY_COUNT_UNITS and context.counts_units(name):
            raise Unfollowable(COUNTS_UNITS)


def _split(context: RuleContext, node: NodeProto, inputs: InputEntries) -> bool:
    """The numbers of a shape in several parts; whether it is known which."""
    as_input = context.graph.opset >= 13
    lengths = context.graph.integers(node, 1) if as_input else get_ints(node, "split")
    if inputs[0] is None or (lengths is None and given(node, 1)):
        return False
    each = -(-len(inputs[0]) // len(node.output))
    start = 0
    for index, length in enumerate(lengths or [each] * len(node.output)):
        context.findings.shapes[node.output[index]] = inputs[0][start : start + length]
        context.set_layout(node, context.graph.default(node.output[index]), index)
        start += length
    return True

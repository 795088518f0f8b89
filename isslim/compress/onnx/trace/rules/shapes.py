"""Rules for shapes that are computed at run time: which number of them counts which axes.

Such a shape shrinks by itself where it is read off a tensor that shrinks. What is laid out with it
shrinks too; a number that counts an axis and goes anywhere else (a scale of 1 / sqrt(H), a bound)
is an obstacle, raised by `refuse_counts`. How numbers are computed from one another is in
`shape_arithmetic`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import numpy_helper

from isslim.compress.onnx.model.attributes import get_int, get_ints, get_tensor
from isslim.compress.onnx.model.layouts import Dim, Layout, size
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
def _shape(context: RuleContext) -> None:
    """The sizes of a tensor: each records which units it counts."""
    layout = context.layout(0)
    context.set_default_layout()
    if layout is None:
        return  # of an unknown number of numbers none is followed
    entries = []
    for position, dim in enumerate(layout.dims):
        varied = layout.per_index is not None and layout.per_index.along == position
        axes = frozenset(layout.axes() if varied else Layout((dim,)).axes())
        # With other units at each index it is not known which ones a tensor of that size has.
        blocks = dim if isinstance(dim, tuple) and not varied else None
        entries.append(Entry(size(dim), axes, blocks))
    start, end = get_int(context.node, "start", 0), get_int(context.node, "end", layout.rank)
    context.set_entries(tuple(entries[start:end]))


@rule("ConstantOfShape", obstacles=(COMPUTED_SIZE,))
def _constant_of_shape(context: RuleContext) -> None:
    """A tensor of one value: its dimensions are those that the shape's numbers count."""
    entries = context.entries(0)
    if entries is None:
        context.set_default_layout()
        return
    filled = get_tensor(context.node, "value")
    zero = filled is None or not np.any(numpy_helper.to_array(filled))
    dims = [counted(entry, zero, context.output) for entry in entries]
    context.set_layout(Layout(tuple(dims)))


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
    # A product or sum of sizes shrinks in a way that is no axis's.
    if entry.blocks is None:
        raise Unfollowable(COMPUTED_SIZE)
    found = []
    for block in entry.blocks:
        found.append(replace(block, source=source, zero_preserving=zero_preserving))
    return tuple(found)


def follow_numbers(context: RuleContext) -> bool:
    """Follows a node that works on the numbers of a shape.

    Args:
        context: takes the numbers.

    Returns:
        Whether it was one; if not, its own rule is for it.
    """
    indices = [index for index, name in enumerate(context.node.input) if name]
    # Constants alone are no shape that the graph computes.
    if not any(context.is_computed(index) for index in indices):
        return False
    inputs = [context.entries(index) for index in indices]
    # The only one of them with several outputs.
    if context.node.op_type == "Split":
        return _split(context, inputs)
    compute = NUMBER_RULES.get(context.node.op_type)
    made = compute(context.graph, context.node, inputs) if compute else None
    if made is None:
        return False
    context.set_entries(made)
    context.set_default_layout()
    return True


def refuse_counts(context: RuleContext) -> None:
    """Refuses a number that counts an axis where it would not shrink with it.

    Args:
        context: knows which values count.

    Raises:
        Unfollowable: see above.
    """
    for index, name in enumerate(context.node.input):
        if (context.node.op_type, index) not in _MAY_COUNT_UNITS and context.counts_units(name):
            raise Unfollowable(COUNTS_UNITS)


def _split(context: RuleContext, inputs: InputEntries) -> bool:
    """The numbers of a shape in several parts; whether it is known which."""
    as_input = context.opset >= 13
    lengths = context.integers(1) if as_input else get_ints(context.node, "split")
    if inputs[0] is None or (lengths is None and context.input(1)):
        return False
    # Without lengths the parts are equal, the last one shorter.
    each = -(-len(inputs[0]) // len(context.node.output))
    start = 0
    for index, length in enumerate(lengths or [each] * len(context.node.output)):
        context.set_entries(inputs[0][start : start + length], index)
        context.set_default_layout(index)
        start += length
    return True

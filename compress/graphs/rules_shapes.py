"""Rules for shapes that are computed at run time: which number of them counts which axes.

Such a shape shrinks by itself where it is read off a tensor that shrinks. What is laid out with it shrinks too; a number
that counts an axis and goes anywhere else (a scale of 1 / sqrt(H), a bound) is an obstacle, raised by `guard`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from onnx import NodeProto, numpy_helper

from compress.graphs.attributes import tensor, whole, wholes
from compress.graphs.findings import Entry, Obstacle
from compress.graphs.layouts import Dim, Layout, size
from compress.graphs.parts import given
from compress.graphs.tracing import Trace

_ALLOWED = {("Reshape", 1), ("Expand", 1), ("ConstantOfShape", 0)}


def follow(trace: Trace, node: NodeProto) -> bool:
    """Follows a node that works on the numbers of a shape; says whether it was one."""
    if not any(name in trace.shapes for name in node.input):
        return False
    inputs = [trace.entries(name) for name in node.input if name]
    made = _FOLLOWED[node.op_type](trace, node, inputs) if node.op_type in _FOLLOWED else None
    if made is None:
        return False
    trace.shapes[node.output[0]] = made
    trace.lay(node, trace.default(node.output[0]))
    return True


def guard(trace: Trace, node: NodeProto) -> None:
    """Refuses a number that counts an axis where it would not shrink with it.

    Raises:
        Obstacle: see above.
    """
    for index, name in enumerate(node.input):
        if (node.op_type, index) not in _ALLOWED and any(entry.axes for entry in trace.shapes.get(name, ())):
            raise Obstacle("it computes with the number of units")


def shape(trace: Trace, node: NodeProto) -> None:
    """The Shape operator: the numbers of a layout."""
    layout = trace.layout(node.input[0])
    trace.lay(node, trace.default(node.output[0]))
    if layout is None:
        return
    entries = []
    for position, dim in enumerate(layout.dims):
        varied = layout.panels is not None and layout.panels.along == position
        axes = layout.axes() if varied else Layout((dim,)).axes()
        entries.append(Entry(size(dim), frozenset(axes), dim if isinstance(dim, tuple) and not varied else None))
    start, end = whole(node, "start", 0), whole(node, "end", layout.rank)
    trace.shapes[node.output[0]] = tuple(entries[start:end])


def constant_of_shape(trace: Trace, node: NodeProto) -> None:
    """A tensor of one value: its dimensions are what the shape's numbers count."""
    entries = trace.entries(node.input[0])
    if entries is None:
        trace.lay(node, trace.default(node.output[0]))
        return
    filled = tensor(node, "value")
    zero = filled is None or not np.any(numpy_helper.to_array(filled))
    dims = [counted(trace, entry, zero, node.output[0]) for entry in entries]
    trace.lay(node, Layout(tuple(dims)))


def counted(trace: Trace, entry: Entry, silent: bool, source: str) -> Dim:
    """The dimension whose size a number is.

    Raises:
        Obstacle: when it is computed from an axis.
    """
    if entry.blocks is not None and entry.axes:
        return tuple(replace(block, source=source, silent=silent) for block in entry.blocks)
    if entry.axes:
        raise Obstacle("it computes a size from the number of units")
    return entry.token


Inputs = list[tuple[Entry, ...] | None]
Made = tuple[Entry, ...] | None


def _same(trace: Trace, node: NodeProto, inputs: Inputs) -> Made:
    """Operators that only change how the numbers lie: a shape of one or no dimension stays its numbers in order."""
    return inputs[0]


def _gathered(trace: Trace, node: NodeProto, inputs: Inputs) -> Made:
    chosen = trace.integers(node, 1)
    if inputs[0] is None or chosen is None:
        return None
    return tuple(inputs[0][index] for index in chosen)


def _sliced(trace: Trace, node: NodeProto, inputs: Inputs) -> Made:
    if inputs[0] is None:
        return None
    if trace.parts.opset < 10:
        starts, ends = wholes(node, "starts"), wholes(node, "ends")
        return inputs[0][starts[0] : ends[0]] if starts and ends else None
    low, high, steps = trace.integers(node, 1), trace.integers(node, 2), trace.integers(node, 4)
    if low is None or high is None or (given(node, 4) and steps is None):
        return None
    return inputs[0][low[0] : high[0] : steps[0] if steps else 1]


def _joined(trace: Trace, node: NodeProto, inputs: Inputs) -> Made:
    if any(each is None for each in inputs):
        return None
    return tuple(entry for each in inputs if each is not None for entry in each)


def _computed(trace: Trace, node: NodeProto, inputs: Inputs) -> Made:
    """Arithmetic, number by number."""
    if len(inputs) != 2 or inputs[0] is None or inputs[1] is None:
        return None
    one, other = inputs[0], inputs[1]
    length = max(len(one), len(other))
    if {len(one), len(other)} - {1, length}:
        return None
    pairs = zip(one * (length // len(one)), other * (length // len(other)), strict=True) if one and other else ()
    made = []
    for index, (first, second) in enumerate(pairs):
        token: int | str = f"?{node.output[0]}:{index}"
        if isinstance(first.token, int) and isinstance(second.token, int):
            token = _ARITHMETIC[node.op_type](first.token, second.token)
        made.append(Entry(token, first.axes | second.axes))
    return tuple(made)


_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "Mul": lambda one, other: one * other,
    "Add": lambda one, other: one + other,
    "Sub": lambda one, other: one - other,
    "Div": lambda one, other: one // other if other else 0,
}
_FOLLOWED: dict[str, Callable[[Trace, NodeProto, Inputs], Made]] = {
    "Identity": _same,
    "Cast": _same,
    "Squeeze": _same,
    "Unsqueeze": _same,
    "Reshape": _same,
    "Gather": _gathered,
    "Slice": _sliced,
    "Concat": _joined,
    **dict.fromkeys(_ARITHMETIC, _computed),
}

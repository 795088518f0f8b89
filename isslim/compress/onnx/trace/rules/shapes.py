"""Rules for shapes that are computed at run time: which number of them counts which axes.

Such a shape shrinks by itself where it is read off a tensor that shrinks. What is laid out with it
shrinks too; a number that counts an axis and goes anywhere else (a scale of 1 / sqrt(H), a bound)
is an obstacle, raised by `guard`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from onnx import NodeProto, numpy_helper

from isslim.compress.onnx.model.attributes import get_int, get_ints, get_tensor
from isslim.compress.onnx.model.layouts import Dim, Layout, size
from isslim.compress.onnx.model.split_model import given
from isslim.compress.onnx.model.symbols import divided, multiplied
from isslim.compress.onnx.trace.tracing import Trace
from isslim.compress.onnx.trace.types import Entry, Unfollowable

_ALLOWED = {
    ("Reshape", 1),
    ("Expand", 1),
    ("Tile", 1),
    ("Resize", 3),
    ("ConstantOfShape", 0),
    ("Slice", 1),
    ("Slice", 2),
}


def follow(trace: Trace, node: NodeProto) -> bool:
    """Follows a node that works on the numbers of a shape; says whether it was one."""
    if not any(name in trace.shapes for name in node.input):
        return False
    inputs = [trace.entries(name) for name in node.input if name]
    if node.op_type == "Split":
        return _divided_among(trace, node, inputs)
    made = _FOLLOWED[node.op_type](trace, node, inputs) if node.op_type in _FOLLOWED else None
    if made is None:
        return False
    trace.shapes[node.output[0]] = made
    trace.set_layout(node, trace.default(node.output[0]))
    return True


def guard(trace: Trace, node: NodeProto) -> None:
    """Refuses a number that counts an axis where it would not shrink with it.

    Raises:
        Unfollowable: see above.
    """
    for index, name in enumerate(node.input):
        if (node.op_type, index) not in _ALLOWED and any(
            entry.axes for entry in trace.shapes.get(name, ())
        ):
            raise Unfollowable("it computes with the number of units")


def shape(trace: Trace, node: NodeProto) -> None:
    """The Shape operator: the numbers of a layout."""
    layout = trace.layout(node.input[0])
    trace.set_layout(node, trace.default(node.output[0]))
    if layout is None:
        return
    entries = []
    for position, dim in enumerate(layout.dims):
        varied = layout.per_index is not None and layout.per_index.along == position
        axes = layout.axes() if varied else Layout((dim,)).axes()
        entries.append(
            Entry(
                size(dim), frozenset(axes), dim if isinstance(dim, tuple) and not varied else None
            )
        )
    start, end = get_int(node, "start", 0), get_int(node, "end", layout.rank)
    trace.shapes[node.output[0]] = tuple(entries[start:end])


def constant_of_shape(trace: Trace, node: NodeProto) -> None:
    """A tensor of one value: its dimensions are what the shape's numbers count."""
    entries = trace.entries(node.input[0])
    if entries is None:
        trace.set_layout(node, trace.default(node.output[0]))
        return
    filled = get_tensor(node, "value")
    zero = filled is None or not np.any(numpy_helper.to_array(filled))
    dims = [counted(trace, entry, zero, node.output[0]) for entry in entries]
    trace.set_layout(node, Layout(tuple(dims)))


def counted(trace: Trace, entry: Entry, zero_preserving: bool, source: str) -> Dim:
    """The dimension whose size a number is.

    Raises:
        Unfollowable: when it is computed from an axis.
    """
    if entry.blocks is not None and entry.axes:
        return tuple(
            replace(block, source=source, zero_preserving=zero_preserving) for block in entry.blocks
        )
    if entry.axes:
        raise Unfollowable("it computes a size from the number of units")
    return entry.token


InputEntries = list[tuple[Entry, ...] | None]
Made = tuple[Entry, ...] | None


def _same(trace: Trace, node: NodeProto, inputs: InputEntries) -> Made:
    """Operators that only change how the numbers lie: a shape of one or no dimension stays its numbers in order."""
    return inputs[0]


def _gathered(trace: Trace, node: NodeProto, inputs: InputEntries) -> Made:
    chosen = trace.integers(node, 1)
    if inputs[0] is None or chosen is None:
        return None
    return tuple(inputs[0][index] for index in chosen)


def _sliced(trace: Trace, node: NodeProto, inputs: InputEntries) -> Made:
    if inputs[0] is None:
        return None
    if trace.parts.opset < 10:
        starts, ends = get_ints(node, "starts"), get_ints(node, "ends")
        return inputs[0][starts[0] : ends[0]] if starts and ends else None
    low, high, steps = trace.integers(node, 1), trace.integers(node, 2), trace.integers(node, 4)
    if low is None or high is None or (given(node, 4) and steps is None):
        return None
    return inputs[0][low[0] : high[0] : steps[0] if steps else 1]


def _divided_among(trace: Trace, node: NodeProto, inputs: InputEntries) -> bool:
    """Split: the numbers of a shape in several parts; whether it is known which."""
    given_sizes = get_ints(node, "split") if trace.parts.opset < 13 else trace.integers(node, 1)
    if inputs[0] is None or (given_sizes is None and given(node, 1)):
        return False
    each = -(-len(inputs[0]) // len(node.output))
    start = 0
    for index, length in enumerate(given_sizes or [each] * len(node.output)):
        trace.shapes[node.output[index]] = inputs[0][start : start + length]
        trace.set_layout(node, trace.default(node.output[index]), index)
        start += length
    return True


def _joined(trace: Trace, node: NodeProto, inputs: InputEntries) -> Made:
    if any(each is None for each in inputs):
        return None
    return tuple(entry for each in inputs if each is not None for entry in each)


def _computed(trace: Trace, node: NodeProto, inputs: InputEntries) -> Made:
    """Arithmetic, number by number."""
    pairs = _pairs(inputs)
    if pairs is None:
        return None
    made = []
    for index, (first, second) in enumerate(pairs):
        single = first if second.token == 1 else second if first.token == 1 else None
        if node.op_type == "Mul" and single is not None:
            made.append(single)
            continue
        if node.op_type == "Div" and second.token == 1:
            made.append(first)
            continue
        token = _ARITHMETIC[node.op_type](first.token, second.token)
        made.append(
            Entry(_unknown(node, index) if token is None else token, first.axes | second.axes)
        )
    return tuple(made)


def _pairs(inputs: InputEntries) -> list[tuple[Entry, Entry]] | None:
    """The numbers of two shapes at the same places; one number meets all of the other's."""
    one, other = inputs if len(inputs) == 2 else (None, None)
    if one is None or other is None:
        return None
    length = max(len(one), len(other))
    if {len(one), len(other)} - {1, length} or not one or not other:
        return None
    return list(zip(one * (length // len(one)), other * (length // len(other)), strict=True))


def _multiplied(trace: Trace, node: NodeProto, inputs: InputEntries) -> Made:
    """ReduceProd over all numbers: of a Tensordot's free dimensions, and of those that it contracts."""
    if inputs[0] is None:
        return None
    several = [entry for entry in inputs[0] if entry.token != 1]
    if len(several) == 1:
        return (several[0],)
    axes = frozenset[int]().union(*(entry.axes for entry in several))
    token = _product(*(entry.token for entry in several))
    return (Entry(_unknown(node, 0) if token is None else token, axes),)


_COMPUTED = "?="


def _unknown(node: NodeProto, index: int) -> str:
    """A name for a number that is computed in a way that is not followed: it need not be a size."""
    return f"{_COMPUTED}{node.output[0]}:{index}"


def _product(*tokens: Token) -> Token | None:
    """Of numbers that are no sizes (-1 in a shape that is asked for) only where all are numbers."""
    if all(isinstance(token, int) for token in tokens) or all(
        isinstance(t, str) or t > 0 for t in tokens
    ):
        return multiplied(tokens)
    return None


def _compared(trace: Trace, node: NodeProto, inputs: InputEntries) -> Made:
    """Equal, number by number: a size that is not known is not -1 anyway."""
    pairs = _pairs(inputs)
    if pairs is None:
        return None
    made = []
    for first, second in pairs:
        tokens = (first.token, second.token)
        numbers = [token for token in tokens if isinstance(token, int)]
        if len(numbers) == 2 or tokens[0] == tokens[1]:
            made.append(Entry(int(tokens[0] == tokens[1])))
        elif numbers and numbers[0] < 0 and not any(_COMPUTED in str(token) for token in tokens):
            made.append(Entry(0))
        else:
            return None
    return tuple(made)


def _chosen(trace: Trace, node: NodeProto, inputs: InputEntries) -> Made:
    """Where, number by number, if it is known which is chosen."""
    if len(inputs) != 3 or any(each is None for each in inputs):
        return None
    condition, one, other = (each or () for each in inputs)
    length = max(map(len, (condition, one, other)))
    if {len(condition), len(one), len(other)} - {1, length} or not length:
        return None
    rows = zip(*(each * (length // len(each)) for each in (condition, one, other)), strict=True)
    made = []
    for test, yes, no in rows:
        if test.token not in (0, 1):
            return None
        made.append(yes if test.token else no)
    return tuple(made)


def _quotient(one: Token, other: Token) -> Token | None:
    if isinstance(one, int) and isinstance(other, int):
        return one // other if other else 0
    return divided(one, other)


def _whole(compute: Callable[[int, int], int]) -> Callable[[Token, Token], Token | None]:
    return lambda one, other: (
        compute(one, other) if isinstance(one, int) and isinstance(other, int) else None
    )


Token = int | str
_ARITHMETIC: dict[str, Callable[[Token, Token], Token | None]] = {
    "Mul": _product,
    "Add": _whole(lambda one, other: one + other),
    "Sub": _whole(lambda one, other: one - other),
    "Div": _quotient,
}
_FOLLOWED: dict[str, Callable[[Trace, NodeProto, InputEntries], Made]] = {
    "Identity": _same,
    "Cast": _same,
    "Squeeze": _same,
    "Unsqueeze": _same,
    "Reshape": _same,
    "Gather": _gathered,
    "Slice": _sliced,
    "Concat": _joined,
    **dict.fromkeys(_ARITHMETIC, _computed),
    "ReduceProd": _multiplied,
    "Equal": _compared,
    "Where": _chosen,
}

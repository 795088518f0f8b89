"""Numbers of a shape computed from others at run time, one by one.

Each function gives the numbers of a node's output, or None where they are not followed: then the
node is none of these, and `shapes.refuse_counts` refuses it if units are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onnx import NodeProto

from isslim.compress.onnx.model.attributes import get_ints
from isslim.compress.onnx.model.split_model import given
from isslim.compress.onnx.model.symbols import divided, multiplied
from isslim.compress.onnx.trace.graph_view import GraphView
from isslim.compress.onnx.trace.types import Entry

Token = int | str
Entries = tuple[Entry, ...]
InputEntries = Sequence[Entries | None]
Made = Entries | None

_COMPUTED = "?="
"""Begins the name of a number that is computed in a way that is not followed."""


def _same(graph: GraphView, node: NodeProto, inputs: InputEntries) -> Made:
    """A shape of one or no dimension stays its numbers in order, however they lie."""
    return inputs[0]


def _gathered(graph: GraphView, node: NodeProto, inputs: InputEntries) -> Made:
    # Which number it is would have to be known to know what it counts.
    chosen = graph.integers(node, 1)
    if inputs[0] is None or chosen is None:
        return None
    return tuple(inputs[0][index] for index in chosen)


def _sliced(graph: GraphView, node: NodeProto, inputs: InputEntries) -> Made:
    if inputs[0] is None:
        return None
    # Shapes have one dimension, so there is one entry and its axes need no look.
    steps: list[int] | None = None
    if graph.opset < 10:
        starts, ends = get_ints(node, "starts"), get_ints(node, "ends")
    else:
        starts, ends = graph.integers(node, 1), graph.integers(node, 2)
        steps = graph.integers(node, 4)
    if not starts or not ends or (given(node, 4) and steps is None):
        return None
    step = steps[0] if steps else 1
    return inputs[0][starts[0] : ends[0] : step]


def _joined(graph: GraphView, node: NodeProto, inputs: InputEntries) -> Made:
    found: list[Entry] = []
    for each in inputs:
        if each is None:
            return None
        found += each
    return tuple(found)


def _computed(graph: GraphView, node: NodeProto, inputs: InputEntries) -> Made:
    """Arithmetic, number by number."""
    pairs = _pairs(inputs)
    if pairs is None:
        return None
    made = []
    for index, (first, second) in enumerate(pairs):
        made.append(_neutral(node, first, second) or _calculated(node, index, first, second))
    return tuple(made)


def _neutral(node: NodeProto, first: Entry, second: Entry) -> Entry | None:
    """A number times or by 1: it is what it was, and counts the same dimension."""
    if node.op_type in ("Mul", "Div") and second.token == 1:
        return first
    if node.op_type == "Mul" and first.token == 1:
        return second
    return None


def _calculated(node: NodeProto, index: int, first: Entry, second: Entry) -> Entry:
    token = _ARITHMETIC[node.op_type](first.token, second.token)
    # What it counts is remembered though it is no size any more: a reader must refuse it.
    return Entry(_unknown(node, index) if token is None else token, first.axes | second.axes)


def _pairs(inputs: InputEntries) -> list[tuple[Entry, Entry]] | None:
    """The numbers of two shapes at the same places; one number meets all of the other's."""
    one, other = inputs if len(inputs) == 2 else (None, None)
    if not one or not other:
        return None
    if len(one) == 1:
        one = one * len(other)
    if len(other) == 1:
        other = other * len(one)
    return list(zip(one, other, strict=True)) if len(one) == len(other) else None


def _multiplied(graph: GraphView, node: NodeProto, inputs: InputEntries) -> Made:
    """ReduceProd over all numbers: a Tensordot's free dimensions, or those that it contracts."""
    if inputs[0] is None:
        return None
    several = [entry for entry in inputs[0] if entry.token != 1]
    # The product of one size and of ones is that size, and may lay a tensor out.
    if len(several) == 1:
        return (several[0],)
    axes: frozenset[int] = frozenset()
    for entry in several:
        axes |= entry.axes
    token = _product(*(entry.token for entry in several))
    return (Entry(_unknown(node, 0) if token is None else token, axes),)


def _unknown(node: NodeProto, index: int) -> str:
    """A name for a number that is computed in a way that is not followed: it need not be a size."""
    return f"{_COMPUTED}{node.output[0]}:{index}"


def _product(*tokens: Token) -> Token | None:
    """Of numbers that are no sizes (-1 in a shape that is asked for) only where all are numbers."""
    numbers = [token for token in tokens if isinstance(token, int)]
    if len(numbers) == len(tokens) or all(number > 0 for number in numbers):
        return multiplied(tokens)
    return None


def _compared(graph: GraphView, node: NodeProto, inputs: InputEntries) -> Made:
    """Equal, number by number."""
    pairs = _pairs(inputs)
    if pairs is None:
        return None
    made = []
    for first, second in pairs:
        equal = _equal(first.token, second.token)
        if equal is None:
            return None
        made.append(Entry(int(equal)))
    return tuple(made)


def _equal(one: Token, other: Token) -> bool | None:
    """Whether two numbers are the same; None when it depends on the data."""
    if one == other or (isinstance(one, int) and isinstance(other, int)):
        return one == other
    number, name = (one, other) if isinstance(one, int) else (other, one)
    # A size that is not known is not -1 anyway; a computed number may be.
    if isinstance(number, int) and number < 0 and _COMPUTED not in str(name):
        return False
    return None


def _chosen(graph: GraphView, node: NodeProto, inputs: InputEntries) -> Made:
    """Where, number by number, if it is known which is chosen."""
    known = [each for each in inputs if each]
    length = max(map(len, known), default=0)
    # One number stands for all of the others', as in any broadcast.
    rows = [each * length if len(each) == 1 else each for each in known]
    if len(inputs) != 3 or [len(row) for row in rows] != [length] * 3:
        return None
    made = []
    for test, yes, no in zip(*rows, strict=True):
        # Any other token is a truth that depends on the data.
        if test.token not in (0, 1):
            return None
        made.append(yes if test.token else no)
    return tuple(made)


def _quotient(one: Token, other: Token) -> Token | None:
    if isinstance(one, int) and isinstance(other, int):
        # No shape is divided by 0 in a graph that runs, so any number will do.
        return one // other if other else 0
    return divided(one, other)


def _whole(compute: Callable[[int, int], int]) -> Callable[[Token, Token], Token | None]:
    """Arithmetic that is known of numbers only: a sum with a name in it has no form here."""

    def computed(one: Token, other: Token) -> Token | None:
        if isinstance(one, int) and isinstance(other, int):
            return compute(one, other)
        return None

    return computed


_ARITHMETIC: dict[str, Callable[[Token, Token], Token | None]] = {
    "Mul": _product,
    "Add": _whole(lambda one, other: one + other),
    "Sub": _whole(lambda one, other: one - other),
    "Div": _quotient,
}

NUMBER_RULES: dict[str, Callable[[GraphView, NodeProto, InputEntries], Made]] = {
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
"""Per operator how it computes numbers of a shape from those of its inputs."""

"""Rules for operators that work on each number by itself, or on numbers at the same place of several tensors.

Where two activations meet, their axes are one from there on. A constant is indexed by the axes that
it meets; an activation without axes, such as a graph's input in a skip connection, is let through
in part (`Trace.gate_input`).

A removed unit is silent: zero. It stays so behind Tanh and Relu, not behind Sigmoid; which matters
where units are summed later without a matrix of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from onnx import NodeProto

from isslim.compress.onnx.model.attributes import get_float
from isslim.compress.onnx.model.layouts import Blocks, Dim, Layout, PerIndexAxes, size
from isslim.compress.onnx.model.split_model import given
from isslim.compress.onnx.trace.tracing import Rule, Trace
from isslim.compress.onnx.trace.types import Unfollowable

ZeroRule = Literal["all", "any", "first", "never"]
_KEEP_ZERO = (
    "Tanh Relu LeakyRelu ThresholdedRelu Elu Selu Celu Abs Neg Sqrt Sin Sinh Asinh Tan Atan Asin Atanh Erf Gelu "
    "Softsign Sign Floor Ceil Round HardSwish Mish Swish Shrink"
)
_COMPARISONS = ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Or", "Xor")
_LOSE_ZERO = "Sigmoid HardSigmoid Exp Softplus Cos Cosh Acos Not IsNaN IsInf"


def unary(zero_preserving: bool) -> Rule:
    """The rule of an operator on single numbers that keeps zero, or does not."""

    def rule(trace: Trace, node: NodeProto) -> None:
        layout = trace.layout(node.input[0])
        trace.set_layout(
            node, layout.marked(node.output[0], zero_preserving=zero_preserving) if layout else None
        )

    return rule


def elementwise(
    zero_rule: ZeroRule, operands: Callable[[NodeProto], list[int]], divisor: int | None = None
) -> Rule:
    """The rule of an operator on numbers at the same place, with broadcasting.

    Args:
        zero_rule: whether zero comes of zeros in all operands, any, the first, or never.
        operands: which inputs.
        divisor: an input that must not vanish.
    """

    def rule(trace: Trace, node: NodeProto) -> None:
        trace.set_layout(node, meet(trace, node, operands(node), zero_rule, divisor))

    return rule


def clip(trace: Trace, node: NodeProto) -> None:
    """Limits are single numbers; zero stays zero when it lies within them."""
    if trace.parts.opset < 11:
        within = get_float(node, "min", -1.0) <= 0 <= get_float(node, "max", 1.0)
    else:
        low, high = (
            trace.value(name) if (name := given(node, i)) else np.zeros(()) for i in (1, 2)
        )
        within = (
            low is not None and high is not None and bool((low <= 0).all() and (high >= 0).all())
        )
    unary(zero_preserving=within)(trace, node)


def power(trace: Trace, node: NodeProto) -> None:
    """Zero stays zero under a positive exponent."""
    exponent = trace.value(node.input[1])
    positive = exponent is not None and bool(np.all(exponent > 0))
    trace.set_layout(node, meet(trace, node, [0, 1], "first" if positive else "never", divisor=1))


def where(trace: Trace, node: NodeProto) -> None:
    """Chooses between two tensors; the condition may be of any shape that fits."""
    trace.set_layout(node, meet(trace, node, [0, 1, 2], "all", None, always_zero_preserving={0}))


def meet(
    trace: Trace,
    node: NodeProto,
    operands: list[int],
    zero_rule: ZeroRule,
    divisor: int | None,
    always_zero_preserving: set[int] = frozenset(),  # type: ignore[assignment]
) -> Layout:
    """Lays several inputs on one another, joins their axes, and gives the layout of the result.

    Raises:
        Unfollowable: when they do not fit.
    """
    layouts = {index: trace.require_layout(node, index) for index in operands}
    rank = max(layout.rank for layout in layouts.values())
    layouts = {
        index: layout.moved([None] * (rank - layout.rank) + list(range(layout.rank)))
        for index, layout in layouts.items()
    }
    panels = _common_panels(layouts)
    if panels is None:
        layouts = {index: trace.without_per_index_axes(layout) for index, layout in layouts.items()}
    dims: list[Dim] = []
    wanted: dict[int, dict[int, Dim]] = {index: {} for index in operands}
    for position in range(rank):
        own = {index: layout.dims[position] for index, layout in layouts.items()}
        blocks = [dim for dim in own.values() if isinstance(dim, tuple)]
        if not blocks:
            whole = [dim for dim in own.values() if dim != 1]
            dims.append(
                next((dim for dim in whole if isinstance(dim, int)), whole[0] if whole else 1)
            )
            continue
        blocks = trace.align_blocks(blocks)
        runs = iter(blocks)
        own = {index: next(runs) if isinstance(dim, tuple) else dim for index, dim in own.items()}
        for other in blocks[1:]:
            trace.unite(blocks[0], other)
        for index, dim in own.items():
            if isinstance(dim, tuple) or dim == 1:
                continue
            if trace.constant(node.input[index]):
                wanted[index][position] = blocks[0]
            else:
                offset = rank - trace.require_layout(node, index).rank
                trace.gate_input(node, index, position - offset, (blocks[0],))
        zero_preserving = _preserves_zero(
            trace, node, own, zero_rule, divisor, always_zero_preserving
        )
        dims.append(
            tuple(
                replace(b, source=node.output[0], zero_preserving=quiet)
                for b, quiet in zip(blocks[0], zero_preserving, strict=True)
            )
        )
    for index, found in wanted.items():
        if found:
            value = trace.parts.constants[node.input[index]]
            rest = 1.0 if index == divisor else 0.0
            trace.index_constant(
                node,
                index,
                {position - rank + value.ndim: dim for position, dim in found.items()},
                rest,
            )
    made = Layout(tuple(dims))
    if panels is None:
        return made
    along = [layout.per_index for layout in layouts.values() if layout.per_index]
    for each in along[1:]:
        for one, other in zip(along[0].options, each.options, strict=True):
            trace.unite(one, other)
    first = made.dims[panels.along]
    quiet = [block.zero_preserving for block in first] if isinstance(first, tuple) else []
    options = tuple(
        tuple(
            replace(b, source=node.output[0], zero_preserving=q and b.zero_preserving)
            for b, q in zip(option, quiet, strict=True)
        )
        for option in along[0].options
    )
    return Layout(made.dims, PerIndexAxes(panels.by, panels.along, options))


def _common_panels(layouts: dict[int, Layout]) -> PerIndexAxes | None:
    """The panels that all operands share; None when there are none, or others' dimensions get in their way."""
    found = [layout.per_index for layout in layouts.values() if layout.per_index]
    if not found or any(
        (p.by, p.along, len(p.options)) != (found[0].by, found[0].along, len(found[0].options))
        for p in found
    ):
        return None
    others = [layout for layout in layouts.values() if not layout.per_index]
    return found[0] if all(layout.dims[found[0].along] == 1 for layout in others) else None


def _preserves_zero(
    trace: Trace,
    node: NodeProto,
    own: dict[int, Dim],
    zero_rule: ZeroRule,
    divisor: int | None,
    anyway: set[int],
) -> list[bool]:
    """Whether each block of a dimension is zero where its axis is silent."""
    blocks: Blocks = next(dim for dim in own.values() if isinstance(dim, tuple))
    result = []
    for position in range(len(blocks)):
        quiet = {}
        for index, dim in own.items():
            value = trace.value(node.input[index])
            if isinstance(dim, tuple):
                quiet[index] = dim[position].zero_preserving
            elif value is not None and size(dim) == size(blocks):
                quiet[index] = True  # the reference silences it too
            else:
                quiet[index] = value is not None and not np.any(value)
        if divisor is not None and quiet[divisor] and isinstance(own[divisor], tuple):
            raise Unfollowable("it divides by what vanishes with a unit")
        felt = [each for index, each in quiet.items() if index not in anyway]
        result.append(
            {"all": all(felt), "any": any(felt), "first": felt[0], "never": False}[zero_rule]
        )
    return result


def _everything(node: NodeProto) -> list[int]:
    return list(range(len(node.input)))


RULES: dict[str, Rule] = {
    **dict.fromkeys(_KEEP_ZERO.split(), unary(zero_preserving=True)),
    **dict.fromkeys(_LOSE_ZERO.split(), unary(zero_preserving=False)),
    **dict.fromkeys(["Add", "Sub", "Sum", "Mean", "Max", "Min"], elementwise("all", _everything)),
    **dict.fromkeys(["Mul", "And"], elementwise("any", _everything)),
    **dict.fromkeys(_COMPARISONS, elementwise("never", _everything)),
    "Div": elementwise("first", _everything, divisor=1),
    "Pow": power,
    "PRelu": elementwise("first", _everything),
    "Clip": clip,
    "Where": where,
}

"""Rules for operators that work on each number by itself, or on numbers at the same place of several tensors.

Where two activations meet, their axes are one from there on. A constant is indexed by the axes that
it meets; an activation without axes, such as a graph's input in a skip connection, is let through
in part (`Trace.select`).

A removed unit is silent: zero. It stays so behind Tanh and Relu, not behind Sigmoid; which matters
where units are summed later without a matrix of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from onnx import NodeProto

from isslim.compress.onnx.model.attributes import real
from isslim.compress.onnx.model.layouts import Blocks, Dim, Layout, Panels, size
from isslim.compress.onnx.model.split_model import given
from isslim.compress.onnx.trace.tracing import Rule, Trace
from isslim.compress.onnx.trace.types import Obstacle

Silence = Literal["all", "any", "first", "never"]
_KEEP_ZERO = (
    "Tanh Relu LeakyRelu ThresholdedRelu Elu Selu Celu Abs Neg Sqrt Sin Sinh Asinh Tan Atan Asin Atanh Erf Gelu "
    "Softsign Sign Floor Ceil Round HardSwish Mish Swish Shrink"
)
_COMPARISONS = ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Or", "Xor")
_LOSE_ZERO = "Sigmoid HardSigmoid Exp Softplus Cos Cosh Acos Not IsNaN IsInf"


def unary(silent: bool) -> Rule:
    """The rule of an operator on single numbers that keeps zero, or does not."""

    def rule(trace: Trace, node: NodeProto) -> None:
        layout = trace.layout(node.input[0])
        trace.lay(node, layout.marked(node.output[0], silent=silent) if layout else None)

    return rule


def elementwise(
    silence: Silence, operands: Callable[[NodeProto], list[int]], divisor: int | None = None
) -> Rule:
    """The rule of an operator on numbers at the same place, with broadcasting.

    Args:
        silence: whether zero comes of zeros in all operands, any, the first, or never.
        operands: which inputs.
        divisor: an input that must not vanish.
    """

    def rule(trace: Trace, node: NodeProto) -> None:
        trace.lay(node, meet(trace, node, operands(node), silence, divisor))

    return rule


def clip(trace: Trace, node: NodeProto) -> None:
    """Limits are single numbers; zero stays zero when it lies within them."""
    if trace.parts.opset < 11:
        within = real(node, "min", -1.0) <= 0 <= real(node, "max", 1.0)
    else:
        low, high = (
            trace.value(name) if (name := given(node, i)) else np.zeros(()) for i in (1, 2)
        )
        within = (
            low is not None and high is not None and bool((low <= 0).all() and (high >= 0).all())
        )
    unary(silent=within)(trace, node)


def power(trace: Trace, node: NodeProto) -> None:
    """Zero stays zero under a positive exponent."""
    exponent = trace.value(node.input[1])
    positive = exponent is not None and bool(np.all(exponent > 0))
    trace.lay(node, meet(trace, node, [0, 1], "first" if positive else "never", divisor=1))


def where(trace: Trace, node: NodeProto) -> None:
    """Chooses between two tensors; the condition may be of any shape that fits."""
    trace.lay(node, meet(trace, node, [0, 1, 2], "all", None, silent_anyway={0}))


def meet(
    trace: Trace,
    node: NodeProto,
    operands: list[int],
    silence: Silence,
    divisor: int | None,
    silent_anyway: set[int] = frozenset(),  # type: ignore[assignment]
) -> Layout:
    """Lays several inputs on one another, joins their axes, and gives the layout of the result.

    Raises:
        Obstacle: when they do not fit.
    """
    layouts = {index: trace.need(node, index) for index in operands}
    rank = max(layout.rank for layout in layouts.values())
    layouts = {
        index: layout.moved([None] * (rank - layout.rank) + list(range(layout.rank)))
        for index, layout in layouts.items()
    }
    panels = _common_panels(layouts)
    if panels is None:
        layouts = {index: trace.collapsed(layout) for index, layout in layouts.items()}
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
        blocks = trace.refined(blocks)
        runs = iter(blocks)
        own = {index: next(runs) if isinstance(dim, tuple) else dim for index, dim in own.items()}
        for other in blocks[1:]:
            trace.join(blocks[0], other)
        for index, dim in own.items():
            if isinstance(dim, tuple) or dim == 1:
                continue
            if trace.constant(node.input[index]):
                wanted[index][position] = blocks[0]
            else:
                offset = rank - trace.need(node, index).rank
                trace.select(node, index, position - offset, (blocks[0],))
        silent = _silences(trace, node, own, silence, divisor, silent_anyway)
        dims.append(
            tuple(
                replace(b, source=node.output[0], silent=quiet)
                for b, quiet in zip(blocks[0], silent, strict=True)
            )
        )
    for index, found in wanted.items():
        if found:
            value = trace.parts.constants[node.input[index]]
            rest = 1.0 if index == divisor else 0.0
            trace.use(
                node,
                index,
                {position - rank + value.ndim: dim for position, dim in found.items()},
                rest,
            )
    made = Layout(tuple(dims))
    if panels is None:
        return made
    along = [layout.panels for layout in layouts.values() if layout.panels]
    for each in along[1:]:
        for one, other in zip(along[0].options, each.options, strict=True):
            trace.join(one, other)
    first = made.dims[panels.along]
    quiet = [block.silent for block in first] if isinstance(first, tuple) else []
    options = tuple(
        tuple(
            replace(b, source=node.output[0], silent=q and b.silent)
            for b, q in zip(option, quiet, strict=True)
        )
        for option in along[0].options
    )
    return Layout(made.dims, Panels(panels.by, panels.along, options))


def _common_panels(layouts: dict[int, Layout]) -> Panels | None:
    """The panels that all operands share; None when there are none, or others' dimensions get in their way."""
    found = [layout.panels for layout in layouts.values() if layout.panels]
    if not found or any(
        (p.by, p.along, len(p.options)) != (found[0].by, found[0].along, len(found[0].options))
        for p in found
    ):
        return None
    others = [layout for layout in layouts.values() if not layout.panels]
    return found[0] if all(layout.dims[found[0].along] == 1 for layout in others) else None


def _silences(
    trace: Trace,
    node: NodeProto,
    own: dict[int, Dim],
    silence: Silence,
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
                quiet[index] = dim[position].silent
            elif value is not None and size(dim) == size(blocks):
                quiet[index] = True  # the reference silences it too
            else:
                quiet[index] = value is not None and not np.any(value)
        if divisor is not None and quiet[divisor] and isinstance(own[divisor], tuple):
            raise Obstacle("it divides by what vanishes with a unit")
        felt = [each for index, each in quiet.items() if index not in anyway]
        result.append(
            {"all": all(felt), "any": any(felt), "first": felt[0], "never": False}[silence]
        )
    return result


def _everything(node: NodeProto) -> list[int]:
    return list(range(len(node.input)))


RULES: dict[str, Rule] = {
    **dict.fromkeys(_KEEP_ZERO.split(), unary(silent=True)),
    **dict.fromkeys(_LOSE_ZERO.split(), unary(silent=False)),
    **dict.fromkeys(["Add", "Sub", "Sum", "Mean", "Max", "Min"], elementwise("all", _everything)),
    **dict.fromkeys(["Mul", "And"], elementwise("any", _everything)),
    **dict.fromkeys(_COMPARISONS, elementwise("never", _everything)),
    "Div": elementwise("first", _everything, divisor=1),
    "Pow": power,
    "PRelu": elementwise("first", _everything),
    "Clip": clip,
    "Where": where,
}

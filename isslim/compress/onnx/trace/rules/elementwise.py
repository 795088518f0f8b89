"""Rules for operators that work number by number, on one tensor or on several of one shape.

Where two activations meet, their axes are one from there on. A constant is indexed by the axes that
it meets; an activation without axes, such as a graph's input in a skip connection, is let through
in part (`RuleContext.gate_input`).

A removed unit is zero. It stays so behind Tanh and Relu, not behind Sigmoid; which matters where
units are summed later without a matrix of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from isslim.compress.onnx.model.attributes import get_float
from isslim.compress.onnx.model.layouts import Blocks, Dim, Layout, PerIndexAxes, blocks_of, size
from isslim.compress.onnx.trace.alignment import PARTS_DIFFER
from isslim.compress.onnx.trace.context import OTHER_SIZE, RuleContext
from isslim.compress.onnx.trace.rule import rule
from isslim.compress.onnx.trace.types import Unfollowable

DIVIDES_BY_ZERO = "it divides by what vanishes with a unit"

_MEETS = (PARTS_DIFFER, OTHER_SIZE)


@dataclass(frozen=True)
class ZeroRule:
    """When a result is zero because operands at its place are.

    Attributes:
        zero_operands: which of the operands must be zero for that.
        divisor: index of the operand that must not vanish; None: each may.
        selector: index of the operand that only chooses among others: whether it is zero decides
            nothing.
    """

    zero_operands: Literal["all", "any", "first", "never"]
    divisor: int | None = None
    selector: int | None = None

    def holds(self, zeros: dict[int, bool]) -> bool:
        """Whether the result is zero.

        Args:
            zeros: per operand whether it is.
        """
        # In the order of the operands, so that the first is the first.
        deciding = [zero for index, zero in zeros.items() if index != self.selector]
        if self.zero_operands == "all":
            return all(deciding)
        if self.zero_operands == "any":
            return any(deciding)
        return self.zero_operands == "first" and deciding[0]


# Reciprocal, Log and Acosh have no rule: at a removed unit they give no number, and the reference
# that the cut graph is compared with would hold none either.
@rule(
    *("Tanh", "Relu", "LeakyRelu", "ThresholdedRelu", "Elu", "Selu", "Celu", "Abs", "Neg", "Sqrt"),
    *("Sin", "Sinh", "Asinh", "Tan", "Atan", "Asin", "Atanh", "Erf", "Gelu", "Softsign", "Sign"),
    *("Floor", "Ceil", "Round", "HardSwish", "Mish", "Swish", "Shrink"),
)
def _zero_keeping(context: RuleContext) -> None:
    """An element-wise function that maps zero to zero."""
    _unary(context, zero_preserving=True)


# IsNaN and IsInf are false at zero, which would pass for zero; nobody sums them.
@rule(
    *("Sigmoid", "HardSigmoid", "Exp", "Softplus", "Cos", "Cosh", "Acos", "Not", "IsNaN", "IsInf")
)
def _zero_losing(context: RuleContext) -> None:
    """An element-wise function that does not map zero to zero."""
    _unary(context, zero_preserving=False)


@rule("Clip")
def _clip(context: RuleContext) -> None:
    """Limits are scalars; zero stays zero when it is within them."""
    _unary(context, zero_preserving=_zero_within_limits(context))


@rule("Add", "Sub", "Sum", "Mean", "Max", "Min", obstacles=_MEETS)
def _added(context: RuleContext) -> None:
    """Element-wise: zero where all operands are."""
    _lay_out(context, ZeroRule("all"))


@rule("Mul", "And", obstacles=_MEETS)
def _multiplied(context: RuleContext) -> None:
    """Element-wise: zero where any operand is."""
    _lay_out(context, ZeroRule("any"))


@rule("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Or", "Xor", obstacles=_MEETS)
def _compared(context: RuleContext) -> None:
    """Element-wise: a truth value, which removed units may have too."""
    _lay_out(context, ZeroRule("never"))


@rule("PRelu", obstacles=_MEETS)
def _sloped(context: RuleContext) -> None:
    """A slope for negative numbers: zero stays zero whatever the slope."""
    _lay_out(context, ZeroRule("first"))


@rule("Div", obstacles=(*_MEETS, DIVIDES_BY_ZERO))
def _divided(context: RuleContext) -> None:
    """Element-wise: zero where the dividend is; the divisor must not vanish with a unit."""
    _lay_out(context, ZeroRule("first", divisor=1))


@rule("Pow", obstacles=(*_MEETS, DIVIDES_BY_ZERO))
def _power(context: RuleContext) -> None:
    """Zero stays zero under a positive exponent."""
    exponent = context.value(1)
    positive = exponent is not None and bool(np.all(exponent > 0))
    # The exponent is no divisor, but it must not become 0 at a removed unit either: 0 ** 0 is 1.
    _lay_out(context, ZeroRule("first" if positive else "never", divisor=1))


@rule("Where", obstacles=_MEETS)
def _where(context: RuleContext) -> None:
    """Chooses between two tensors; the condition may be of any shape that fits."""
    _lay_out(context, ZeroRule("all", selector=0))


def _unary(context: RuleContext, *, zero_preserving: bool) -> None:
    layout = context.layout(0)
    if layout is not None:
        context.set_layout(layout.marked(context.output, zero_preserving=zero_preserving))


def _zero_within_limits(context: RuleContext) -> bool:
    """Whether a Clip leaves zero where it is."""
    if context.opset < 11:
        # A limit that is left out is below or above all numbers: any of that sign stands for it.
        least = get_float(context.node, "min", -1.0)
        return least <= 0 <= get_float(context.node, "max", 1.0)
    low, high = _limit(context, 1), _limit(context, 2)
    # What the caller gives as a limit may be anything.
    return low is not None and high is not None and low <= 0 <= high


def _limit(context: RuleContext, index: int) -> float | None:
    """A limit of a Clip, 0 where it is left out; None when it is not a constant."""
    if not context.input(index):
        return 0.0
    value = context.value(index)
    return None if value is None else float(value.reshape(-1)[0])


def _lay_out(context: RuleContext, zero_rule: ZeroRule) -> None:
    context.set_layout(meet(context, zero_rule))


def meet(context: RuleContext, zero_rule: ZeroRule) -> Layout:
    """Lays all inputs of a node on one another and joins their axes.

    Args:
        context: takes the edits.
        zero_rule: when its result is zero.

    Returns:
        The layout of the result.

    Raises:
        Unfollowable: when the inputs do not fit.
    """
    layouts = _broadcast(context)
    per_index = _common_per_index(layouts)
    if per_index is None:
        # Where operands do not agree on an axis for each index, they do on one for all.
        without = context.axes.without_per_index_axes
        layouts = {index: without(layout) for index, layout in layouts.items()}
    constant_dims: dict[int, dict[int, Dim]] = {index: {} for index in layouts}
    dims: list[Dim] = []
    for position in range(layouts[0].rank):
        met = {index: layout.dims[position] for index, layout in layouts.items()}
        if any(isinstance(dim, tuple) for dim in met.values()):
            met = _united(context, met)
            _index_others(context, met, position, layouts[0].rank, constant_dims)
            dims.append(_resulting_blocks(context, met, zero_rule))
        else:
            dims.append(_resulting_size(list(met.values())))
    _index_constants(context, constant_dims, layouts[0].rank, zero_rule.divisor)
    result = Layout(tuple(dims))
    if per_index is None:
        return result
    return _with_common_per_index(context, result, per_index, layouts)


def _broadcast(context: RuleContext) -> dict[int, Layout]:
    """Per input its layout with as many dimensions as the longest has, by new ones in front."""
    layouts = context.require_layouts()
    rank = max(layout.rank for layout in layouts)
    # Broadcasting lays dimensions on one another from the last.
    found = {}
    for index, layout in enumerate(layouts):
        new: list[int | None] = [None] * (rank - layout.rank)
        found[index] = layout.moved(new + list(range(layout.rank)))
    return found


def _common_per_index(layouts: dict[int, Layout]) -> PerIndexAxes | None:
    """The per-index axes that all operands share.

    Returns:
        None when there are none, or when another operand has numbers of its own for each index:
        they would have to be chosen differently for each.
    """
    found = [layout.per_index for layout in layouts.values() if layout.per_index]
    if not found or len({_arrangement(each) for each in found}) > 1:
        return None
    first = found[0]
    others = [layout for layout in layouts.values() if not layout.per_index]
    return first if all(layout.dims[first.along] == 1 for layout in others) else None


def _arrangement(per_index: PerIndexAxes) -> tuple[int, int, int]:
    return per_index.by, per_index.along, len(per_index.options)


def _united(context: RuleContext, met: dict[int, Dim]) -> dict[int, Dim]:
    """Operands' dimensions at one position, with blocks cut at the same places and axes united."""
    with_blocks = [index for index, dim in met.items() if isinstance(dim, tuple)]
    several = [dim for dim in met.values() if isinstance(dim, tuple)]
    # Cut first: blocks that end at different places cannot be united one by one.
    aligned = context.axes.align_blocks(several)
    for other in aligned[1:]:
        context.axes.unite(aligned[0], other)
    return {**met, **dict(zip(with_blocks, aligned, strict=True))}


def _index_others(
    context: RuleContext,
    met: dict[int, Dim],
    position: int,
    rank: int,
    constant_dims: dict[int, dict[int, Dim]],
) -> None:
    """Cuts what meets units without units of its own: constants shrink, activations are gated.

    Args:
        context: takes the edits.
        met: per operand its dimension at `position`, some with blocks.
        position: among `rank` dimensions.
        rank: of the result.
        constant_dims: per operand and position the blocks that index a constant; gets more.
    """
    blocks = _first_blocks(met)
    for index, dim in met.items():
        # One number for all units stays one number.
        if isinstance(dim, tuple) or dim == 1:
            continue
        if context.is_constant(index):
            constant_dims[index][position] = blocks
        else:
            # The edit is of the input as it is, before broadcasting gave it more dimensions.
            own_position = position - rank + context.require_layout(index).rank
            context.gate_input(index, own_position, (blocks,))


def _index_constants(
    context: RuleContext,
    constant_dims: dict[int, dict[int, Dim]],
    rank: int,
    divisor: int | None,
) -> None:
    """Notes which dimensions of constant operands units index."""
    for index, dims in constant_dims.items():
        if not dims:
            continue
        shift = context.constant(index).ndim - rank
        own = {position + shift: dim for position, dim in dims.items()}
        # Where axes of different sizes lie side by side, dead components fill the gap: 0 / 1, not
        # 0 / 0.
        context.index_constant(index, own, rest=1.0 if index == divisor else 0.0)


def _resulting_size(sizes: list[Dim]) -> Dim:
    """The size of a dimension without axes: a number rather than a name, and 1 where all are."""
    # A dimension of 1 stretches to the others, which are all of one size.
    longer = [size for size in sizes if size != 1]
    known = [size for size in longer if isinstance(size, int)]
    return (known or longer or [1])[0]


def _resulting_blocks(context: RuleContext, met: dict[int, Dim], zero_rule: ZeroRule) -> Blocks:
    """A dimension of the result, of the first operand's axes."""
    blocks = _first_blocks(met)
    zeros: dict[int, list[bool]] = {}
    for index, dim in met.items():
        zeros[index] = _operand_zeros(context, index, dim, blocks)
    divisor = zero_rule.divisor
    # 0 / 0 in the reference is no number, while the cut graph lacks it.
    if divisor is not None and isinstance(met[divisor], tuple) and any(zeros[divisor]):
        raise Unfollowable(DIVIDES_BY_ZERO)
    found = []
    for place, block in enumerate(blocks):
        at_place = {index: each[place] for index, each in zeros.items()}
        zero = zero_rule.holds(at_place)
        found.append(replace(block, source=context.output, zero_preserving=zero))
    return tuple(found)


def _operand_zeros(context: RuleContext, index: int, dim: Dim, blocks: Blocks) -> list[bool]:
    """Whether an operand is zero at removed components, per block."""
    if isinstance(dim, tuple):
        return [block.zero_preserving for block in dim]
    value = context.value(index)
    # A constant as long as the units is zero at removed ones in the masked reference too; one
    # number for all of them is what it is.
    indexed = value is not None and size(dim) == size(blocks)
    zero = value is not None and not np.any(value)
    return [indexed or zero] * len(blocks)


def _with_common_per_index(
    context: RuleContext,
    result: Layout,
    per_index: PerIndexAxes,
    layouts: dict[int, Layout],
) -> Layout:
    """The result with the axes that all operands have for each index."""
    several = [layout.per_index.options for layout in layouts.values() if layout.per_index]
    # The dimensions themselves show the first options only: the others are united here.
    for options in several[1:]:
        for one, other in zip(several[0], options, strict=True):
            context.axes.unite(one, other)
    # What the first option is after the operator, the others are: all went through the same.
    first = result.dims[per_index.along]
    zeros = [block.zero_preserving for block in blocks_of(first)]
    options = tuple(_shown_by(context, option, zeros) for option in several[0])
    return Layout(result.dims, replace(per_index, options=options))


def _shown_by(context: RuleContext, blocks: Blocks, zeros: list[bool]) -> Blocks:
    """The blocks as the node's output, zero only where they were and the operator keeps it."""
    found = []
    for block, zero in zip(blocks, zeros, strict=True):
        kept = zero and block.zero_preserving
        found.append(replace(block, source=context.output, zero_preserving=kept))
    return tuple(found)


def _first_blocks(met: dict[int, Dim]) -> Blocks:
    return next(dim for dim in met.values() if isinstance(dim, tuple))

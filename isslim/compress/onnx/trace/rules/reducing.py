"""Rules for operators that look along dimensions: reductions, softmax, normalisations, pooling.

Along other dimensions than that of the units they change nothing about the axes. Along the units
only a sum of what is zero for a removed unit is exact; a mean, a maximum, a softmax or a
normalisation over the units would be another function, so those are obstacles.
"""

from __future__ import annotations

from isslim.compress.onnx.model.attributes import get_int, get_ints
from isslim.compress.onnx.model.layouts import Layout, blocks_of
from isslim.compress.onnx.trace.context import RuleContext
from isslim.compress.onnx.trace.rule import rule
from isslim.compress.onnx.trace.rules.obstacles import NORMALISES_UNITS, SUMS_NONZERO
from isslim.compress.onnx.trace.types import Unfollowable

REDUCES_BY_DATA = "along which dimensions it reduces depends on the data"
COMPARES_UNITS = "it reduces over the units in a way that counts them or compares them"
WEIGHS_UNITS = "it weighs the units against one another"
STATISTICS_OF_DATA = "it normalises with statistics of the data"
SCALE_NOT_CONSTANT = "what it scales with is not a constant"
POOLS_UNITS = "it pools over units"
SUMS_BY_DATA = "along which dimension it sums depends on the data"
SUMS_UNITS = "it sums the units one after the other"

_SUMS = ("ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare")
_ZERO_OF_ZEROS = (*_SUMS, "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")


@rule(
    *_ZERO_OF_ZEROS,
    *("ReduceLogSum", "ReduceLogSumExp"),
    obstacles=(REDUCES_BY_DATA, COMPARES_UNITS, SUMS_NONZERO),
)
def _reduction(context: RuleContext) -> None:
    """Sums, means and extremes along some dimensions; over units only sums."""
    layout = context.require_layout(0)
    axes = _reduced_axes(context)
    if axes is None:
        context.set_layout(layout)
        return
    gone = {axis % layout.rank for axis in axes} or set(range(layout.rank))
    layout = _apart_or_united(context, layout, gone)
    for position in gone & set(layout.labelled()):
        _sum_over_units(context, layout, position)
    # Along other dimensions a removed unit is reduced to zero, except by logarithms.
    keeps_zero = context.node.op_type in _ZERO_OF_ZEROS
    layout = layout.marked(context.output, zero_preserving=keeps_zero)
    context.set_layout(_without(layout, gone, keep=get_int(context.node, "keepdims", 1) == 1))


def _without(layout: Layout, gone: set[int], *, keep: bool) -> Layout:
    """The layout without some dimensions, or with 1 in their places."""
    if not keep:
        left = [index for index in range(layout.rank) if index not in gone]
        return layout.moved([*left])
    for position in gone:
        layout = layout.with_dim(position, 1)
    return layout


def _reduced_axes(context: RuleContext) -> list[int] | None:
    """Axes of a reduction: an attribute at first, an input since.

    Returns:
        An empty list for all; None for a reduction along none, which changes nothing.
    """
    # All became inputs, the sum's five versions before the others'.
    since = 13 if context.node.op_type == "ReduceSum" else 18
    if context.opset < since:
        return get_ints(context.node, "axes") or []
    axes = context.integers(1)
    if context.input(1) and axes is None:
        raise Unfollowable(REDUCES_BY_DATA)
    if not axes and get_int(context.node, "noop_with_empty_axes", 0):
        return None
    return axes or []


def _sum_over_units(context: RuleContext, layout: Layout, position: int) -> None:
    """Notes a sum over units, if it is one, and if removed ones add nothing to it.

    Raises:
        Unfollowable: if not.
    """
    blocks = blocks_of(layout.dims[position])
    # A mean divides by the number of units; a zero may be the largest or the smallest of them.
    if context.node.op_type not in (*_SUMS, "LpNormalization"):
        raise Unfollowable(COMPARES_UNITS)
    if not all(block.zero_preserving for block in blocks if block.axis is not None):
        raise Unfollowable(SUMS_NONZERO)
    # A norm only scales the units: without a reader behind it they are not read.
    if context.node.op_type != "LpNormalization":
        context.note_sum(blocks)


@rule("Softmax", "LogSoftmax", "Hardmax", obstacles=(WEIGHS_UNITS,))
def _softmax(context: RuleContext) -> None:
    """Normalises along a dimension without units; before opset 13 along all from `axis` on."""
    rank = context.require_layout(0).rank
    # At first it saw a matrix: all dimensions from `axis` on as one.
    old = context.opset < 13
    axis = get_int(context.node, "axis", 1 if old else -1) % rank
    along = set(range(axis, rank)) if old else {axis}
    _along_others(context, along, WEIGHS_UNITS)


@rule("LayerNormalization", "RMSNormalization", obstacles=(NORMALISES_UNITS,))
def _layer_normalisation(context: RuleContext) -> None:
    """Scaled by the statistics of all dimensions from `axis` on, none of them with units."""
    rank = context.require_layout(0).rank
    axis = context.axis(-1, rank)
    _along_others(context, set(range(axis, rank)), NORMALISES_UNITS)


@rule("LpNormalization", obstacles=(SUMS_NONZERO,))
def _norm(context: RuleContext) -> None:
    """Scaled by a norm along one dimension: a sum, which is exact over units that are zero."""
    layout = context.require_layout(0)
    axis = context.axis(-1, layout.rank)
    layout = _apart_or_united(context, layout, {axis})
    # Along others a removed unit is divided by its own norm of zero, and is not there to be.
    if axis in layout.labelled():
        _sum_over_units(context, layout, axis)
    context.set_layout(layout.marked(context.output, zero_preserving=True))


@rule("BatchNormalization", obstacles=(STATISTICS_OF_DATA,))
def _batch_normalisation(context: RuleContext) -> None:
    """Scaled by stored statistics, one set for each entry of dimension 1."""
    layout = context.plain_layout(0)
    if layout.axes() and not all(map(context.is_constant, (1, 2, 3, 4))):
        raise Unfollowable(STATISTICS_OF_DATA)
    if 1 in layout.labelled():
        for index in (1, 2, 3):
            context.index_constant(index, {0: layout.dims[1]})
        # By the root of the variance is divided: 1 where nothing is left.
        context.index_constant(4, {0: layout.dims[1]}, rest=1.0)
    context.set_layout(_scaled_each(context, layout))


@rule("InstanceNormalization", obstacles=(NORMALISES_UNITS, SCALE_NOT_CONSTANT))
def _instance_normalisation(context: RuleContext) -> None:
    """Scaled by the statistics of each entry of dimension 1, over all dimensions behind it."""
    layout = context.plain_layout(0)
    if set(layout.labelled()) - {0, 1}:
        raise Unfollowable(NORMALISES_UNITS)
    if 1 in layout.labelled():
        if not all(map(context.is_constant, (1, 2))):
            raise Unfollowable(SCALE_NOT_CONSTANT)
        for index in (1, 2):
            context.index_constant(index, {0: layout.dims[1]})
    context.set_layout(_scaled_each(context, layout))


def _scaled_each(context: RuleContext, layout: Layout) -> Layout:
    """The output of a normalisation with a scale and a shift for each entry of dimension 1.

    Units there have their own, zero for removed ones in the reference; units elsewhere share shifts
    that make more than zero of it.
    """
    only = set(layout.labelled()) <= {1}
    return layout.marked(context.output, zero_preserving=only)


@rule("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", obstacles=(POOLS_UNITS,))
def _pooling(context: RuleContext) -> None:
    """Windows over dimensions from 2 on, none of them with units."""
    layout = context.plain_layout(0)
    if max(layout.labelled(), default=0) > 1:
        raise Unfollowable(POOLS_UNITS)
    for position in range(2, layout.rank):
        layout = layout.with_dim(position, context.inferred_size(position))
    # A window over zeros is zero; a margin of zeros or of nothing is too.
    context.set_layout(layout.marked(context.output, zero_preserving=True))


@rule("CumSum", obstacles=(SUMS_BY_DATA, SUMS_UNITS))
def _cumulative(context: RuleContext) -> None:
    """Running sums along one dimension without units."""
    rank = context.require_layout(0).rank
    axis = context.integers(1)
    if axis is None:
        raise Unfollowable(SUMS_BY_DATA)
    # Along units a sum of zeros adds nothing either, but every removed one repeats the sum so far.
    _along_others(context, {axis[0] % rank}, SUMS_UNITS, zero_preserving=True)


def _along_others(
    context: RuleContext,
    along: set[int],
    text: str,
    *,
    zero_preserving: bool = False,
) -> None:
    """Lays the output out like the input, if the operator looks along none of its axes.

    Args:
        context: takes the layout.
        along: dimensions along which it looks.
        text: why not along units.
        zero_preserving: whether numbers that are all zero stay so.
    """
    layout = context.require_layout(0)
    # Along the directions each number is weighed with that of another unit at the same place.
    if layout.per_index and layout.per_index.by in along:
        layout = context.axes.without_per_index_axes(layout)
    if along & set(layout.labelled()):
        raise Unfollowable(text)
    context.set_layout(layout.marked(context.output, zero_preserving=zero_preserving))


def _apart_or_united(context: RuleContext, layout: Layout, along: set[int]) -> Layout:
    """The layout with one axis for all indices, where an operator looks along them or the units."""
    per_index = layout.per_index
    if per_index and along & {per_index.by, per_index.along}:
        return context.axes.without_per_index_axes(layout)
    return layout

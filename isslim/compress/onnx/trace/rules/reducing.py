"""Rules for operators that look along dimensions: reductions, softmax, normalisations, pooling.

Along other dimensions than that of the units they change nothing about the axes. Along the units
only a sum of what is zero for a removed unit is exact; a mean, a maximum, a softmax or a
normalisation over the units would be another function, so those are obstacles.
"""

from __future__ import annotations

from onnx import NodeProto

from isslim.compress.onnx.model.attributes import get_int, get_ints
from isslim.compress.onnx.model.layouts import Layout
from isslim.compress.onnx.model.split_model import given
from isslim.compress.onnx.trace.tracing import Rule, Trace
from isslim.compress.onnx.trace.types import Unfollowable

_SUMS = ("ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare")
_ZERO_OF_ZEROS = (*_SUMS, "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")
_OTHERS = ("ReduceLogSum", "ReduceLogSumExp")


def reduction(trace: Trace, node: NodeProto) -> None:
    """Sums, means and extremes."""
    layout = trace.require_layout(node, 0)
    as_input = trace.parts.opset >= (13 if node.op_type == "ReduceSum" else 18)
    axes = trace.integers(node, 1) if as_input else get_ints(node, "axes")
    if as_input and given(node, 1) and axes is None:
        raise Unfollowable("along which dimensions it reduces depends on the data")
    if not axes and as_input and get_int(node, "noop_with_empty_axes", 0):
        trace.set_layout(node, layout)
        return
    gone = {axis % layout.rank for axis in axes} if axes else set(range(layout.rank))
    if layout.per_index and gone & {layout.per_index.by, layout.per_index.along}:
        layout = trace.without_per_index_axes(layout)
    for position in gone & set(layout.labelled()):
        _sum_only(trace, node, layout, position)
    layout = layout.marked(node.output[0], zero_preserving=node.op_type in _ZERO_OF_ZEROS)
    if get_int(node, "keepdims", 1) == 1:
        for position in gone:
            layout = layout.with_dim(position, 1)
        trace.set_layout(node, layout)
    else:
        trace.set_layout(
            node, layout.moved([index for index in range(layout.rank) if index not in gone])
        )


def softmax(trace: Trace, node: NodeProto) -> None:
    """Softmax and its kin; before opset 13 over all dimensions from `axis` on."""
    layout = trace.require_layout(node, 0)
    old = trace.parts.opset < 13
    axis = get_int(node, "axis", 1 if old else -1) % layout.rank
    over = set(range(axis, layout.rank)) if old else {axis}
    _apart(trace, node, over, "it weighs the units against one another")


def layer_normalisation(trace: Trace, node: NodeProto) -> None:
    """Scaled by the statistics of all dimensions from `axis` on."""
    layout = trace.require_layout(node, 0)
    axis = get_int(node, "axis", -1) % layout.rank
    _apart(trace, node, set(range(axis, layout.rank)), "it normalises over the units")


def norm(trace: Trace, node: NodeProto) -> None:
    """LpNormalization: a sum over one dimension, which is exact over silent units."""
    layout = trace.require_layout(node, 0)
    axis = get_int(node, "axis", -1) % layout.rank
    if layout.per_index and axis in (layout.per_index.by, layout.per_index.along):
        layout = trace.without_per_index_axes(layout)
    if axis in layout.labelled():
        _sum_only(trace, node, layout, axis)
    trace.set_layout(node, layout.marked(node.output[0], zero_preserving=True))


def batch_normalisation(trace: Trace, node: NodeProto) -> None:
    """Scaled by stored statistics, one set for each entry of dimension 1."""
    layout = trace.without_per_index_axes(trace.require_layout(node, 0))
    if layout.axes() and not all(trace.constant(name) for name in node.input[1:5]):
        raise Unfollowable("it normalises with statistics of the data")
    if 1 in layout.labelled():
        for index in (1, 2, 3):
            trace.index_constant(node, index, {0: layout.dims[1]})
        trace.index_constant(node, 4, {0: layout.dims[1]}, rest=1.0)
    only = set(layout.labelled()) <= {1}
    trace.set_layout(node, layout.marked(node.output[0], zero_preserving=only))


def instance_normalisation(trace: Trace, node: NodeProto) -> None:
    """Scaled by the statistics of each entry of dimension 1 by itself, over all dimensions behind it."""
    layout = trace.without_per_index_axes(trace.require_layout(node, 0))
    if set(layout.labelled()) - {0, 1}:
        raise Unfollowable("it normalises over the units")
    if 1 in layout.labelled():
        if not all(trace.constant(name) for name in node.input[1:3]):
            raise Unfollowable("what it scales with is not a constant")
        for index in (1, 2):
            trace.index_constant(node, index, {0: layout.dims[1]})
    trace.set_layout(
        node, layout.marked(node.output[0], zero_preserving=set(layout.labelled()) <= {1})
    )


def pooling(trace: Trace, node: NodeProto) -> None:
    """Windows over dimensions from 2 on."""
    layout = trace.without_per_index_axes(trace.require_layout(node, 0))
    if max(layout.labelled(), default=0) > 1:
        raise Unfollowable("it pools over units")
    for position in range(2, layout.rank):
        known = trace.default(node.output[0])
        layout = layout.with_dim(
            position, known.dims[position] if known else f"?{node.output[0]}:{position}"
        )
    trace.set_layout(node, layout.marked(node.output[0], zero_preserving=True))


def cumulative(trace: Trace, node: NodeProto) -> None:
    """Running sums along one dimension."""
    layout, axis = trace.require_layout(node, 0), trace.integers(node, 1)
    if axis is None:
        raise Unfollowable("along which dimension it sums depends on the data")
    _apart(
        trace,
        node,
        {axis[0] % layout.rank},
        "it sums the units one after the other",
        zero_preserving=True,
    )


def _apart(
    trace: Trace, node: NodeProto, over: set[int], text: str, *, zero_preserving: bool = False
) -> None:
    """Lays the output out like the input, if the operator looks along none of its axes."""
    layout = trace.require_layout(node, 0)
    if layout.per_index and layout.per_index.by in over:
        layout = trace.without_per_index_axes(layout)
    if over & set(layout.labelled()):
        raise Unfollowable(text)
    trace.set_layout(node, layout.marked(node.output[0], zero_preserving=zero_preserving))


def _sum_only(trace: Trace, node: NodeProto, layout: Layout, position: int) -> None:
    dim = layout.dims[position]
    blocks = dim if isinstance(dim, tuple) else ()
    if node.op_type not in (*_SUMS, "LpNormalization"):
        raise Unfollowable("it reduces over the units in a way that counts them or compares them")
    if not all(block.zero_preserving for block in blocks if block.axis is not None):
        raise Unfollowable("it sums over units that would still say something when silent")
    if node.op_type != "LpNormalization":
        trace.summed.append(blocks)


RULES: dict[str, Rule] = {
    **dict.fromkeys((*_ZERO_OF_ZEROS, *_OTHERS), reduction),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), softmax),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), layer_normalisation),
    "LpNormalization": norm,
    "BatchNormalization": batch_normalisation,
    "InstanceNormalization": instance_normalisation,
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), pooling),
    "CumSum": cumulative,
}

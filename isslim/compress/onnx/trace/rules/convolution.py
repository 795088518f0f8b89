"""The rule of Conv: a matrix for every place of a window, or a window of each unit by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import NodeProto

from isslim.compress.onnx.model.attributes import get_int
from isslim.compress.onnx.model.layouts import Blocks, Dim, Layout, size
from isslim.compress.onnx.model.split_model import given
from isslim.compress.onnx.trace.context import RuleContext
from isslim.compress.onnx.trace.edits import Channels, Product, key
from isslim.compress.onnx.trace.rule import rule
from isslim.compress.onnx.trace.rules.obstacles import BIAS_NOT_CONSTANT
from isslim.compress.onnx.trace.types import Unfollowable

SLIDES_OVER_UNITS = "it slides over units"
KERNEL_NOT_CONSTANT = "its kernel is not a constant"
GROUPS_OF_UNITS = "it has groups of several units"


@rule(
    "Conv", obstacles=(SLIDES_OVER_UNITS, KERNEL_NOT_CONSTANT, BIAS_NOT_CONSTANT, GROUPS_OF_UNITS)
)
def conv(context: RuleContext, node: NodeProto) -> None:
    """Reads the entries of dimension 1: all of them, or each by itself where there are groups."""
    layout = context.plain_layout(node, 0)
    if max(layout.labelled(), default=0) > 1:
        raise Unfollowable(SLIDES_OVER_UNITS)
    if not context.graph.is_constant(node.input[1]):
        raise Unfollowable(KERNEL_NOT_CONSTANT)
    kernel = context.constant(node.input[1])
    dim = layout.dims[1]
    if get_int(node, "group", 1) == 1:
        _reads_all(context, node, layout, kernel)
    elif isinstance(dim, tuple):
        _reads_each(context, node, layout, dim)
    else:
        context.set_default_layout(node)


def _reads_all(context: RuleContext, node: NodeProto, layout: Layout, kernel: np.ndarray) -> None:
    """Every output reads all entries of dimension 1, as those of a matrix do."""
    made = context.new_axis(node, kernel.shape[0])
    context.index_constant(node, 1, {0: made, 1: layout.dims[1]})
    bias = _bias(context, node)
    if bias:
        context.index_constant(node, 2, {0: made})
    read = layout.dims[1]
    # Only a window of one point is a matrix, whose repair is a matrix too.
    if kernel[0, 0].size == 1 and isinstance(read, tuple):
        product = Product(
            node=key(node),
            index=1,
            matrix=node.input[1],
            reads=1,
            gives=0,
            activation=node.input[0],
            features=1,
            blocks=read,
            bias=bias if bias and context.graph.readers[bias] == 1 else None,
        )
        context.findings.products.append(product)
    context.set_layout(node, _with_space(context, node, layout, made))


def _reads_each(context: RuleContext, node: NodeProto, layout: Layout, dim: Blocks) -> None:
    """As many groups as entries of dimension 1: each is read by itself and stays what it is."""
    kernel = context.constant(node.input[1])
    if not get_int(node, "group", 1) == kernel.shape[0] == size(dim):
        raise Unfollowable(GROUPS_OF_UNITS)
    context.index_constant(node, 1, {0: dim})
    if _bias(context, node):
        context.index_constant(node, 2, {0: dim})
    context.findings.edits.append(Channels(key(node), dim))
    # Kernel and bias of a removed unit are zero in the reference, whatever the unit is.
    zero = tuple(replace(each, source=node.output[0], zero_preserving=True) for each in dim)
    context.set_layout(node, _with_space(context, node, layout, zero))


def _bias(context: RuleContext, node: NodeProto) -> str | None:
    """Name of the bias, if there is one."""
    name = given(node, 2)
    if name and not context.graph.is_constant(name):
        raise Unfollowable(BIAS_NOT_CONSTANT)
    return name or None


def _with_space(context: RuleContext, node: NodeProto, layout: Layout, channels: Dim) -> Layout:
    """The output: the batch, its channels, and the sizes over which the window slid."""
    known = context.graph.default(node.output[0])
    space: list[Dim] = []
    for position in range(2, layout.rank):
        space.append(known.dims[position] if known else f"?{node.output[0]}:{position}")
    return Layout((layout.dims[0], channels, *space))

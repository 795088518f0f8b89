"""The rule of Conv: a matrix for every place of a window, or a window of each unit by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from isslim.compress.onnx.model.attributes import get_int
from isslim.compress.onnx.model.layouts import Blocks, Dim, Layout, size
from isslim.compress.onnx.model.windows import Window
from isslim.compress.onnx.trace.context import RuleContext
from isslim.compress.onnx.trace.edits import Channels, Product
from isslim.compress.onnx.trace.rule import rule
from isslim.compress.onnx.trace.rules.obstacles import BIAS_NOT_CONSTANT
from isslim.compress.onnx.trace.types import Unfollowable

SLIDES_OVER_UNITS = "it slides over units"
KERNEL_NOT_CONSTANT = "its kernel is not a constant"
GROUPS_OF_UNITS = "it has groups of several units"


@rule(
    "Conv", obstacles=(SLIDES_OVER_UNITS, KERNEL_NOT_CONSTANT, BIAS_NOT_CONSTANT, GROUPS_OF_UNITS)
)
def _conv(context: RuleContext) -> None:
    """Reads the entries of dimension 1: all of them, or each separately where there are groups."""
    layout = context.plain_layout(0)
    # From dimension 2 on a window looks at neighbours, which units would lose.
    if max(layout.labelled(), default=0) > 1:
        raise Unfollowable(SLIDES_OVER_UNITS)
    if not context.is_constant(1):
        raise Unfollowable(KERNEL_NOT_CONSTANT)
    kernel = context.constant(1)
    dim = layout.dims[1]
    if get_int(context.node, "group", 1) == 1:
        _reads_all(context, layout, kernel)
    elif isinstance(dim, tuple):
        _reads_each(context, layout, dim)
    else:
        context.set_default_layout()


def _reads_all(context: RuleContext, layout: Layout, kernel: np.ndarray) -> None:
    """Every output reads all entries of dimension 1, as those of a matrix do."""
    read = layout.dims[1]
    made = context.new_axis(kernel.shape[0])
    context.index_constant(1, {0: made, 1: read})
    bias = _bias(context)
    if bias:
        context.index_constant(2, {0: made})
    if isinstance(read, tuple) and kernel.size:
        one_point = kernel[0, 0].size == 1
        product = Product(
            node=context.key,
            index=1,
            matrix=context.input(1),
            reads=1,
            gives=0,
            activation=context.input(0),
            features=1,
            blocks=read,
            # Repair changes it, which another reader must not see.
            bias=bias if bias and context.graph.readers[bias] == 1 else None,
            window=None if one_point else Window.of(context.node, kernel.shape[2:]),
        )
        context.note_product(product)
    context.set_layout(_with_space(context, layout, made))


def _reads_each(context: RuleContext, layout: Layout, dim: Blocks) -> None:
    """As many groups as entries of dimension 1: each is read by itself and stays what it is."""
    kernel = context.constant(1)
    groups = get_int(context.node, "group", 1)
    # With several units or outputs in a group, groups of different sizes would be left.
    if not groups == kernel.shape[0] == size(dim):
        raise Unfollowable(GROUPS_OF_UNITS)
    context.index_constant(1, {0: dim})
    if _bias(context):
        context.index_constant(2, {0: dim})
    context.note_edit(Channels(context.key, dim))
    # Kernel and bias of a removed unit are zero in the reference, whatever the unit is.
    zero = tuple(replace(each, source=context.output, zero_preserving=True) for each in dim)
    context.set_layout(_with_space(context, layout, zero))


def _bias(context: RuleContext) -> str | None:
    """Name of the bias, if there is one."""
    name = context.input(2)
    if name and not context.graph.is_constant(name):
        raise Unfollowable(BIAS_NOT_CONSTANT)
    return name or None


def _with_space(context: RuleContext, layout: Layout, channels: Dim) -> Layout:
    """The output: the batch, its channels, and the sizes over which the window slid."""
    space = [context.inferred_size(position) for position in range(2, layout.rank)]
    return Layout((layout.dims[0], channels, *space))

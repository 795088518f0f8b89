"""Rules for operators that move values without changing them: Transpose, Reshape, Expand, ..."""

from __future__ import annotations

from onnx import NodeProto

from isslim.compress.onnx.model.attributes import get_int, get_ints
from isslim.compress.onnx.model.layouts import (
    Block,
    Blocks,
    Dim,
    Layout,
    blocks_of,
    size,
)
from isslim.compress.onnx.model.split_model import given
from isslim.compress.onnx.trace.context import RuleContext
from isslim.compress.onnx.trace.edits import Restore, Target, key
from isslim.compress.onnx.trace.reshape_groups import Group, reshape_groups
from isslim.compress.onnx.trace.rule import rule
from isslim.compress.onnx.trace.rules.obstacles import SHAPE_NOT_FOLLOWED
from isslim.compress.onnx.trace.rules.regrouping import (
    DIMENSION_BETWEEN,
    SPREADS,
    UNFIXED_SIZE,
    regrouped,
)
from isslim.compress.onnx.trace.rules.shapes import counted
from isslim.compress.onnx.trace.types import Entry, Unfollowable

DIMENSIONS_BY_DATA = "which dimensions it changes depends on the data"
LEFT_OUT_BY_DATA = "which dimensions it leaves out depends on the data"
ADDED_BY_DATA = "where it adds dimensions depends on the data"
REPEATS_UNITS = "it repeats units an unknown number of times"


@rule("Identity", "Cast", "Dropout")
def same(context: RuleContext, node: NodeProto) -> None:
    """The same values, of another type perhaps."""
    if node.output[0] in context.graph.markers:
        _restore(context, node)
        return
    layout = context.layout(node.input[0])
    context.set_layout(node, layout)
    if len(node.output) > 1 and layout:  # the mask of a Dropout, which is true at removed units
        context.set_layout(node, layout.marked(node.output[1], zero_preserving=False), 1)


def _restore(context: RuleContext, node: NodeProto) -> None:
    """A marker: axes end here, for what is behind it is of full size."""
    layout = context.require_layout(node, 0)
    per_index = layout.per_index
    for position in layout.labelled():
        options = per_index.options if per_index else (blocks_of(layout.dims[position]),)
        by = per_index.by if per_index else 0
        edit = Restore(key(node), position, options, by, layout.rank)
        context.findings.edits.append(edit)
    context.set_layout(node, Layout(tuple(size(dim) for dim in layout.dims)))


@rule("Transpose")
def transpose(context: RuleContext, node: NodeProto) -> None:
    """Dimensions in another order."""
    layout = context.require_layout(node, 0)
    order: list[int | None] = [*(get_ints(node, "perm") or range(layout.rank)[::-1])]
    context.set_layout(node, layout.moved(order))


@rule("Squeeze", obstacles=(DIMENSIONS_BY_DATA, LEFT_OUT_BY_DATA))
def squeeze(context: RuleContext, node: NodeProto) -> None:
    """Dimensions of size 1 left out."""
    layout = context.require_layout(node, 0)
    axes = _axes(context, node)
    if axes is None:
        # Without axes all of size 1 go; one whose size has only a name may be 1 at some call.
        if any(isinstance(dim, str) for dim in layout.dims):
            raise Unfollowable(LEFT_OUT_BY_DATA)
        axes = [index for index, dim in enumerate(layout.dims) if dim == 1]
    gone = {axis % layout.rank for axis in axes}
    left = [index for index in range(layout.rank) if index not in gone]
    context.set_layout(node, layout.moved([*left]))


@rule("Unsqueeze", obstacles=(DIMENSIONS_BY_DATA, ADDED_BY_DATA))
def unsqueeze(context: RuleContext, node: NodeProto) -> None:
    """New dimensions of size 1."""
    layout = context.require_layout(node, 0)
    axes = _axes(context, node)
    if axes is None:
        raise Unfollowable(ADDED_BY_DATA)
    # Axes count positions of the result, not of the input.
    rank = layout.rank + len(axes)
    new = {axis % rank for axis in axes}
    old = iter(range(layout.rank))
    order = [None if index in new else next(old) for index in range(rank)]
    context.set_layout(node, layout.moved(order))


@rule("Flatten", obstacles=(UNFIXED_SIZE, DIMENSION_BETWEEN))
def flatten(context: RuleContext, node: NodeProto) -> None:
    """Two dimensions: those before `axis` and those from it."""
    layout = context.require_layout(node, 0)
    axis = get_int(node, "axis", 1)
    # Not a remainder throughout: `axis` may be the rank itself, which puts all in the first.
    axis = axis % layout.rank if axis < 0 else axis
    groups: list[Group] = [(list(range(axis)), [0]), (list(range(axis, layout.rank)), [1])]
    context.set_layout(node, regrouped(context, node, layout, groups, [Entry(-1), Entry(-1)]))


@rule("Reshape", obstacles=(SHAPE_NOT_FOLLOWED, SPREADS, UNFIXED_SIZE, DIMENSION_BETWEEN))
def reshape(context: RuleContext, node: NodeProto) -> None:
    """Dimensions merged and split."""
    layout = context.require_layout(node, 0)
    entries = context.entries(given(node, 1))
    if entries is None:
        _by_unknown_shape(context, node, layout)
        return
    groups = reshape_groups(list(map(size, layout.dims)), _requested(node, layout, entries))
    made = regrouped(context, node, layout, groups, list(entries))
    sizes = []
    for position, dim in enumerate(made.dims):
        if isinstance(dim, tuple):
            sizes.append((position, dim))
        elif entries[position].axes:
            # The shape asks here for a number that shrinks, where nothing would.
            raise Unfollowable(SPREADS)
    _note_target(context, node, sizes)
    context.set_layout(node, made)


@rule("Expand", obstacles=(SHAPE_NOT_FOLLOWED, REPEATS_UNITS))
def expand(context: RuleContext, node: NodeProto) -> None:
    """Dimensions of size 1 repeated; one with an axis is asked for as 1 and stays what it is."""
    layout = context.require_layout(node, 0)
    entries = context.entries(given(node, 1))
    if entries is None:
        _by_unknown_shape(context, node, layout)
        return
    rank = max(layout.rank, len(entries))
    in_front: list[int | None] = [None] * (rank - layout.rank)
    layout = layout.moved(in_front + list(range(layout.rank)))
    shift = rank - len(entries)
    value = context.graph.value(node.input[0])
    zero = value is not None and not value.any()
    dims: list[Dim] = []
    sizes: list[tuple[int, Blocks]] = []
    for position, dim in enumerate(layout.dims):
        entry = entries[position - shift] if position >= shift else Entry(1)
        if isinstance(dim, tuple):
            if entry.token not in (1, size(dim)):
                raise Unfollowable(REPEATS_UNITS)
            # Asking for 1 leaves any size as it is, so the shape needs no size of the cut graph.
            if position >= shift:
                sizes.append((position - shift, (Block(None, 1),)))
        dims.append(counted(entry, zero, node.output[0]) if dim == 1 else dim)
    _note_target(context, node, sizes)
    context.set_layout(node, Layout(tuple(dims), layout.per_index))


def _by_unknown_shape(context: RuleContext, node: NodeProto, layout: Layout) -> None:
    """Without units it is of no account what a tensor becomes.

    Raises:
        Unfollowable: when it has units.
    """
    if layout.axes():
        raise Unfollowable(SHAPE_NOT_FOLLOWED)
    context.set_default_layout(node)


def _requested(node: NodeProto, layout: Layout, entries: tuple[Entry, ...]) -> list[int | str]:
    """The sizes that a Reshape asks for, zeros that copy a size replaced by it."""
    copies = not get_int(node, "allowzero", 0)
    wanted: list[int | str] = []
    for index, entry in enumerate(entries):
        copied = entry.token == 0 and copies
        wanted.append(size(layout.dims[index]) if copied else entry.token)
    return wanted


def _note_target(context: RuleContext, node: NodeProto, sizes: list[tuple[int, Blocks]]) -> None:
    if sizes:
        context.findings.edits.append(Target(key(node), 1, tuple(sizes)))


def _axes(context: RuleContext, node: NodeProto) -> list[int] | None:
    """Axes of Squeeze and Unsqueeze: an attribute before opset 13, an input since.

    Returns:
        None when they are left out.
    """
    if context.graph.opset < 13:
        return get_ints(node, "axes")
    name = given(node, 1)
    if name and not context.graph.is_constant(name):
        raise Unfollowable(DIMENSIONS_BY_DATA)
    return context.graph.integers(node, 1)

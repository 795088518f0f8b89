"""Rules for operators that move values without changing them: Transpose, Reshape, Expand, ..."""

from __future__ import annotations

from isslim.compress.onnx.model.attributes import get_int, get_ints
from isslim.compress.onnx.model.layouts import (
    Block,
    Blocks,
    Dim,
    Layout,
    blocks_of,
    size,
)
from isslim.compress.onnx.trace.context import RuleContext
from isslim.compress.onnx.trace.edits import Restore, Target
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
def _same(context: RuleContext) -> None:
    """The same values, possibly of another type."""
    if context.output in context.graph.markers:
        _restore(context)
        return
    # Without a known rank nothing is known: an obstacle only for readers that need it.
    layout = context.layout(0)
    context.set_layout(layout)
    if len(context.node.output) > 1 and layout:
        # The mask of a Dropout is true at removed units too.
        mask = layout.marked(context.node.output[1], zero_preserving=False)
        context.set_layout(mask, 1)


def _restore(context: RuleContext) -> None:
    """A marker: axes end here, for what is behind it is of full size."""
    layout = context.require_layout(0)
    per_index = layout.per_index
    # The caller knows the sizes that he began with: removed units' entries are zeros to him.
    for position in layout.labelled():
        options = per_index.options if per_index else (blocks_of(layout.dims[position]),)
        by = per_index.by if per_index else 0
        edit = Restore(context.key, position, options, by, layout.rank)
        context.note_edit(edit)
    context.set_layout(Layout(tuple(size(dim) for dim in layout.dims)))


@rule("Transpose")
def _transpose(context: RuleContext) -> None:
    """Permutes dimensions."""
    layout = context.require_layout(0)
    opposite = list(range(layout.rank))[::-1]
    order = get_ints(context.node, "perm") or opposite
    context.set_layout(layout.moved([*order]))


@rule("Squeeze", obstacles=(DIMENSIONS_BY_DATA, LEFT_OUT_BY_DATA))
def _squeeze(context: RuleContext) -> None:
    """Removes dimensions of size 1."""
    layout = context.require_layout(0)
    axes = _axes(context)
    if axes is None:
        # Without axes all of size 1 go; one whose size has only a name may be 1 at some call.
        if any(isinstance(dim, str) for dim in layout.dims):
            raise Unfollowable(LEFT_OUT_BY_DATA)
        axes = [index for index, dim in enumerate(layout.dims) if dim == 1]
    gone = {axis % layout.rank for axis in axes}
    left = [index for index in range(layout.rank) if index not in gone]
    context.set_layout(layout.moved([*left]))


@rule("Unsqueeze", obstacles=(DIMENSIONS_BY_DATA, ADDED_BY_DATA))
def _unsqueeze(context: RuleContext) -> None:
    """Inserts dimensions of size 1."""
    layout = context.require_layout(0)
    axes = _axes(context)
    if axes is None:
        raise Unfollowable(ADDED_BY_DATA)
    # Axes count positions of the result, not of the input.
    rank = layout.rank + len(axes)
    new = {axis % rank for axis in axes}
    old = iter(range(layout.rank))
    order = [None if index in new else next(old) for index in range(rank)]
    context.set_layout(layout.moved(order))


@rule("Flatten", obstacles=(UNFIXED_SIZE, DIMENSION_BETWEEN))
def _flatten(context: RuleContext) -> None:
    """Two dimensions: those before `axis` and those from it."""
    layout = context.require_layout(0)
    axis = get_int(context.node, "axis", 1)
    # Not a remainder throughout: `axis` may be the rank itself, which puts all in the first.
    axis = axis % layout.rank if axis < 0 else axis
    before, behind = list(range(axis)), list(range(axis, layout.rank))
    groups: list[Group] = [(before, [0]), (behind, [1])]
    # It has no shape in which sizes stand: whatever is left has no other place to go.
    entries = [Entry(-1), Entry(-1)]
    context.set_layout(regrouped(context, layout, groups, entries))


@rule("Reshape", obstacles=(SHAPE_NOT_FOLLOWED, SPREADS, UNFIXED_SIZE, DIMENSION_BETWEEN))
def _reshape(context: RuleContext) -> None:
    """Dimensions merged and split."""
    layout = context.require_layout(0)
    entries = context.entries(1)
    if entries is None:
        _by_unknown_shape(context, layout)
        return
    before = [size(dim) for dim in layout.dims]
    groups = reshape_groups(before, _requested(context, layout, entries))
    made = regrouped(context, layout, groups, list(entries))
    sizes = []
    for position, dim in enumerate(made.dims):
        # A shape that is a constant still asks for the sizes of before the cut.
        if isinstance(dim, tuple):
            sizes.append((position, dim))
        elif entries[position].axes:
            # The shape asks here for a number that shrinks, where nothing would.
            raise Unfollowable(SPREADS)
    _note_target(context, sizes)
    context.set_layout(made)


@rule("Expand", obstacles=(SHAPE_NOT_FOLLOWED, REPEATS_UNITS))
def _expand(context: RuleContext) -> None:
    """Repeats dimensions of size 1; one with an axis is requested as 1 and stays as it is."""
    layout = context.require_layout(0)
    entries = context.entries(1)
    if entries is None:
        _by_unknown_shape(context, layout)
        return
    rank = max(layout.rank, len(entries))
    in_front: list[int | None] = [None] * (rank - layout.rank)
    layout = layout.moved(in_front + list(range(layout.rank)))
    shift = rank - len(entries)
    # Only zeros are zero at units that they are repeated for.
    value = context.value(0)
    zero = value is not None and not value.any()
    dims: list[Dim] = []
    sizes: list[tuple[int, Blocks]] = []
    for position, dim in enumerate(layout.dims):
        entry = entries[position - shift] if position >= shift else Entry(1)
        if isinstance(dim, tuple):
            # A name may stand for any number: units as often as it says would lie side by side.
            if entry.token not in (1, size(dim)):
                raise Unfollowable(REPEATS_UNITS)
            # Asking for 1 leaves any size as it is, so the shape needs no size of the cut graph.
            if position >= shift:
                sizes.append((position - shift, (Block(None, 1),)))
        dims.append(counted(entry, zero, context.output) if dim == 1 else dim)
    _note_target(context, sizes)
    context.set_layout(Layout(tuple(dims), layout.per_index))


def _by_unknown_shape(context: RuleContext, layout: Layout) -> None:
    """Without units it is of no account what a tensor becomes.

    Raises:
        Unfollowable: when it has units.
    """
    if layout.axes():
        raise Unfollowable(SHAPE_NOT_FOLLOWED)
    context.set_default_layout()


def _requested(context: RuleContext, layout: Layout, entries: tuple[Entry, ...]) -> list[int | str]:
    """The sizes that a Reshape asks for, zeros that copy a size replaced by it."""
    # A zero is a size of zero only where the attribute says so; else it copies.
    copies = not get_int(context.node, "allowzero", 0)
    wanted: list[int | str] = []
    for index, entry in enumerate(entries):
        copied = entry.token == 0 and copies
        wanted.append(size(layout.dims[index]) if copied else entry.token)
    return wanted


def _note_target(context: RuleContext, sizes: list[tuple[int, Blocks]]) -> None:
    if sizes:
        context.note_edit(Target(context.key, 1, tuple(sizes)))


def _axes(context: RuleContext) -> list[int] | None:
    """Axes of Squeeze and Unsqueeze: an attribute before opset 13, an input since.

    Returns:
        None when they are left out.
    """
    if context.opset < 13:
        return get_ints(context.node, "axes")
    name = context.input(1)
    if name and not context.graph.is_constant(name):
        raise Unfollowable(DIMENSIONS_BY_DATA)
    return context.integers(1)

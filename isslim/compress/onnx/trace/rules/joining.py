"""The rule of Concat: tensors one behind the other, along their units or along another dimension.

Along another dimension the units of different layers come to lie side by side (a stack of the last
states of all layers): then they share a size, or, along many or an unknown number of entries, are
one axis.
"""

from __future__ import annotations

from dataclasses import replace

from isslim.compress.onnx.model.layouts import (
    Block,
    Blocks,
    Dim,
    Layout,
    PerIndexAxes,
    as_blocks,
    blocks_of,
    size,
)
from isslim.compress.onnx.trace.alignment import PARTS_DIFFER, ROWS_DIFFER, merged_zeros
from isslim.compress.onnx.trace.context import OTHER_SIZE, RuleContext
from isslim.compress.onnx.trace.rule import rule
from isslim.compress.onnx.trace.types import Unfollowable

SEVERAL_DIMENSIONS = "it joins tensors with units in several dimensions"
UNKNOWN_SIZE = "it appends a tensor of unknown size to units"

_MAX_STACK = 16
"""How many tensors may lie side by side with axes of their own; more of them, such as steps, share
one."""


@rule("Concat", obstacles=(SEVERAL_DIMENSIONS, UNKNOWN_SIZE, OTHER_SIZE, PARTS_DIFFER, ROWS_DIFFER))
def _concat(context: RuleContext) -> None:
    """Concatenates tensors, along their units or along another dimension."""
    layouts = context.require_layouts()
    axis = context.axis(0, layouts[0].rank)
    across = _dimensions_across(layouts, axis)
    # Each dimension's units would have to be those of all tensors, at the same places.
    if len(across) > 1:
        raise Unfollowable(SEVERAL_DIMENSIONS)
    if across:
        context.set_layout(_stacked(context, layouts, axis, across.pop()))
        return
    # Where only some have an axis for each index, the others' numbers belong to every index.
    if not _same_indices(layouts, axis):
        layouts = [context.axes.without_per_index_axes(layout) for layout in layouts]
    joined = _appended(context, layouts, axis)
    if layouts[0].per_index:
        per_index = _appended_options(layouts, layouts[0].per_index.by, axis)
        joined = context.axes.with_per_index_axes(joined, per_index)
    elif any(layout.axes() for layout in layouts):
        joined = joined.with_dim(axis, _appended_blocks(layouts, axis))
    context.set_layout(joined)


def _dimensions_across(layouts: list[Layout], axis: int) -> set[int]:
    """Dimensions with units other than the one along which tensors are joined."""
    found: set[int] = set()
    for layout in layouts:
        found |= set(layout.labelled())
    return found - {axis}


def _same_indices(layouts: list[Layout], axis: int) -> bool:
    """Whether all tensors have axes for each index of one dimension, along which none is joined."""
    chosen_by = {layout.per_index.by if layout.per_index else None for layout in layouts}
    return len(chosen_by) == 1 and axis not in chosen_by


def _appended_options(layouts: list[Layout], by: int, axis: int) -> PerIndexAxes:
    """Per-index axes of tensors joined along their units: for each index the units of all."""
    rows = [layout.per_index.options for layout in layouts if layout.per_index]
    options = []
    for same_index in zip(*rows, strict=True):
        joined: list[Block] = []
        for blocks in same_index:
            joined += blocks
        options.append(tuple(joined))
    return PerIndexAxes(by, axis, tuple(options))


def _appended_blocks(layouts: list[Layout], axis: int) -> Blocks:
    """The blocks of all tensors one behind the other."""
    found: list[Block] = []
    for layout in layouts:
        blocks = as_blocks(layout.dims[axis])
        if blocks is None:
            # A reader's matrix could not be cut: where the units behind it begin is not known.
            raise Unfollowable(UNKNOWN_SIZE)
        found += blocks
    return tuple(found)


def _stacked(context: RuleContext, layouts: list[Layout], axis: int, along: int) -> Layout:
    """Tensors joined along another dimension than that of their units.

    Args:
        context: takes the edits.
        layouts: of its inputs.
        axis: along which they are joined.
        along: dimension of the units.
    """
    # Axes that another dimension chooses could not be distinguished by this one as well.
    if not all(_stands(layout.per_index, axis, along) for layout in layouts):
        layouts = [context.axes.without_per_index_axes(layout) for layout in layouts]
    options = _stacked_options(context, layouts, axis, along)
    joined = _appended(context, layouts, axis)
    same = all(context.axes.same_axes(options[0], option) for option in options)
    if len(options) <= _MAX_STACK and not same:
        per_index = PerIndexAxes(axis, along, tuple(options))
        return context.axes.with_per_index_axes(joined, per_index)
    # Sizes of many steps could never be distinguished by a reader: what is cut at one is at all.
    for option in options[1:]:
        context.axes.unite(options[0], option)
    return joined.with_dim(along, merged_zeros(options))


def _stands(per_index: PerIndexAxes | None, by: int, along: int) -> bool:
    """Whether per-index axes, if there are any, may be continued by those of the next tensor."""
    return per_index is None or (per_index.by, per_index.along) == (by, along)


def _stacked_options(
    context: RuleContext, layouts: list[Layout], axis: int, along: int
) -> list[Blocks]:
    """Per index along `axis` the blocks that stand along `along`."""
    first = next(blocks for layout in layouts if (blocks := blocks_of(layout.dims[along])))
    options: list[Blocks] = []
    for index, layout in enumerate(layouts):
        if layout.per_index:
            options += layout.per_index.options
            continue
        blocks = blocks_of(layout.dims[along]) or _cut_like(context, index, along, first)
        length = layout.dims[axis]
        # Along a dimension of unknown length, or a long one, one entry stands for all of them: more
        # than the limit says that.
        single = isinstance(length, int) and length <= _MAX_STACK
        options += [blocks] * (length if single and isinstance(length, int) else _MAX_STACK + 1)
    return options


def _cut_like(context: RuleContext, index: int, along: int, blocks: Blocks) -> Blocks:
    """An input without units that lies beside units, and shrinks with them."""
    constant = context.is_constant(index)
    if constant:
        context.index_constant(index, {along: blocks})
    else:
        context.gate_input(index, along, (blocks,))
    # The reference holds a constant at zero there too; an activation it leaves as it is.
    return tuple(replace(block, zero_preserving=constant) for block in blocks)


def _appended(context: RuleContext, layouts: list[Layout], axis: int) -> Layout:
    """Sizes of a Concat's output, whatever dimension has axes."""
    dims: list[Dim] = []
    for position in range(layouts[0].rank):
        known = [layout.dims[position] for layout in layouts]
        if position == axis:
            dims.append(_total(known, context.unknown(position)))
        else:
            # All are of one size: a number says more than a name.
            numbers = [dim for dim in known if not isinstance(dim, str)]
            dims.append((numbers or known)[0])
    return Layout(tuple(dims))


def _total(dims: list[Dim], unknown: str) -> Dim:
    """The sum of sizes, or a name for it where one is not known."""
    total = 0
    for dim in dims:
        length = size(dim)
        if isinstance(length, str):
            return unknown
        total += length
    return total

"""The rule of Concat: tensors one behind the other, along their units or along another dimension.

Along another dimension the units of different layers come to lie side by side (a stack of the last
states of all layers): then they share a size, or, along many or an unknown number of entries, are
one axis.
"""

from __future__ import annotations

from dataclasses import replace

from onnx import NodeProto

from isslim.compress.onnx.model.attributes import get_int
from isslim.compress.onnx.model.layouts import Blocks, Dim, Layout, as_blocks, blocks_of, size
from isslim.compress.onnx.trace.tracing import Trace
from isslim.compress.onnx.trace.types import Unfollowable

_STACK = 16
"""How many tensors may lie side by side with axes of their own; more of them, such as steps, share
one."""


def concat(trace: Trace, node: NodeProto) -> None:
    """Tensors one behind the other, along their units or along another dimension."""
    layouts = [trace.require_layout(node, index) for index in range(len(node.input))]
    rank = layouts[0].rank
    axis = get_int(node, "axis", 0) % rank
    across = sorted({i for layout in layouts for i in layout.labelled() if i != axis})
    if len(across) > 1:
        raise Unfollowable("it joins tensors with units in several dimensions")
    if across:
        trace.set_layout(node, _stacked(trace, node, layouts, axis, across[0]))
        return
    lone = {layout.per_index.by for layout in layouts if layout.per_index}
    if lone and (len(lone) > 1 or axis in lone or any(not each.per_index for each in layouts)):
        layouts = [trace.without_per_index_axes(layout) for layout in layouts]
        lone = set()
    if not any(layout.axes() for layout in layouts):
        trace.set_layout(node, _appended(node, layouts, axis))
    elif lone:
        options = zip(
            *(layout.per_index.options for layout in layouts if layout.per_index), strict=True
        )
        joined = tuple(tuple(block for part in option for block in part) for option in options)
        made = replace(layouts[0], per_index=None)
        trace.set_layout(node, trace.with_per_index_axes(made, lone.pop(), axis, joined))
    else:
        pieces = [as_blocks(layout.dims[axis]) for layout in layouts]
        if any(piece is None for piece in pieces):
            raise Unfollowable("it appends a tensor of unknown size to units")
        blocks = tuple(block for piece in pieces for block in piece or ())
        trace.set_layout(node, _appended(node, layouts, axis).with_dim(axis, blocks))


def _stacked(trace: Trace, node: NodeProto, layouts: list[Layout], axis: int, along: int) -> Layout:
    """Tensors joined along another dimension than that of their units."""
    if any(
        layout.per_index and (layout.per_index.by, layout.per_index.along) != (axis, along)
        for layout in layouts
    ):
        layouts = [trace.without_per_index_axes(layout) for layout in layouts]
    first = next(blocks for layout in layouts if (blocks := blocks_of(layout.dims[along])))
    options: list[Blocks] = []
    for index, layout in enumerate(layouts):
        own, length = blocks_of(layout.dims[along]), layout.dims[axis]
        if layout.per_index:
            options += layout.per_index.options
            continue
        if not own:
            stored = trace.constant(node.input[index])
            if stored:
                trace.index_constant(node, index, {along: first})
            else:
                trace.gate_input(node, index, along, (first,))
            own = tuple(replace(block, zero_preserving=stored) for block in first)
        # Along a dimension of unknown length one entry stands for all of them.
        options += [own] * (length if isinstance(length, int) and length <= _STACK else _STACK + 1)
    made = _appended(node, layouts, axis)
    if len(options) > _STACK or all(_same_axes(trace, options[0], option) for option in options):
        for option in options[1:]:
            trace.unite(options[0], option)
        zero_preserving = [
            all(option[i].zero_preserving for option in options) for i in range(len(options[0]))
        ]
        blocks = tuple(
            replace(block, zero_preserving=quiet)
            for block, quiet in zip(options[0], zero_preserving, strict=True)
        )
        return made.with_dim(along, blocks)
    return trace.with_per_index_axes(made, axis, along, tuple(options))


def _same_axes(trace: Trace, one: Blocks, other: Blocks) -> bool:
    def found(blocks: Blocks) -> list[tuple[int | None, int]]:
        return [(None if b.axis is None else trace.pool.find(b.axis), b.size) for b in blocks]

    return found(one) == found(other)


def _appended(node: NodeProto, layouts: list[Layout], axis: int) -> Layout:
    """Sizes of a Concat's output, whatever dimension has axes."""
    dims: list[Dim] = []
    for position in range(layouts[0].rank):
        known = [layout.dims[position] for layout in layouts]
        if position == axis:
            lengths = [length for dim in known if isinstance(length := size(dim), int)]
            dims.append(
                sum(lengths) if len(lengths) == len(known) else f"?{node.output[0]}:{position}"
            )
        else:
            dims.append(next((dim for dim in known if not isinstance(dim, str)), known[0]))
    return Layout(tuple(dims))

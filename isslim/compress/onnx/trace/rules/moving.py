"""Rules for operators that move values without changing them: Transpose, Squeeze, Unsqueeze, Reshape, Flatten, ..."""

from __future__ import annotations

from onnx import NodeProto

from isslim.compress.onnx.model.attributes import get_int, get_ints
from isslim.compress.onnx.model.layouts import (
    Block,
    Blocks,
    Dim,
    Layout,
    PerIndexAxes,
    blocks_of,
    size,
)
from isslim.compress.onnx.model.split_model import given
from isslim.compress.onnx.model.symbols import multiplied
from isslim.compress.onnx.trace.edits import Restore, Target, key
from isslim.compress.onnx.trace.reshape_groups import Group, reshape_groups
from isslim.compress.onnx.trace.rules.shapes import counted
from isslim.compress.onnx.trace.tracing import Trace
from isslim.compress.onnx.trace.types import Entry, Unfollowable

_MAX_BLOCKS = 4096
"""Into which one dimension is divided."""


def same(trace: Trace, node: NodeProto) -> None:
    """Identity, Cast, Dropout."""
    layout = trace.layout(node.input[0])
    if node.output[0] in trace.markers:
        _restored(trace, node)
        return
    trace.set_layout(node, layout)
    if len(node.output) > 1 and layout:  # the mask of a Dropout
        trace.set_layout(node, layout.marked(node.output[1], zero_preserving=False), 1)


def _restored(trace: Trace, node: NodeProto) -> None:
    """A marker: axes end here, for what is behind it is of full size."""
    layout = trace.require_layout(node, 0)
    panels = layout.per_index
    plain = Layout(tuple(size(dim) for dim in layout.dims))
    for position in layout.labelled():
        options = panels.options if panels else (blocks_of(layout.dims[position]),)
        by = panels.by if panels else 0
        trace.edits.append(Restore(key(node), position, options, by, layout.rank))
    trace.set_layout(node, plain)


def transpose(trace: Trace, node: NodeProto) -> None:
    """Dimensions in another order."""
    layout = trace.require_layout(node, 0)
    order: list[int | None] = [*(get_ints(node, "perm") or range(layout.rank)[::-1])]
    trace.set_layout(node, layout.moved(order))


def squeeze(trace: Trace, node: NodeProto) -> None:
    """Dimensions of size 1 left out."""
    layout = trace.require_layout(node, 0)
    axes = _axes(trace, node)
    if axes is None:
        if any(isinstance(dim, str) for dim in layout.dims):
            raise Unfollowable("which dimensions it leaves out depends on the data")
        axes = [index for index, dim in enumerate(layout.dims) if dim == 1]
    gone = {axis % layout.rank for axis in axes}
    trace.set_layout(
        node, layout.moved([index for index in range(layout.rank) if index not in gone])
    )


def unsqueeze(trace: Trace, node: NodeProto) -> None:
    """New dimensions of size 1."""
    layout = trace.require_layout(node, 0)
    axes = _axes(trace, node)
    if axes is None:
        raise Unfollowable("where it adds dimensions depends on the data")
    rank = layout.rank + len(axes)
    new = {axis % rank for axis in axes}
    old = iter(range(layout.rank))
    trace.set_layout(
        node, layout.moved([None if index in new else next(old) for index in range(rank)])
    )


def flatten(trace: Trace, node: NodeProto) -> None:
    """Two dimensions: those before `axis` and those from it."""
    layout = trace.require_layout(node, 0)
    axis = get_int(node, "axis", 1)
    axis = axis % layout.rank if axis < 0 else axis
    groups: list[Group] = [(list(range(axis)), [0]), (list(range(axis, layout.rank)), [1])]
    trace.set_layout(node, _regrouped(trace, node, layout, groups, [Entry(-1), Entry(-1)]))


def reshape(trace: Trace, node: NodeProto) -> None:
    """Dimensions merged and split."""
    layout, entries = trace.require_layout(node, 0), trace.entries(given(node, 1))
    if entries is None:
        if layout.axes():
            raise Unfollowable("the shape that it gives is computed in a way that is not followed")
        trace.set_layout(node, trace.default(node.output[0]))
        return
    copies = not get_int(node, "allowzero", 0)
    wanted: list[int | str] = [
        size(layout.dims[index]) if entry.token == 0 and copies else entry.token
        for index, entry in enumerate(entries)
    ]
    groups = reshape_groups([size(dim) for dim in layout.dims], wanted)
    made = _regrouped(trace, node, layout, groups, list(entries))
    sizes = []
    for position, dim in enumerate(made.dims):
        if isinstance(dim, tuple):
            sizes.append((position, dim))
        elif entries[position].axes:
            raise Unfollowable("it spreads units over several dimensions")
    if sizes:
        trace.edits.append(Target(key(node), 1, tuple(sizes)))
    trace.set_layout(node, made)


def expand(trace: Trace, node: NodeProto) -> None:
    """Dimensions of size 1 repeated; one with an axis is asked for as 1 and stays what it is."""
    layout, entries = trace.require_layout(node, 0), trace.entries(given(node, 1))
    if entries is None:
        if layout.axes():
            raise Unfollowable("the shape that it gives is computed in a way that is not followed")
        trace.set_layout(node, trace.default(node.output[0]))
        return
    rank = max(layout.rank, len(entries))
    layout = layout.moved([None] * (rank - layout.rank) + list(range(layout.rank)))
    entries = (Entry(1),) * (rank - len(entries)) + entries
    value = trace.value(node.input[0])
    zero = value is not None and not value.any()
    dims: list[Dim] = []
    sizes = []
    shift = rank - len(trace.entries(given(node, 1)) or ())
    for position, (dim, entry) in enumerate(zip(layout.dims, entries, strict=True)):
        if isinstance(dim, tuple):
            if entry.token not in (1, size(dim)):
                raise Unfollowable("it repeats units an unknown number of times")
            if position >= shift:
                sizes.append((position - shift, (Block(None, 1),)))
            dims.append(dim)
        elif dim == 1:
            dims.append(counted(trace, entry, zero, node.output[0]))
        else:
            dims.append(dim)
    if sizes:
        trace.edits.append(Target(key(node), 1, tuple(sizes)))
    trace.set_layout(node, Layout(tuple(dims), layout.per_index))


def _axes(trace: Trace, node: NodeProto) -> list[int] | None:
    """Axes of Squeeze and Unsqueeze: an attribute before opset 13, an input since; None when not given as constants."""
    if trace.parts.opset < 13:
        return get_ints(node, "axes")
    if given(node, 1) and not trace.constant(node.input[1]):
        raise Unfollowable("which dimensions it changes depends on the data")
    return trace.integers(node, 1)


def _regrouped(
    trace: Trace, node: NodeProto, layout: Layout, groups: list[Group], entries: list[Entry]
) -> Layout:
    """The layout after dimensions were merged and split in groups."""
    panels = layout.per_index
    if panels and not _fits(panels, groups):
        layout, panels = trace.without_per_index_axes(layout), None
    dims: dict[int, Dim] = {}
    found: PerIndexAxes | None = None
    for ins, outs in groups:
        busy = [index for index in ins if isinstance(layout.dims[index], tuple)]
        if len(ins) == 1 and len(outs) == 1:
            dims[outs[0]] = layout.dims[ins[0]]
        elif outs and (packed := _packed(node, layout, ins, outs, entries)):
            dims |= packed
        elif not busy:
            dims |= _plain(node, layout, ins, outs, entries)
        elif len(outs) == 1:
            dims[outs[0]] = _merged(layout, ins)
        elif len(ins) == 1 and len(outs) == 2 and not panels:
            found = _divided(blocks_of(layout.dims[ins[0]]), outs, entries)
            dims[outs[0]] = len(found.options)
            dims[outs[1]] = found.options[0]
        elif outs:
            raise Unfollowable("it spreads units over several dimensions")
    if panels:
        places = {ins[0]: outs[0] for ins, outs in groups if len(ins) == 1 and len(outs) == 1}
        if panels.by in places:
            found = PerIndexAxes(places[panels.by], places[panels.along], panels.options)
    made = Layout(tuple(dims[index] for index in sorted(dims)))
    return trace.with_per_index_axes(made, found.by, found.along, found.options) if found else made


def _fits(panels: PerIndexAxes, groups: list[Group]) -> bool:
    """Whether both dimensions of panels stay, or are merged into one."""
    for ins, outs in groups:
        if panels.by in ins and panels.along in ins:
            return len(outs) == 1 and panels.by < panels.along
        if panels.by in ins or panels.along in ins:
            return all(
                len(i) == 1 and len(o) == 1
                for i, o in groups
                if panels.by in i or panels.along in i
            )
    return False


def _plain(
    node: NodeProto, layout: Layout, ins: list[int], outs: list[int], entries: list[Entry]
) -> dict[int, Dim]:
    """Sizes of a group without axes."""
    dims: dict[int, Dim] = {}
    for index in outs:
        token = entries[index].token
        if token == -1 or token == 0:
            single = len(outs) == 1
            token = (
                multiplied([size(layout.dims[i]) for i in ins])
                if single and ins
                else f"?{node.output[0]}:{index}"
            )
        dims[index] = token
    return dims


def _merged(layout: Layout, ins: list[int]) -> Blocks:
    """One dimension of several, of which one has an axis: what lies before it repeats it."""
    blocks: Blocks | None = None
    panels = layout.per_index
    for index in reversed(ins):
        dim = layout.dims[index]
        if panels and index == panels.along:
            blocks = panels.options[0]
            continue
        if panels and index == panels.by and blocks is not None:
            blocks = tuple(block for option in panels.options for block in option)
        elif isinstance(dim, tuple) and blocks is None:
            blocks = dim
        elif dim == 1:
            continue
        elif panels and panels.by < index < panels.along:
            raise Unfollowable("it merges units with a dimension between them and their directions")
        elif isinstance(dim, int) and blocks is not None and dim * len(blocks) <= _MAX_BLOCKS:
            blocks = blocks * dim
        else:
            raise Unfollowable("it merges units with a dimension whose size is not fixed")
    return blocks or ()


def _packed(
    node: NodeProto, layout: Layout, ins: list[int], outs: list[int], entries: list[Entry]
) -> dict[int, Dim] | None:
    """Units repeated as often as a longer last dimension of known size holds them: steps put side by side.

    What becomes of the other dimensions is not known then, nor does it matter.
    """
    dim, length = layout.dims[ins[-1]], entries[outs[-1]].token
    alone = isinstance(dim, tuple) and not any(
        isinstance(layout.dims[index], tuple) for index in ins[:-1]
    )
    width = size(dim)
    if (
        not alone
        or layout.per_index
        or not isinstance(width, int)
        or not isinstance(length, int)
        or length < width
    ):
        return None
    times, left = divmod(length, width)
    if left or times * len(blocks_of(dim)) > _MAX_BLOCKS:
        return None
    return {**_plain(node, layout, [], outs[:-1], entries), outs[-1]: blocks_of(dim) * times}


def _divided(dim: Blocks, outs: list[int], entries: list[Entry]) -> PerIndexAxes:
    """A run of blocks as rows of equal length: one dimension says which row, the other is the row."""
    length = sum(block.size for block in dim)
    first, second = (entries[index].token for index in outs)
    if isinstance(first, int) and first > 0:
        row_length = length // first
    elif isinstance(second, int) and second > 0:
        row_length = second
    else:
        raise Unfollowable("it spreads units over several dimensions")
    rows: list[list[Block]] = [[]]
    for block in dim:
        if sum(b.size for b in rows[-1]) >= row_length:
            rows.append([])
        rows[-1].append(block)
    if any(sum(b.size for b in row) != row_length for row in rows):
        raise Unfollowable("it spreads units over several dimensions")
    return PerIndexAxes(outs[0], outs[1], tuple(map(tuple, rows)))

"""Rules for operators that take parts of a tensor, repeat or turn them, or add margins: Slice, Split, Gather, Tile, Pad, ..."""

from __future__ import annotations

from dataclasses import replace

from onnx import NodeProto

from isslim.compress.onnx.model.attributes import get_int, get_ints, get_string
from isslim.compress.onnx.model.layouts import Dim, Layout, size, slice_blocks
from isslim.compress.onnx.model.split_model import given
from isslim.compress.onnx.model.symbols import multiplied
from isslim.compress.onnx.trace.edits import Bounds, Shares, Target, key
from isslim.compress.onnx.trace.rules.shapes import counted
from isslim.compress.onnx.trace.tracing import Trace
from isslim.compress.onnx.trace.types import Unfollowable


def slice_(trace: Trace, node: NodeProto) -> None:
    """A range of some dimensions; one with an axis is cut at the boundaries of its blocks."""
    layout = trace.require_layout(node, 0)
    bounds = _bounds(trace, node, layout)
    counting = _counting(trace, node)
    entries = []
    for entry, (position, start, stop, step) in enumerate(bounds):
        dim = layout.dims[position]
        length = size(dim)
        if entry in counting and not isinstance(dim, tuple):
            raise Unfollowable("it computes with the number of units")
        known = isinstance(length, int) and start is not None and stop is not None and step
        if layout.per_index and position == layout.per_index.by:
            if not known:
                layout = trace.without_per_index_axes(layout)
            else:
                chosen = list(range(*slice(start, stop, step).indices(length)))  # type: ignore[arg-type]
                layout = _picked(trace, layout, chosen)
                continue
        if isinstance(dim, tuple):
            if not known or step != 1:
                raise Unfollowable(
                    "it takes a range of units that depends on the data, or not each"
                )
            low, high, _ = slice(start, stop).indices(length)  # type: ignore[arg-type]
            if (low, high) == (0, length) and entry not in counting:
                continue
            layout = (
                trace.without_per_index_axes(layout)
                if layout.per_index and position == layout.per_index.along
                else layout
            )
            dim = layout.dims[position]
            within = slice_blocks(dim, low, high) if isinstance(dim, tuple) else None
            before = slice_blocks(dim, 0, low) if isinstance(dim, tuple) else None
            if within is None or before is None:
                raise Unfollowable("it takes a range that ends between units of one axis")
            entries.append((entry, before, within))
            layout = layout.with_dim(position, within)
        elif known:
            taken = range(*slice(start, stop, step).indices(length))  # type: ignore[arg-type]
            layout = layout.with_dim(position, len(taken))
        else:
            layout = layout.with_dim(position, f"?{node.output[0]}:{position}")
    if entries:
        trace.edits.append(Bounds(key(node), tuple(entries)))
    trace.set_layout(node, layout)


def split(trace: Trace, node: NodeProto) -> None:
    """One dimension in several parts."""
    layout = trace.require_layout(node, 0)
    axis = get_int(node, "axis", 0) % layout.rank
    total, parts = size(layout.dims[axis]), len(node.output)
    given_sizes = get_ints(node, "split") if trace.parts.opset < 13 else trace.integers(node, 1)
    sizes = list(given_sizes) if given_sizes else None
    if sizes is None and isinstance(total, int) and not given(node, 1):
        each = -(-total // parts)
        sizes = [min(each, total - each * index) for index in range(parts)]
    if sizes is None:
        raise Unfollowable("how it divides a dimension depends on the data")
    if layout.per_index and axis == layout.per_index.along:
        layout = trace.without_per_index_axes(layout)
    start, shares = 0, []
    for index, length in enumerate(sizes):
        dim = layout.dims[axis]
        if layout.per_index and axis == layout.per_index.by:
            trace.set_layout(
                node, _picked(trace, layout, list(range(start, start + length))), index
            )
        elif isinstance(dim, tuple):
            within = slice_blocks(dim, start, start + length)
            if within is None:
                raise Unfollowable("it divides the units of one axis")
            shares.append(within)
            trace.set_layout(node, layout.with_dim(axis, within), index)
        else:
            trace.set_layout(node, layout.with_dim(axis, length), index)
        start += length
    if shares:
        trace.edits.append(Shares(key(node), tuple(shares)))


def gather(trace: Trace, node: NodeProto) -> None:
    """Entries along one dimension; the rows of a constant begin an axis, as an embedding does."""
    layout, indices = trace.require_layout(node, 0), trace.require_layout(node, 1)
    axis = get_int(node, "axis", 0) % layout.rank
    if trace.constant(node.input[0]):
        value = trace.parts.constants[node.input[0]]
        if value.dtype.kind == "f" and value.ndim > 1 and axis != value.ndim - 1:
            made = trace.new_axis(node, value.shape[-1])
            trace.index_constant(node, 0, {value.ndim - 1: made})
            layout = layout.with_dim(layout.rank - 1, made)
    chosen = trace.integers(node, 1)
    panels = layout.per_index
    if panels and axis == panels.by and chosen is not None:
        chosen = [index % len(panels.options) for index in chosen]
        if indices.rank == 1:
            trace.set_layout(node, _picked(trace, layout, chosen))
            return
        if indices.rank == 0:
            picked = layout.with_dim(panels.along, panels.options[chosen[0]])
            trace.set_layout(
                node,
                replace(picked, per_index=None).moved([i for i in range(layout.rank) if i != axis]),
            )
            return
    if panels and axis in (panels.by, panels.along):
        layout = trace.without_per_index_axes(layout)
    if isinstance(layout.dims[axis], tuple):
        raise Unfollowable("it picks single units")
    if indices.axes():
        raise Unfollowable("it looks up by units")
    order: list[int | None] = [
        *range(axis),
        *([None] * indices.rank),
        *range(axis + 1, layout.rank),
    ]
    made_layout = _without(layout, axis, order)
    for offset, dim in enumerate(indices.dims):
        made_layout = made_layout.with_dim(axis + offset, dim)
    trace.set_layout(node, made_layout)


def gather_elements(trace: Trace, node: NodeProto) -> None:
    """Entries along one dimension, chosen for each of the others, such as the last step of each sequence."""
    layout, indices = (
        trace.without_per_index_axes(trace.require_layout(node, 0)),
        trace.without_per_index_axes(trace.require_layout(node, 1)),
    )
    axis = get_int(node, "axis", 0) % layout.rank
    dims: list[Dim] = list(indices.dims)
    for position in layout.labelled():
        own, other = layout.dims[position], indices.dims[position]
        if position == axis:
            raise Unfollowable("it picks single units")
        if isinstance(other, tuple):
            trace.unite(own, other)  # type: ignore[arg-type]
        else:
            trace.gate_input(node, 1, position, (own,))  # type: ignore[arg-type]
        dims[position] = own
    if set(indices.labelled()) - set(layout.labelled()):
        raise Unfollowable("it looks up by units")
    trace.set_layout(node, Layout(tuple(dims)))


def gather_nd(trace: Trace, node: NodeProto) -> None:
    """Entries chosen by several indices at once, such as the last step of each sequence by its number and its length."""
    layout, indices = (
        trace.without_per_index_axes(trace.require_layout(node, 0)),
        trace.require_layout(node, 1),
    )
    count = indices.dims[-1]
    if indices.axes() or not isinstance(count, int):
        raise Unfollowable("it looks up by units, or by an unknown number of indices")
    chosen = get_int(node, "batch_dims", 0) + count
    if any(position < chosen for position in layout.labelled()):
        raise Unfollowable("it picks single units")
    trace.set_layout(node, Layout((*indices.dims[:-1], *layout.dims[chosen:])))


def resize(trace: Trace, node: NodeProto) -> None:
    """Other dimensions than those of units made longer or shorter, by interpolation."""
    layout = trace.without_per_index_axes(trace.require_layout(node, 0))
    by_scale = 1 if trace.parts.opset < 11 else 2
    scales, sizes = trace.value(given(node, by_scale)), trace.entries(given(node, 3))
    if get_string(
        node, "coordinate_transformation_mode", "half_pixel"
    ) == "tf_crop_and_resize" or get_ints(node, "axes"):
        raise Unfollowable("which part of a tensor it stretches is not followed")
    found = []
    for position in layout.labelled():
        dim = layout.dims[position]
        if scales is not None and len(scales) == layout.rank:
            still = scales[position] == 1
        else:
            still = sizes is not None and sizes[position].token == size(dim)
            found.append((position, dim))
        if not still:
            raise Unfollowable("it stretches the units")
    if found:
        trace.edits.append(Target(key(node), 3, tuple(found)))  # type: ignore[arg-type]
    known = trace.default(node.output[0])
    dims = [
        dim
        if isinstance(dim, tuple)
        else known.dims[position]
        if known
        else f"?{node.output[0]}:{position}"
        for position, dim in enumerate(layout.dims)
    ]
    trace.set_layout(node, Layout(tuple(dims)).marked(node.output[0], zero_preserving=True))


def tile(trace: Trace, node: NodeProto) -> None:
    """Dimensions repeated, some of them as often as a shape says that is computed at run time."""
    layout, repeats = trace.require_layout(node, 0), trace.entries(given(node, 1))
    if repeats is None:
        if layout.axes():
            raise Unfollowable("how often it repeats depends on the data")
        trace.set_layout(node, trace.default(node.output[0]))
        return
    if layout.per_index and any(
        repeats[place].token != 1 for place in (layout.per_index.by, layout.per_index.along)
    ):
        layout = trace.without_per_index_axes(layout)
    value = trace.value(node.input[0])
    zero = value is not None and not value.any()
    for position, entry in enumerate(repeats):
        dim, count = layout.dims[position], entry.token
        if count == 1:
            continue
        if dim == 1:
            layout = layout.with_dim(position, counted(trace, entry, zero, node.output[0]))
        elif entry.axes or (isinstance(dim, tuple) and not isinstance(count, int)):
            raise Unfollowable(
                "how often it repeats depends on the data, or on the number of units"
            )
        else:
            if isinstance(dim, tuple):
                repeated: Dim = dim * count  # type: ignore[operator]
            else:
                repeated = multiplied([dim, count])
            layout = layout.with_dim(position, repeated)
    trace.set_layout(node, layout)


def reverse_sequence(trace: Trace, node: NodeProto) -> None:
    """The first steps of every sequence in the opposite order: units stay where they are."""
    layout = trace.require_layout(node, 0)
    moved = {get_int(node, "batch_axis", 1), get_int(node, "time_axis", 0)}
    if layout.per_index and layout.per_index.by in moved:
        layout = trace.without_per_index_axes(layout)
    if moved & set(layout.labelled()):
        raise Unfollowable("it turns the units around")
    trace.set_layout(node, layout)


def pad(trace: Trace, node: NodeProto) -> None:
    """Margins on dimensions without axes."""
    layout = trace.require_layout(node, 0)
    pads = get_ints(node, "pads") if trace.parts.opset < 11 else trace.integers(node, 1)
    if pads is None or given(node, 3):
        raise Unfollowable("the margins that it adds depend on the data")
    for position, dim in enumerate(layout.dims):
        margin = pads[position] + pads[position + layout.rank]
        if not margin:
            continue
        if isinstance(dim, tuple) or (layout.per_index and position == layout.per_index.by):
            raise Unfollowable("it adds a margin to the units")
        grown = dim + margin if isinstance(dim, int) else f"?{node.output[0]}:{position}"
        layout = layout.with_dim(position, grown)
    trace.set_layout(node, layout.marked(node.output[0], zero_preserving=False))


def _picked(trace: Trace, layout: Layout, chosen: list[int]) -> Layout:
    """Some of the panels."""
    panels = layout.per_index
    if panels is None:
        return layout
    options = tuple(panels.options[index] for index in chosen)
    made = replace(layout, per_index=None).with_dim(panels.by, len(chosen))
    return trace.with_per_index_axes(made, panels.by, panels.along, options) if options else made


def _without(layout: Layout, axis: int, order: list[int | None]) -> Layout:
    """The layout in a new order in which one dimension no longer stands."""
    if layout.per_index and axis in (layout.per_index.by, layout.per_index.along):
        raise Unfollowable("it picks among directions by data")
    return layout.moved(order)


def _bounds(
    trace: Trace, node: NodeProto, layout: Layout
) -> list[tuple[int, int | None, int | None, int | None]]:
    """Per entry of a Slice: dimension, start, stop and step; None where they depend on the data."""
    starts: list[int | None]
    ends: list[int | None]
    steps: list[int | None]
    if trace.parts.opset < 10:
        starts, ends = [*(get_ints(node, "starts") or [])], [*(get_ints(node, "ends") or [])]
        axes, steps = get_ints(node, "axes") or list(range(len(starts))), [1] * len(starts)
    else:
        count = _length(trace, node)
        known = trace.integers(node, 3) if given(node, 3) else list(range(count))
        if known is None:
            raise Unfollowable("which dimensions it takes a range of depends on the data")
        axes, starts, ends = known, _numbers(trace, node, 1, count), _numbers(trace, node, 2, count)
        steps = _numbers(trace, node, 4, count) if given(node, 4) else [1] * count
    given_axes = zip(axes, starts, ends, steps, strict=True)
    return [(axis % layout.rank, start, end, step) for axis, start, end, step in given_axes]


def _counting(trace: Trace, node: NodeProto) -> set[int]:
    """Which entries of a Slice have bounds that count units."""
    found = [trace.shapes.get(given(node, index), ()) for index in (1, 2)]
    return {place for entries in found for place, entry in enumerate(entries) if entry.axes}


def _length(trace: Trace, node: NodeProto) -> int:
    for index in (1, 2, 3, 4):
        layout = trace.layout(given(node, index)) if given(node, index) else None
        if layout is not None and layout.rank == 1 and isinstance(layout.dims[0], int):
            return layout.dims[0]
    raise Unfollowable("of how many dimensions it takes a range depends on the data")


def _numbers(trace: Trace, node: NodeProto, index: int, count: int) -> list[int | None]:
    """Constant numbers of a bound, or those of a shape that are known."""
    entries = trace.entries(given(node, index))
    if entries is None:
        return [None] * count
    return [entry.token if isinstance(entry.token, int) else None for entry in entries]

"""Rules for operators that take parts of a tensor: Slice, Split, Gather and its kin."""

from __future__ import annotations

from dataclasses import dataclass, replace

from isslim.compress.onnx.model.attributes import get_int, get_ints
from isslim.compress.onnx.model.layouts import (
    Blocks,
    Dim,
    Layout,
    PerIndexAxes,
    blocks_of,
    size,
    slice_blocks,
)
from isslim.compress.onnx.trace.context import OTHER_SIZE, RuleContext
from isslim.compress.onnx.trace.edits import Bounds, Shares
from isslim.compress.onnx.trace.rule import rule
from isslim.compress.onnx.trace.rules.obstacles import (
    COUNTS_UNITS,
    LOOKS_UP_BY_UNITS,
    SINGLE_UNITS,
)
from isslim.compress.onnx.trace.types import Unfollowable

RANGE_BY_DATA = "it takes a range of units that depends on the data, or skips some"
RANGE_WITHIN_AXIS = "it takes a range that ends between units of one axis"
DIMENSION_BY_DATA = "which dimensions it takes a range of depends on the data"
COUNT_BY_DATA = "the number of dimensions that it slices depends on the data"
DIVISION_BY_DATA = "how it divides a dimension depends on the data"
DIVIDES_AXIS = "it divides the units of one axis"
LOOKS_UP_BY_NUMBER = "it looks up by units, or by an unknown number of indices"

Numbers = list[int | None]


@dataclass(frozen=True)
class _Bounds:
    """One entry of a Slice; None for numbers that depend on the data."""

    position: int
    start: int | None
    stop: int | None
    step: int | None

    def indices(self, length: Dim) -> range | None:
        """The indices that it takes of a dimension; None when they are not known."""
        known = self.start is not None and self.stop is not None and self.step
        if not isinstance(length, int) or not known:
            return None
        return range(*slice(self.start, self.stop, self.step).indices(length))


@rule(
    "Slice",
    obstacles=(RANGE_BY_DATA, RANGE_WITHIN_AXIS, DIMENSION_BY_DATA, COUNT_BY_DATA, COUNTS_UNITS),
)
def _slice(context: RuleContext) -> None:
    """A range of some dimensions; one with an axis is cut at the boundaries of its blocks."""
    layout = context.require_layout(0)
    bounds = _bounds(context, layout)
    counting = _counting(context)
    cuts: list[tuple[int, Blocks, Blocks]] = []
    for entry, own in enumerate(bounds):
        dim = layout.dims[own.position]
        taken = own.indices(size(dim))
        if isinstance(dim, tuple):
            # Bounds that count units change with them, even where all units are taken.
            if _takes_all(taken, size(dim)) and entry not in counting:
                continue
            layout, before, within = _cut_units(context, layout, own.position, taken)
            cuts.append((entry, before, within))
        # A dimension of its own would be cut at another place after a cut of the units.
        elif entry in counting:
            raise Unfollowable(COUNTS_UNITS)
        else:
            layout = _cut_plain(context, layout, own.position, taken)
    if cuts:
        context.note_edit(Bounds(context.key, tuple(cuts)))
    context.set_layout(layout)


def _takes_all(taken: range | None, length: int | str) -> bool:
    return isinstance(length, int) and taken == range(length)


def _cut_units(
    context: RuleContext, layout: Layout, position: int, taken: range | None
) -> tuple[Layout, Blocks, Blocks]:
    """A range of units.

    Args:
        context: unites axes where they must be one.
        layout: before.
        position: of the dimension.
        taken: the indices; None: not known.

    Returns:
        The layout of the result, the blocks before the range, and those within.
    """
    # Every other unit is a choice among them, like one that the data makes.
    if taken is None or taken.step != 1:
        raise Unfollowable(RANGE_BY_DATA)
    # The edit has one pair of bounds, which must fit the units at every index.
    if layout.per_index and position == layout.per_index.along:
        layout = context.axes.without_per_index_axes(layout)
    dim = blocks_of(layout.dims[position])
    before = slice_blocks(dim, 0, taken.start)
    within = slice_blocks(dim, taken.start, taken.stop)
    # How many of an axis's units stay is known after a cut, not how many of them lie before a
    # number: which ones go would decide it.
    if before is None or within is None:
        raise Unfollowable(RANGE_WITHIN_AXIS)
    return layout.with_dim(position, within), before, within


def _cut_plain(context: RuleContext, layout: Layout, position: int, taken: range | None) -> Layout:
    """A range of a dimension without units.

    Args:
        context: unites axes where they must be one.
        layout: before.
        position: of the dimension.
        taken: the indices; None: not known.
    """
    by_index = layout.per_index is not None and layout.per_index.by == position
    if taken is not None and by_index:
        return _pick(context, layout, list(taken))
    if taken is not None:
        return layout.with_dim(position, len(taken))
    # Any index may be among them, so what stands at one must stand at all.
    if by_index:
        layout = context.axes.without_per_index_axes(layout)
    return layout.with_dim(position, context.unknown(position))


@rule("Split", obstacles=(DIVISION_BY_DATA, DIVIDES_AXIS))
def _split(context: RuleContext) -> None:
    """Splits one dimension into several parts."""
    layout = context.require_layout(0)
    axis = context.axis(0, layout.rank)
    lengths = _lengths(context, layout.dims[axis])
    # The edit has one length for each part, at whatever index.
    if layout.per_index and axis == layout.per_index.along:
        layout = context.axes.without_per_index_axes(layout)
    dim = layout.dims[axis]
    start = 0
    shares: list[Blocks] = []
    for index, length in enumerate(lengths):
        taken = range(start, start + length)
        start += length
        if isinstance(dim, tuple):
            within = slice_blocks(dim, taken.start, taken.stop)
            # Which units go would decide how many of them lie in which part.
            if within is None:
                raise Unfollowable(DIVIDES_AXIS)
            shares.append(within)
            context.set_layout(layout.with_dim(axis, within), index)
        else:
            context.set_layout(_cut_plain(context, layout, axis, taken), index)
    if shares:
        context.note_edit(Shares(context.key, tuple(shares)))


def _lengths(context: RuleContext, dim: Dim) -> list[int]:
    """Lengths of a Split's parts: given, or as equal as can be with the last one shorter."""
    as_input = context.opset >= 13
    lengths = context.integers(1) if as_input else get_ints(context.node, "split")
    if lengths:
        return lengths
    whole, parts = size(dim), len(context.node.output)
    if context.input(1) or not isinstance(whole, int):
        raise Unfollowable(DIVISION_BY_DATA)
    each = -(-whole // parts)  # rounded up
    return [min(each, whole - each * index) for index in range(parts)]


@rule("Gather", obstacles=(SINGLE_UNITS, LOOKS_UP_BY_UNITS))
def _gather(context: RuleContext) -> None:
    """Entries along one dimension; the rows of a constant begin an axis, as an embedding does."""
    layout, indices = context.require_layout(0), context.require_layout(1)
    axis = context.axis(0, layout.rank)
    layout = _with_embedding_axis(context, layout, axis)
    per_index, chosen = layout.per_index, context.integers(1)
    # A direction that is picked by a constant keeps its own units.
    if per_index and axis == per_index.by and chosen is not None and indices.rank < 2:
        places = [index % len(per_index.options) for index in chosen]
        if indices.rank == 1:
            context.set_layout(_pick(context, layout, places))
        else:
            context.set_layout(_single_index(layout, per_index, places[0]))
        return
    # One that the data picks may be any of them.
    if per_index and axis in (per_index.by, per_index.along):
        layout = context.axes.without_per_index_axes(layout)
    if isinstance(layout.dims[axis], tuple):
        raise Unfollowable(SINGLE_UNITS)
    if indices.axes():
        raise Unfollowable(LOOKS_UP_BY_UNITS)
    # The dimensions of the indices stand where the one that they pick from stood.
    in_place: list[int | None] = [None] * indices.rank
    order = [*range(axis), *in_place, *range(axis + 1, layout.rank)]
    made = layout.moved(order)
    for offset, dim in enumerate(indices.dims):
        made = made.with_dim(axis + offset, dim)
    context.set_layout(made)


def _with_embedding_axis(context: RuleContext, layout: Layout, axis: int) -> Layout:
    """An embedding's columns may shrink with the layer that reads them, if they meet its units."""
    value = context.value(0)
    last = layout.rank - 1
    # Whole numbers are no weights; and entries of the last dimension are picked, not read.
    if value is None or value.dtype.kind != "f" or value.ndim < 2 or axis == last:
        return layout
    made = context.new_axis(value.shape[-1])
    context.index_constant(0, {last: made})
    return layout.with_dim(last, made)


def _single_index(layout: Layout, per_index: PerIndexAxes, index: int) -> Layout:
    """What lies at one index of the dimension that chooses the axes, that dimension left out."""
    picked = layout.with_dim(per_index.along, per_index.options[index])
    left = [position for position in range(layout.rank) if position != per_index.by]
    return replace(picked, per_index=None).moved([*left])


@rule("GatherElements", obstacles=(SINGLE_UNITS, LOOKS_UP_BY_UNITS, OTHER_SIZE))
def _gather_elements(context: RuleContext) -> None:
    """Entries along one dimension, chosen for each of the others: such as each last step."""
    layout, indices = context.plain_layout(0), context.plain_layout(1)
    axis = context.axis(0, layout.rank)
    dims: list[Dim] = list(indices.dims)
    for position in layout.labelled():
        if position == axis:
            raise Unfollowable(SINGLE_UNITS)
        blocks, other = blocks_of(layout.dims[position]), indices.dims[position]
        # There is an index for every unit, so a removed unit's index goes with it.
        if isinstance(other, tuple):
            context.axes.unite(blocks, other)
        else:
            context.gate_input(1, position, (blocks,))
        dims[position] = blocks
    # Indices with units of their own would look up less after a cut, in what stays as it is.
    if set(indices.labelled()) - set(layout.labelled()):
        raise Unfollowable(LOOKS_UP_BY_UNITS)
    context.set_layout(Layout(tuple(dims)))


@rule("GatherND", obstacles=(LOOKS_UP_BY_NUMBER, SINGLE_UNITS))
def _gather_nd(context: RuleContext) -> None:
    """Entries selected by several indices: the last step of each sequence by its number."""
    layout, indices = context.plain_layout(0), context.require_layout(1)
    count = indices.dims[-1]
    if indices.axes() or not isinstance(count, int):
        raise Unfollowable(LOOKS_UP_BY_NUMBER)
    # The first dimensions are selected one by one, or picked from; later ones are taken whole.
    chosen = get_int(context.node, "batch_dims", 0) + count
    if any(position < chosen for position in layout.labelled()):
        raise Unfollowable(SINGLE_UNITS)
    dims = indices.dims[:-1] + layout.dims[chosen:]
    context.set_layout(Layout(dims))


def _pick(context: RuleContext, layout: Layout, chosen: list[int]) -> Layout:
    """Some indices of the dimension that chooses the axes."""
    per_index = layout.per_index
    if per_index is None:
        return layout
    options = tuple(per_index.options[index] for index in chosen)
    made = replace(layout, per_index=None).with_dim(per_index.by, len(chosen))
    # Nothing was picked: an empty tensor has no units.
    if not options:
        return made
    return context.axes.with_per_index_axes(made, replace(per_index, options=options))


def _bounds(context: RuleContext, layout: Layout) -> list[_Bounds]:
    """Per entry of a Slice what it takes; attributes before opset 10, inputs since."""
    if context.opset < 10:
        starts: Numbers = [*(get_ints(context.node, "starts") or [])]
        ends: Numbers = [*(get_ints(context.node, "ends") or [])]
        steps: Numbers = [1] * len(starts)
        axes = get_ints(context.node, "axes") or list(range(len(starts)))
    else:
        count = _count(context)
        starts = _numbers(context, 1, count)
        ends = _numbers(context, 2, count)
        steps = _numbers(context, 4, count) if context.input(4) else [1] * count
        axes = _sliced_axes(context, count)
    found = []
    for axis, *numbers in zip(axes, starts, ends, steps, strict=True):
        found.append(_Bounds(axis % layout.rank, *numbers))
    return found


def _sliced_axes(context: RuleContext, count: int) -> list[int]:
    """The dimensions of which a Slice takes a range: the first ones where none is named."""
    axes = context.integers(3) if context.input(3) else list(range(count))
    if axes is None:
        raise Unfollowable(DIMENSION_BY_DATA)
    return axes


def _counting(context: RuleContext) -> set[int]:
    """Which entries of a Slice have bounds that count units."""
    found: set[int] = set()
    for index in (1, 2):
        entries = context.computed_entries(index)
        found |= {place for place, entry in enumerate(entries) if entry.axes}
    return found


def _count(context: RuleContext) -> int:
    """Of how many dimensions a Slice takes a range: as many as any of its inputs has numbers."""
    for index in (1, 2, 3, 4):
        layout = context.layout(index) if context.input(index) else None
        if layout is not None and layout.rank == 1 and isinstance(layout.dims[0], int):
            return layout.dims[0]
    raise Unfollowable(COUNT_BY_DATA)


def _numbers(context: RuleContext, index: int, count: int) -> Numbers:
    """Constant numbers of a bound, or those of a shape that are known."""
    entries = context.entries(index)
    if entries is None:
        return [None] * count
    return [entry.token if isinstance(entry.token, int) else None for entry in entries]

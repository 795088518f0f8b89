"""Dimensions with units that a Reshape or Flatten merges and splits, group by group.

Each group of dimensions (`reshape_groups`) becomes another by itself, in one of these ways:

    one to one         it stays what it is
    packed             steps put side by side: the last dimension holds its units several times
    plain              no units in it
    merged             into one dimension: what lies before the units repeats their blocks
    rows               one dimension into two: rows of equal length, such as the two directions
"""

from __future__ import annotations

from onnx import NodeProto

from isslim.compress.onnx.model.layouts import (
    Block,
    Blocks,
    Dim,
    Layout,
    PerIndexAxes,
    blocks_of,
    size,
)
from isslim.compress.onnx.model.symbols import multiplied
from isslim.compress.onnx.trace.context import RuleContext
from isslim.compress.onnx.trace.reshape_groups import Group
from isslim.compress.onnx.trace.types import Entry, Unfollowable

SPREADS = "it spreads units over several dimensions"
UNFIXED_SIZE = "it merges units with a dimension whose size is not fixed"
DIMENSION_BETWEEN = "it merges units with a dimension between them and their directions"

_MAX_BLOCKS = 4096
"""Into which one dimension is divided: each costs a segment in every matrix that reads it."""


def regrouped(
    context: RuleContext, node: NodeProto, layout: Layout, groups: list[Group], entries: list[Entry]
) -> Layout:
    """The layout after dimensions were merged and split in groups.

    Args:
        context: unites axes where they must be one.
        node: the Reshape or Flatten.
        layout: of its input.
        groups: positions that become one another, in order.
        entries: per position of the result the size that is asked for.

    Raises:
        Unfollowable: when units would lie in several dimensions, or among others.
    """
    if layout.per_index and not _keeps_indices(layout.per_index, groups):
        layout = context.axes.without_per_index_axes(layout)
    dims: dict[int, Dim] = {}
    rows: PerIndexAxes | None = None
    for ins, outs in groups:
        if _is_rows(layout, ins, outs) and _packed(node, layout, ins, outs, entries) is None:
            rows = _rows(blocks_of(layout.dims[ins[0]]), outs, entries)
            dims |= {outs[0]: len(rows.options), outs[1]: rows.options[0]}
        else:
            dims |= _regrouped_dims(node, layout, ins, outs, entries)
    per_index = _moved_indices(layout.per_index, groups) or rows
    made = Layout(tuple(dims[index] for index in sorted(dims)))
    return context.axes.with_per_index_axes(made, per_index) if per_index else made


def _regrouped_dims(
    node: NodeProto, layout: Layout, ins: list[int], outs: list[int], entries: list[Entry]
) -> dict[int, Dim]:
    """What the dimensions of one group become, by their positions in the result."""
    if len(ins) == 1 and len(outs) == 1:
        return {outs[0]: layout.dims[ins[0]]}
    packed = _packed(node, layout, ins, outs, entries)
    if packed is not None:
        return packed
    if not any(isinstance(layout.dims[index], tuple) for index in ins):
        return _plain(node, layout, ins, outs, entries)
    if len(outs) == 1:
        return {outs[0]: _merged(layout, ins)}
    if outs:
        raise Unfollowable(SPREADS)
    # Dimensions that are gone are of size 1, of which nothing can be removed.
    return {}


def _keeps_indices(per_index: PerIndexAxes, groups: list[Group]) -> bool:
    """Whether both dimensions of per-index axes stay, or are merged into one, rows behind rows."""
    touched = []
    for ins, outs in groups:
        if per_index.by in ins and per_index.along in ins:
            return len(outs) == 1
        if per_index.by in ins or per_index.along in ins:
            touched.append((ins, outs))
    return all(len(ins) == 1 and len(outs) == 1 for ins, outs in touched)


def _moved_indices(per_index: PerIndexAxes | None, groups: list[Group]) -> PerIndexAxes | None:
    """Per-index axes at the positions of their dimensions now; None when they were merged."""
    if per_index is None:
        return None
    places = {}
    for ins, outs in groups:
        if len(ins) == 1 and len(outs) == 1:
            places[ins[0]] = outs[0]
    if per_index.by not in places:
        return None
    return PerIndexAxes(places[per_index.by], places[per_index.along], per_index.options)


def _plain(
    node: NodeProto, layout: Layout, ins: list[int], outs: list[int], entries: list[Entry]
) -> dict[int, Dim]:
    """Sizes of a group without axes."""
    dims: dict[int, Dim] = {}
    for index in outs:
        token = entries[index].token
        if token not in (-1, 0):
            dims[index] = token
        elif len(outs) == 1 and ins:
            dims[index] = multiplied([size(layout.dims[i]) for i in ins])
        else:
            dims[index] = f"?{node.output[0]}:{index}"
    return dims


def _merged(layout: Layout, ins: list[int]) -> Blocks:
    """One dimension of several, of which one has an axis: what lies before it repeats it."""
    blocks: Blocks = ()
    for index in reversed(ins):
        blocks = _with_outer(layout, index, blocks)
    return blocks


def _with_outer(layout: Layout, index: int, blocks: Blocks) -> Blocks:
    """The blocks that a dimension and those inside it become together.

    Args:
        layout: before.
        index: of the dimension.
        blocks: of the dimensions inside it that are merged with it; none yet: no units among them.
    """
    dim, per_index = layout.dims[index], layout.per_index
    if per_index and index == per_index.along:
        return per_index.options[0]
    if per_index and index == per_index.by and blocks:
        behind: list[Block] = []
        for option in per_index.options:
            behind += option
        return tuple(behind)
    if isinstance(dim, tuple) and not blocks:
        return dim
    if dim == 1:
        return blocks
    if per_index and per_index.by < index < per_index.along:
        raise Unfollowable(DIMENSION_BETWEEN)
    if isinstance(dim, int) and blocks and dim * len(blocks) <= _MAX_BLOCKS:
        return blocks * dim
    # A dimension inside the units would put several numbers of one unit side by side.
    raise Unfollowable(UNFIXED_SIZE)


def _packed(
    node: NodeProto, layout: Layout, ins: list[int], outs: list[int], entries: list[Entry]
) -> dict[int, Dim] | None:
    """Units as often as a longer last dimension of known size holds them: steps side by side.

    What becomes of the other dimensions is not known then, nor does it matter.

    Returns:
        None when the group is nothing of the kind.
    """
    if not ins or not outs or layout.per_index:
        return None
    dim = layout.dims[ins[-1]]
    if not isinstance(dim, tuple) or any(isinstance(layout.dims[i], tuple) for i in ins[:-1]):
        return None
    width, length = size(dim), entries[outs[-1]].token
    if not isinstance(width, int) or not isinstance(length, int) or length < width:
        return None
    times, left = divmod(length, width)
    if left or times * len(dim) > _MAX_BLOCKS:
        return None
    return {**_plain(node, layout, [], outs[:-1], entries), outs[-1]: dim * times}


def _is_rows(layout: Layout, ins: list[int], outs: list[int]) -> bool:
    """Whether units of one dimension come to lie in two."""
    single = len(ins) == 1 and len(outs) == 2 and layout.per_index is None
    return single and isinstance(layout.dims[ins[0]], tuple)


def _rows(dim: Blocks, outs: list[int], entries: list[Entry]) -> PerIndexAxes:
    """A run of blocks as rows of equal length: one dimension numbers them, the other is a row."""
    row_length = _row_length(dim, outs, entries)
    rows: list[list[Block]] = [[]]
    filled = 0
    for block in dim:
        if filled >= row_length:
            rows.append([])
            filled = 0
        rows[-1].append(block)
        filled += block.size
        # A block that reaches over the end of its row would be cut between units of one axis.
        if filled > row_length:
            raise Unfollowable(SPREADS)
    if filled != row_length:
        raise Unfollowable(SPREADS)
    return PerIndexAxes(outs[0], outs[1], tuple(map(tuple, rows)))


def _row_length(dim: Blocks, outs: list[int], entries: list[Entry]) -> int:
    count, length = (entries[index].token for index in outs)
    if isinstance(count, int) and count > 0:
        return sum(block.size for block in dim) // count
    if isinstance(length, int) and length > 0:
        return length
    raise Unfollowable(SPREADS)

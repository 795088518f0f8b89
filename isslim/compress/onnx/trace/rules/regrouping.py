"""Dimensions with units that a Reshape or Flatten merges and splits, group by group.

Each group of dimensions (`reshape_groups`) becomes another by itself, in one of these ways:

    one to one         it stays what it is
    packed             steps put side by side: the last dimension holds its units several times
    plain              no units in it
    merged             into one dimension: what lies before the units repeats their blocks
    rows               one dimension into two: rows of equal length, such as the two directions
"""

from __future__ import annotations

from dataclasses import dataclass

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
    context: RuleContext, layout: Layout, groups: list[Group], entries: list[Entry]
) -> Layout:
    """The layout after dimensions were merged and split in groups.

    Args:
        context: of the Reshape or Flatten.
        layout: of its input.
        groups: positions that become one another, in order.
        entries: per position of the result the size that is asked for.

    Raises:
        Unfollowable: when units would lie in several dimensions, or among others.
    """
    if layout.per_index and not _keeps_indices(layout.per_index, groups):
        layout = context.axes.without_per_index_axes(layout)
    regrouping = _Regrouping(context, layout, entries)
    dims: dict[int, Dim] = {}
    per_index = _moved_indices(layout.per_index, groups)
    for ins, outs in groups:
        rows = regrouping.rows(ins, outs)
        if rows is None:
            dims |= regrouping.dims(ins, outs)
        else:
            dims[outs[0]] = len(rows.options)
            dims[outs[1]] = rows.options[0]
            per_index = rows
    made = Layout(tuple(dims[index] for index in sorted(dims)))
    return context.axes.with_per_index_axes(made, per_index) if per_index else made


def _keeps_indices(per_index: PerIndexAxes, groups: list[Group]) -> bool:
    """Whether both dimensions of per-index axes stay, or are merged into one."""
    pair = {per_index.by, per_index.along}
    for ins, outs in groups:
        if pair <= set(ins):
            return len(outs) == 1
        # One that is merged with a third, or split, no longer says which units lie at which index.
        if pair & set(ins) and (len(ins), len(outs)) != (1, 1):
            return False
    return True


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


@dataclass(frozen=True)
class _Regrouping:
    """What the dimensions of each group become.

    Attributes:
        context: of the Reshape or Flatten.
        layout: of its input.
        entries: per position of the result the size that is asked for.
    """

    context: RuleContext
    layout: Layout
    entries: list[Entry]

    def dims(self, ins: list[int], outs: list[int]) -> dict[int, Dim]:
        """The new dimensions of one group, by their positions in the result.

        Args:
            ins: positions of the group's dimensions in the input, ascending.
            outs: positions of its dimensions in the result, ascending.

        Raises:
            Unfollowable: when units would be spread over several dimensions.
        """
        if len(ins) == 1 and len(outs) == 1:
            return {outs[0]: self.layout.dims[ins[0]]}
        packed = self.packed(ins, outs)
        if packed is not None:
            return packed
        if not any(self._has_units(index) for index in ins):
            return self.plain(ins, outs)
        if len(outs) == 1:
            return {outs[0]: self.merged(ins)}
        if outs:
            raise Unfollowable(SPREADS)
        # Dimensions that are gone are of size 1, of which nothing can be removed.
        return {}

    def plain(self, ins: list[int], outs: list[int]) -> dict[int, Dim]:
        """Sizes of a group without axes, by their positions in the result.

        Args:
            ins: positions of the group's dimensions in the input, ascending.
            outs: positions of its dimensions in the result, ascending.
        """
        dims: dict[int, Dim] = {}
        for index in outs:
            token = self.entries[index].token
            if token not in (-1, 0):
                dims[index] = token
            elif len(outs) == 1 and ins:
                dims[index] = multiplied([size(self.layout.dims[i]) for i in ins])
            else:
                # Which of several takes how much is not known of names.
                dims[index] = self.context.unknown(index)
        return dims

    def merged(self, ins: list[int]) -> Blocks:
        """One dimension of several, of which one has an axis: what lies before it repeats it."""
        blocks: Blocks = ()
        for index in reversed(ins):
            blocks = self._with_outer(index, blocks)
        return blocks

    def packed(self, ins: list[int], outs: list[int]) -> dict[int, Dim] | None:
        """Units as often as a longer last dimension of known size holds them: steps side by side.

        What becomes of the other dimensions is not known then, nor does it matter.

        Args:
            ins: positions of the group's dimensions in the input, ascending.
            outs: positions of its dimensions in the result, ascending.

        Returns:
            None when the group is nothing of the kind.
        """
        # Units of several directions would follow one another in an order of their own.
        if not ins or not outs or self.layout.per_index:
            return None
        dim = self.layout.dims[ins[-1]]
        if not isinstance(dim, tuple) or any(map(self._has_units, ins[:-1])):
            return None
        width, length = size(dim), self.entries[outs[-1]].token
        if not isinstance(width, int) or not isinstance(length, int) or length < width:
            return None
        times, left = divmod(length, width)
        # A rest would cut the units of one step at the end of a row.
        if left or times * len(dim) > _MAX_BLOCKS:
            return None
        others = self.plain([], outs[:-1])
        return {**others, outs[-1]: dim * times}

    def rows(self, ins: list[int], outs: list[int]) -> PerIndexAxes | None:
        """A run of blocks as rows of equal length: one dimension numbers them, the other is a row.

        Args:
            ins: positions of the group's dimensions in the input, ascending.
            outs: positions of its dimensions in the result, ascending.

        Returns:
            None when the group is nothing of the kind.
        """
        # Rows of rows would need an axis for each pair of indices.
        if len(ins) != 1 or len(outs) != 2 or self.layout.per_index:
            return None
        blocks = blocks_of(self.layout.dims[ins[0]])
        if not blocks or self.packed(ins, outs) is not None:
            return None
        options = _cut_in_rows(blocks, self._row_length(blocks, outs))
        return PerIndexAxes(outs[0], outs[1], options)

    def _has_units(self, index: int) -> bool:
        return isinstance(self.layout.dims[index], tuple)

    def _with_outer(self, index: int, blocks: Blocks) -> Blocks:
        """The blocks that a dimension and those inside it become together.

        Args:
            index: of the dimension.
            blocks: of the dimensions inside it that are merged with it; none: no units among them.
        """
        dim, per_index = self.layout.dims[index], self.layout.per_index
        if per_index and index == per_index.along:
            return per_index.options[0]
        if per_index and index == per_index.by and blocks:
            return _one_behind_the_other(per_index.options)
        if isinstance(dim, tuple) and not blocks:
            return dim
        if dim == 1:
            return blocks
        # Its entries would stand between the units of one direction and those of the next.
        if per_index and per_index.by < index < per_index.along:
            raise Unfollowable(DIMENSION_BETWEEN)
        if isinstance(dim, int) and blocks and dim * len(blocks) <= _MAX_BLOCKS:
            return blocks * dim
        # A dimension inside the units would put several numbers of one unit side by side.
        raise Unfollowable(UNFIXED_SIZE)

    def _row_length(self, blocks: Blocks, outs: list[int]) -> int:
        count, length = (self.entries[index].token for index in outs)
        if isinstance(count, int) and count > 0:
            return sum(block.size for block in blocks) // count
        if isinstance(length, int) and length > 0:
            return length
        raise Unfollowable(SPREADS)


def _one_behind_the_other(options: tuple[Blocks, ...]) -> Blocks:
    found: list[Block] = []
    for option in options:
        found += option
    return tuple(found)


def _cut_in_rows(blocks: Blocks, row_length: int) -> tuple[Blocks, ...]:
    rows: list[list[Block]] = [[]]
    filled = 0
    for block in blocks:
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
    return tuple(map(tuple, rows))

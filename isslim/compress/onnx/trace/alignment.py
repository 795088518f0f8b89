"""Dimensions that meet are made to agree: the same blocks, the same axes.

Blocks name axes by the number that they were born with. An axis that no recurrent layer began may
turn out to be several, one behind the other, when its dimension meets one of more blocks; blocks
that were noted before then still name the whole (`refined` gives the parts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from isslim.compress.onnx.model.layouts import (
    Block,
    Blocks,
    Layout,
    PerIndexAxes,
    block_boundaries,
    split_blocks,
)
from isslim.compress.onnx.trace.pool import AxisUnionFind, PinReason
from isslim.compress.onnx.trace.types import Unfollowable

PARTS_DIFFER = "it meets a tensor whose parts lie differently"
"""Why two dimensions with units cannot be laid on one another."""

ROWS_DIFFER = "tensors whose parts lie differently are stacked"
"""Why they cannot lie side by side."""


class AxisAligner:
    """Unites the axes of dimensions, block by block.

    Attributes:
        pool: the axes.
    """

    def __init__(self, pool: AxisUnionFind) -> None:
        self.pool = pool

    def refined(self, blocks: Blocks) -> Blocks:
        """The blocks, those of axes that turned out to be several replaced by theirs."""
        found: list[Block] = []
        for block in blocks:
            parts = () if block.axis is None else self.pool.parts(block.axis)
            pieces = []
            for part in parts:
                pieces.append(replace(block, axis=part, size=self.pool.size(part)))
            # A part may itself have been divided since.
            found += self.refined(tuple(pieces)) or [block]
        return tuple(found)

    def align_blocks(self, several: Sequence[Blocks]) -> list[Blocks]:
        """Several dimensions of one size, cut into blocks at the same places.

        Axes that no recurrent layer began are divided for that.

        Raises:
            Unfollowable: when an axis of a recurrent layer would have to be.
        """
        while True:
            aligned = [self.refined(blocks) for blocks in several]
            places: set[int] = set()
            for blocks in aligned:
                places.update(block_boundaries(blocks))
            # Dividing one axis may move blocks of the other dimensions, where the same axis stands
            # too: so one at a time, and all are looked at anew.
            cuts = sorted(places)
            if not any(self._divide_at(blocks, cuts) for blocks in aligned):
                return [split_blocks(blocks, cuts) for blocks in aligned]

    def unite(self, one: Blocks, other: Blocks) -> None:
        """Two dimensions are of the same axes from now on.

        Args:
            one: blocks of the first.
            other: blocks of the second.

        Raises:
            Unfollowable: when their blocks differ in number or size.
        """
        one, other = self.refined(one), self.refined(other)
        if [block.size for block in one] != [block.size for block in other]:
            raise Unfollowable(PARTS_DIFFER)
        for first, second in zip(one, other, strict=True):
            if first.axis is not None and second.axis is not None:
                self.pool.unite(first.axis, second.axis)
                continue
            # One side keeps its size, so the other cannot shrink: nothing could be removed there.
            still = first.axis if first.axis is not None else second.axis
            if still is not None:
                reason = PinReason("it meets a tensor part of which stays as it is")
                self.pool.pin(still, reason)

    def without_per_index_axes(self, layout: Layout) -> Layout:
        """The layout with one axis in place of one for each index: all options become one.

        Raises:
            Unfollowable: when the options' blocks differ.
        """
        if not layout.per_index:
            return layout
        first, *others = layout.per_index.options
        for option in others:
            self.unite(first, option)
        plain = Layout(layout.dims, None)
        return plain.with_dim(layout.per_index.along, merged_zeros(layout.per_index.options))

    def with_per_index_axes(self, layout: Layout, per_index: PerIndexAxes) -> Layout:
        """The layout with different axes for each index of a dimension; they share a size.

        Args:
            layout: without such axes.
            per_index: the axes; a single option is no choice and becomes the dimension itself.

        Raises:
            Unfollowable: when they cannot share, because their blocks differ in number or in size.
        """
        first, *others = per_index.options
        plain = layout.with_dim(per_index.along, first)
        if not others:
            return plain
        for option in others:
            self._same_sizes(first, option)
        return Layout(plain.dims, per_index)

    def same_axes(self, one: Blocks, other: Blocks) -> bool:
        """Whether two dimensions have the same blocks of axes that are one already.

        Args:
            one: blocks of the first.
            other: blocks of the second.
        """
        return self._identity(one) == self._identity(other)

    def _identity(self, blocks: Blocks) -> list[tuple[int | None, int]]:
        found = []
        for block in blocks:
            axis = None if block.axis is None else self.pool.find(block.axis)
            found.append((axis, block.size))
        return found

    def _same_sizes(self, one: Blocks, other: Blocks) -> None:
        """Ties the sizes of two dimensions that lie side by side in one tensor.

        Such a tensor is a box: after a cut all its rows must still be of one length.
        """
        if _outline(one) != _outline(other):
            raise Unfollowable(ROWS_DIFFER)
        for first, second in zip(one, other, strict=True):
            if first.axis is not None and second.axis is not None:
                self.pool.same_size(first.axis, second.axis)

    def _divide_at(self, blocks: Blocks, places: list[int]) -> bool:
        """Divides the first axis in which one of the places lies.

        Args:
            blocks: of the dimension.
            places: ends of blocks in all dimensions that meet.

        Returns:
            Whether there was one.
        """
        start = 0
        for block in blocks:
            inner = [end - start for end in places if start < end < start + block.size]
            start += block.size
            if inner and block.axis is not None:
                # Removal is decided for all of a layer's units together: they are not two groups.
                if self.pool.is_recurrent(block.axis):
                    raise Unfollowable(PARTS_DIFFER)
                cuts = pairwise([0, *inner, block.size])
                self.pool.divide(block.axis, [high - low for low, high in cuts])
                return True
        return False


def merged_zeros(options: Sequence[Blocks]) -> Blocks:
    """The blocks of the first option, zero where all options' are.

    Args:
        options: blocks of the same sizes.
    """
    found = []
    for same_place in zip(*options, strict=True):
        zero_preserving = all(block.zero_preserving for block in same_place)
        found.append(replace(same_place[0], zero_preserving=zero_preserving))
    return tuple(found)


def _outline(blocks: Blocks) -> list[tuple[bool, int]]:
    return [(block.axis is None, block.size) for block in blocks]

"""The meaning of a tensor's dimensions: which of them the components of an axis index.

A dimension is a known size, a name for an unknown one, or a run of blocks. Each block is indexed by
one axis, or by none. Where the axis of one dimension depends on the index along another, the layout
has axes per index: in the output (T, 2, B, H) of a bidirectional layer, H is forward units at index
0 and backward units at index 1.

Axes are numbers here; `pool.AxisUnionFind` knows which of them are unified.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise


@dataclass(frozen=True)
class Block:
    """A run of one dimension.

    Attributes:
        axis: whose components index it; None if nothing in it is prunable.
        size: number of entries.
        source: the value that the block holds, before any operator that only moves values.
        zero_preserving: whether it is zero at every component that is zero at the axis's origin.
    """

    axis: int | None
    size: int
    source: str = ""
    zero_preserving: bool = False


Blocks = tuple[Block, ...]
Dim = int | str | Blocks


@dataclass(frozen=True)
class PerIndexAxes:
    """Dimension `along` has the blocks `options[i]` at index i of dimension `by`."""

    by: int
    along: int
    options: tuple[Blocks, ...]


@dataclass(frozen=True)
class Layout:
    """The dimensions of one tensor.

    Attributes:
        dims: in order; where `per_index` is set, `dims[per_index.along]` is the first option.
        per_index: a dimension whose axes depend on the index along another, if there is one.
    """

    dims: tuple[Dim, ...]
    per_index: PerIndexAxes | None = None

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.dims)

    def labelled(self) -> list[int]:
        """Positions of dimensions with an axis."""
        return [position for position, dim in enumerate(self.dims) if _has_axis(dim)]

    def axes(self) -> list[int]:
        """Every axis in it."""
        # The first option is in `dims` too: its axes are listed twice, which is harmless.
        blocks = [block for dim in self.dims for block in blocks_of(dim)]
        for option in self.per_index.options if self.per_index else ():
            blocks += option
        return [block.axis for block in blocks if block.axis is not None]

    def moved(self, order: list[int | None]) -> Layout:
        """The layout with old dimension `order[i]` at position i; None is a new one of size 1.

        Raises:
            ValueError: when a dimension of `per_index` is left out.
        """
        dims = tuple(1 if old is None else self.dims[old] for old in order)
        if not self.per_index:
            return Layout(dims)
        by, along = order.index(self.per_index.by), order.index(self.per_index.along)
        return Layout(dims, replace(self.per_index, by=by, along=along))

    def marked(self, source: str | None, *, zero_preserving: bool) -> Layout:
        """The layout of a tensor with the same axes and other values.

        Args:
            source: the value that it holds now; None if unchanged.
            zero_preserving: whether zero stays zero.
        """

        def mark(block: Block) -> Block:
            shown = block.source if source is None else source
            # A value that was not zero before the operator need not be zero after it.
            zero = block.zero_preserving and zero_preserving
            return replace(block, source=shown, zero_preserving=zero)

        return self.divided(lambda blocks: tuple(map(mark, blocks)))

    def divided(self, divide: Callable[[Blocks], Blocks]) -> Layout:
        """The layout with the blocks of every dimension replaced by the result of `divide`."""
        dims = tuple(divide(dim) if isinstance(dim, tuple) else dim for dim in self.dims)
        if not self.per_index:
            return Layout(dims)
        options = tuple(map(divide, self.per_index.options))
        return Layout(dims, replace(self.per_index, options=options))

    def with_dim(self, position: int, dim: Dim) -> Layout:
        """The layout with one dimension changed.

        Args:
            position: of a dimension that `per_index` does not name.
            dim: its new value.
        """
        return replace(self, dims=(*self.dims[:position], dim, *self.dims[position + 1 :]))


def _has_axis(dim: Dim) -> bool:
    return any(block.axis is not None for block in blocks_of(dim))


def size(dim: Dim) -> int | str:
    """Full size of a dimension."""
    return sum(block.size for block in dim) if isinstance(dim, tuple) else dim


def blocks_of(dim: Dim) -> Blocks:
    """The blocks of a dimension; none where only its size is known."""
    return dim if isinstance(dim, tuple) else ()


def as_blocks(dim: Dim) -> Blocks | None:
    """A dimension as blocks; None when its size is not known."""
    if isinstance(dim, str):
        return None
    return (Block(None, dim),) if isinstance(dim, int) else dim


def slice_blocks(blocks: Blocks, start: int, stop: int) -> Blocks | None:
    """The blocks between two positions.

    Args:
        blocks: of one dimension.
        start: the first position.
        stop: the position after the last.

    Returns:
        None when a boundary is inside a block that an axis indexes: a part of its components is
        not an axis that could shrink.
    """
    result, begin = [], 0
    for block in blocks:
        low, high = max(start, begin), min(stop, begin + block.size)
        if low < high:
            # A run without an axis may be cut anywhere.
            if block.axis is not None and high - low != block.size:
                return None
            result.append(replace(block, size=high - low))
        begin += block.size
    return tuple(result)


def block_boundaries(blocks: Blocks) -> list[int]:
    """Where the blocks of a dimension end."""
    return list(accumulate(block.size for block in blocks))


def split_blocks(blocks: Blocks, places: list[int]) -> Blocks:
    """The blocks cut at more places.

    Args:
        blocks: of one dimension.
        places: where to cut; inside blocks without an axis, or at boundaries.
    """
    found, start = [], 0
    for block in blocks:
        # Places at the boundaries of a block cut nothing.
        inner = [end for end in places if start < end < start + block.size]
        cuts = [start, *inner, start + block.size]
        found += [replace(block, size=high - low) for low, high in pairwise(cuts)]
        start += block.size
    return tuple(found)

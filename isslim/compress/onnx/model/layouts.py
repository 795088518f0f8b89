"""What the dimensions of a tensor mean: which of them are indexed by the components of an axis.

A dimension is a known size, a name for an unknown one, or a run of blocks. Each block is indexed by
one axis, or by none. Where the axis of one dimension depends on the index along another, the layout
has panels: in the output (T, 2, B, H) of a bidirectional layer, H is forward units at index 0 and
backward units at index 1.

Axes are numbers here; `pool.AxisUnionFind` knows which of them are one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise


@dataclass(frozen=True)
class Block:
    """A run of one dimension.

    Attributes:
        axis: whose components index it; None: nothing that is removed.
        size: how many.
        source: the value that the block shows, before any operator that only moves values.
        zero_preserving: whether it is zero at every component that is silent where the axis begins.
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
    """The dimensions of one tensor; with panels, `dims[panels.along]` shows the first option."""

    dims: tuple[Dim, ...]
    per_index: PerIndexAxes | None = None

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.dims)

    def labelled(self) -> list[int]:
        """Positions of dimensions with an axis."""
        return [
            i
            for i, dim in enumerate(self.dims)
            if isinstance(dim, tuple) and any(b.axis is not None for b in dim)
        ]

    def axes(self) -> list[int]:
        """Every axis in it."""
        runs = [dim for dim in self.dims if isinstance(dim, tuple)]
        if self.per_index:
            runs += self.per_index.options
        return [block.axis for blocks in runs for block in blocks if block.axis is not None]

    def moved(self, order: list[int | None]) -> Layout:
        """The layout with old dimension `order[i]` at position i; None is a new dimension of size 1.

        A dimension that is left out must not be one of the panels'.
        """
        dims = tuple(1 if old is None else self.dims[old] for old in order)
        panels = self.per_index
        if panels:
            panels = replace(panels, by=order.index(panels.by), along=order.index(panels.along))
        return Layout(dims, panels)

    def marked(self, source: str | None, *, zero_preserving: bool) -> Layout:
        """The layout of a tensor of the same axes that shows other values.

        Args:
            source: what it shows now; None: the same.
            zero_preserving: whether zero stays zero.
        """

        def mark(blocks: Blocks) -> Blocks:
            return tuple(
                replace(
                    b,
                    source=b.source if source is None else source,
                    zero_preserving=b.zero_preserving and zero_preserving,
                )
                for b in blocks
            )

        dims = tuple(mark(dim) if isinstance(dim, tuple) else dim for dim in self.dims)
        panels = self.per_index and replace(
            self.per_index, options=tuple(map(mark, self.per_index.options))
        )
        return Layout(dims, panels)

    def divided(self, divide: Callable[[Blocks], Blocks]) -> Layout:
        """The layout with its blocks replaced."""
        dims = tuple(divide(dim) if isinstance(dim, tuple) else dim for dim in self.dims)
        return Layout(
            dims,
            self.per_index
            and replace(self.per_index, options=tuple(map(divide, self.per_index.options))),
        )

    def with_dim(self, position: int, dim: Dim) -> Layout:
        """The layout with one dimension changed, which is not one of the panels'."""
        return replace(self, dims=(*self.dims[:position], dim, *self.dims[position + 1 :]))


def size(dim: Dim) -> int | str:
    """Full size of a dimension."""
    return sum(block.size for block in dim) if isinstance(dim, tuple) else dim


def blocks_of(dim: Dim) -> Blocks:
    """The blocks of a dimension; none where its size is all that is known."""
    return dim if isinstance(dim, tuple) else ()


def as_blocks(dim: Dim) -> Blocks | None:
    """A dimension as blocks; None when its size is not known."""
    if isinstance(dim, str):
        return None
    return (Block(None, dim),) if isinstance(dim, int) else dim


def slice_blocks(blocks: Blocks, start: int, stop: int) -> Blocks | None:
    """The blocks between two positions; None when a boundary lies inside a block that an axis indexes."""
    result, begin = [], 0
    for block in blocks:
        low, high = max(start, begin), min(stop, begin + block.size)
        if low < high:
            if block.axis is not None and high - low != block.size:
                return None
            result.append(replace(block, size=high - low))
        begin += block.size
    return tuple(result)


def block_boundaries(blocks: Blocks) -> list[int]:
    """Where the blocks of a dimension end."""
    return [sum(block.size for block in blocks[: index + 1]) for index in range(len(blocks))]


def split_blocks(blocks: Blocks, places: list[int]) -> Blocks:
    """The blocks cut at more places, which lie in blocks without an axis only."""
    found, start = [], 0
    for block in blocks:
        inner = [end for end in places if start < end < start + block.size]
        cuts = [start, *inner, start + block.size]
        found += [replace(block, size=high - low) for low, high in pairwise(cuts)]
        start += block.size
    return tuple(found)

"""Sizes of a graph's axes: their numbers of components, and their sizes within tensors.

Axes that share a tensor (the directions of a layer, a stack of states) need one size there: that of
the largest of them. The others have dead components, with zero weights in and zero columns out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from isslim.compress.onnx.model.layouts import Block, Blocks
from isslim.compress.onnx.rewrite.named_arrays import Meaning
from isslim.compress.onnx.trace.pool import Axes
from isslim.compress.pruning.axes import Arrays, Dimension


@dataclass(frozen=True)
class Sizes:
    """Sizes of all axes that may shrink, by their names.

    Attributes:
        components: their numbers of components.
        placed: their sizes within tensors.
        shrunk: those that have fewer than in the original.
        pool: the axes.
    """

    components: Mapping[str, int]
    placed: Mapping[str, int]
    shrunk: frozenset[str]
    pool: Axes

    @classmethod
    def of(cls, pool: Axes, meaning: Meaning, arrays: Arrays) -> Self:
        """The sizes of the axes of arrays.

        Args:
            pool: the axes.
            meaning: what the arrays are in the graph.
            arrays: as `declare` gives them, of any sizes.
        """
        components = read_sizes(meaning, arrays)
        placed = dict(components)
        # Axes of a group share some tensor, which has one size for all.
        for group in pool.groups():
            names = [pool.name(axis) for axis in group]
            placed |= dict.fromkeys(names, max(components[name] for name in names))
        full = meaning.declaration.axes
        shrunk = frozenset(name for name, size in components.items() if size < full[name])
        return cls(components, placed, shrunk, pool)

    def name(self, block: Block) -> str | None:
        """The block's axis, if it may shrink."""
        if block.axis is None or not self.pool.is_prunable(block.axis):
            return None
        return self.pool.name(block.axis)

    def width(self, blocks: Blocks) -> int:
        """The size of a dimension."""
        total = 0
        for block in blocks:
            name = self.name(block)
            total += block.size if name is None else self.placed[name]
        return total

    def changes(self, *runs: Blocks) -> bool:
        """Whether an axis of some dimensions has shrunk."""
        return any(self.name(block) in self.shrunk for blocks in runs for block in blocks)


def read_sizes(meaning: Meaning, arrays: Arrays) -> dict[str, int]:
    """Components of every axis, by its name.

    Args:
        meaning: what the arrays are in the graph.
        arrays: as `declare` gives them, of any sizes; R (G H, H) of a layer has the size in its
            columns, where gates do not repeat it. Channels are counted in any dimension in which
            all others are known.

    Returns:
        Also of the widths of narrow layers that the meaning has.
    """
    found: dict[str, int] = {}
    for name, layers in meaning.layers.items():
        for direction in layers[0].recurrent.directions:
            (segment,) = meaning.declaration.dimensions[f"{name}.{direction}.recurrence"][1]
            if segment.axis is not None:
                found[segment.axis] = arrays[f"{name}.{direction}.recurrence"].shape[1]
    found |= {place.axis: len(arrays[place.weight]) for place in meaning.declaration.narrow}
    dimensions = meaning.declaration.dimensions.items()
    dims = [
        (each, arrays[name].shape[i]) for name, dims in dimensions for i, each in enumerate(dims)
    ]
    counted = -1
    while counted < len(found) < len(meaning.declaration.axes):
        counted = len(found)
        for dimension, length in dims:
            found |= _counted(dimension, length, found)
    return found


def _counted(dimension: Dimension, length: int, known: Mapping[str, int]) -> dict[str, int]:
    """The size of the only axis of a dimension whose size is not known; empty if there are others.

    Args:
        dimension: of an array at full size.
        length: of it.
        known: sizes of other axes.
    """
    open_axes = {segment.axis for segment in dimension if segment.axis} - known.keys()
    if len(open_axes) != 1:
        return {}
    (axis,) = open_axes
    times = sum(segment.repeat for segment in dimension if segment.axis == axis)
    rest = 0
    for segment in dimension:
        if segment.axis != axis:
            size = segment.size if segment.axis is None else known[segment.axis]
            rest += segment.repeat * size
    return {axis: (length - rest) // times}

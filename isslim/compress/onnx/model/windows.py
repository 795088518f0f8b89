"""Which entries of its input the window of a convolution reads, at which of its places.

A kernel is a matrix for every place of its window: what each of them reads is one entry of every
channel, or zeros where the window reaches over the margin.

https://onnx.ai/onnx/operators/onnx__Conv.html

Legend: N sequences or images, C channels, L sizes over which a window slides, O its positions, K
its places, per dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Self

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from isslim.compress.onnx.model.attributes import get_ints, get_string

OUTSIDE = -1
"""In place of an index: the window reaches over the margin there, and reads zero."""
_SAME = {"SAME_UPPER": 0, "SAME_LOWER": 1}
"""Paddings to a size that follows from the stride; where the odd entry lies at the beginning, 1."""
WINDOW_ROWS, ROWS_PER_CHANNEL = 4096, 16
"""Rows that a convolution is observed by in one run, at most, or so many for each channel where
that is more: neighbouring windows read nearly the same, and over an image there are many."""
RUNS = 32
"""Runs of so many rows are enough: of more of them, each is observed by fewer."""


@dataclass(frozen=True)
class Window:
    """The window of a Conv.

    Attributes:
        sizes: K of each dimension.
        strides: entries between two positions.
        dilations: entries between two places.
        pads: zeros before all dimensions, then those behind all.
        same: a value of `auto_pad` that stands for numbers of zeros; empty where `pads` are those.
    """

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    same: str = ""

    @classmethod
    def of(cls, node: NodeProto, sizes: Sequence[int]) -> Self:
        """The window of a node.

        Args:
            node: a Conv.
            sizes: of its kernel, without the channels.
        """
        rank = len(sizes)
        auto = get_string(node, "auto_pad", "NOTSET")
        pads = get_ints(node, "pads") if auto == "NOTSET" else None
        return cls(
            tuple(sizes),
            tuple(get_ints(node, "strides") or [1] * rank),
            tuple(get_ints(node, "dilations") or [1] * rank),
            tuple(pads or [0] * (2 * rank)),
            auto if auto in _SAME else "",
        )

    def places(self, lengths: Sequence[int]) -> list[NDArray[np.int64]]:
        """Per dimension which entry is read (O, K), or `OUTSIDE`.

        Args:
            lengths: L of each dimension.
        """
        found = []
        for dimension, (length, size) in enumerate(zip(lengths, self.sizes, strict=True)):
            stride, dilation = self.strides[dimension], self.dilations[dimension]
            reach = (size - 1) * dilation + 1
            before, behind = self._margins(dimension, length, reach)
            positions = (length + before + behind - reach) // stride + 1
            starts = np.arange(max(positions, 0)) * stride - before
            read = starts[:, None] + np.arange(size) * dilation
            found.append(np.where((read < 0) | (read >= length), OUTSIDE, read))
        return found

    def positions(self, lengths: Sequence[int]) -> int:
        """How often a kernel is applied to one sequence or image.

        Args:
            lengths: L of each dimension.
        """
        return prod(len(each) for each in self.places(lengths))

    def rows(self, value: NDArray[np.generic], most: int) -> NDArray[np.float32]:
        """What the places of the window read, one row for each position and place.

        Args:
            value: (N, C, L...).
            most: rows; of more, so many are drawn, always the same ones, in their order.

        Returns:
            (rows, C).
        """
        places = self.places(value.shape[2:])
        shape = (len(value), *(length for each in places for length in each.shape))
        total = prod(shape)
        chosen = np.arange(total)
        if total > most:
            # Drawn, not every n-th: that might always be the same place of the window.
            chosen = np.sort(np.random.default_rng(0).integers(total, size=most))
        first, *pairs = np.unravel_index(chosen, shape)
        read = [
            each[position, place]
            for each, position, place in zip(places, pairs[::2], pairs[1::2], strict=True)
        ]
        inside = np.logical_and.reduce([each != OUTSIDE for each in read])
        rows = np.zeros((len(chosen), value.shape[1]), np.float32)
        where = (first[inside], *(each[inside] for each in read))
        rows[inside] = np.moveaxis(value, 1, -1)[where]
        return rows

    def _margins(self, dimension: int, length: int, reach: int) -> tuple[int, int]:
        """Zeros before and behind one dimension.

        Args:
            dimension: which.
            length: L.
            reach: entries from the first place of the window to the last.
        """
        if not self.same:
            return self.pads[dimension], self.pads[len(self.sizes) + dimension]
        stride = self.strides[dimension]
        added = max((-(-length // stride) - 1) * stride + reach - length, 0)
        before = (added + _SAME[self.same]) // 2
        return before, added - before


def most_rows(channels: int, runs: int) -> int:
    """Rows that a convolution is observed by in one of several runs, at most.

    Args:
        channels: that it reads.
        runs: how many there are.
    """
    return ceil(max(WINDOW_ROWS, ROWS_PER_CHANNEL * channels) * min(1.0, RUNS / max(runs, 1)))

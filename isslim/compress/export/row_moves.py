"""Moves of whole rows, merged where some sizes are not fixed, such as a free number of sequences.

Where a free dimension lies between others, as in the states (L, B, H) that PyTorch gives, no list
of numbers says what goes where. But a cut moves such states in two ways only: along the first
dimension layers are taken apart or stacked, and along the last one units are selected or put back,
zeros in between. Those take a Split or Concat, and a Gather behind a Pad if there are zeros.

Legend: O entries of the first dimension, M of all between, U of the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from isslim.compress.export.move_nodes import MoveNodes, Places
from isslim.compress.onnx.model.shapes import Sized


@dataclass(frozen=True)
class _Rows:
    """What a value shows of one source.

    Attributes:
        source: its name.
        first, last: the entries of the source's first dimension.
        order: per entry of the last dimension that of the source, -1 for a zero, (U,).
    """

    source: str
    first: int
    last: int
    order: NDArray[np.int64]

    def continues(self, other: _Rows) -> bool:
        """Whether these are the rows behind some other ones, in the same order."""
        behind = self.source == other.source and self.first == other.last + 1
        return behind and np.array_equal(self.order, other.order)


class RowMoves:
    """Writes values that are rows of what a chain reads.

    Args:
        nodes: makes nodes.
        tensors: sizes of all values.
        sources: what the chain reads, with the place of its first number.
        places: of all values.
        operators: of the chain.
    """

    def __init__(
        self,
        nodes: MoveNodes,
        tensors: dict[str, Sized],
        sources: dict[str, int],
        places: Mapping[str, Places],
        operators: set[str],
    ) -> None:
        self._nodes, self._tensors = nodes, tensors
        self._sources, self._places = sources, places
        self._kept = not operators & {"Slice", "Split", "Reshape", "Flatten"}

    def made(self, ends: Sequence[str]) -> dict[str, list[NodeProto]]:
        """The operators that make values; those of others are not there.

        Args:
            ends: names of the values.
        """
        found: dict[str, list[NodeProto]] = {}
        taken: dict[str, list[tuple[_Rows, str]]] = {}
        for name in ends:
            rows = self._rows(name)
            if rows and all(self._is_whole(each) for each in rows):
                found[name] = self._stacked(rows, name)
            elif len(rows) == 1:
                taken.setdefault(rows[0].source, []).append((rows[0], name))
        for source, parts in taken.items():
            parts.sort(key=lambda part: part[0].first)
            if self._are_all(source, [rows for rows, _ in parts]):
                names = [name for _, name in parts]
                found |= {name: [] for name in names}
                # At the place of what the chain made first.
                found[min(names, key=ends.index)] = self._divided(source, parts)
        return found

    def _rows(self, name: str) -> list[_Rows]:
        """What a value shows, from its first row to its last; nothing where that is not rows."""
        places, dims = self._places[name], self._tensors[name].dims
        is_sized = len(dims) > 1 and isinstance(dims[0], int) and isinstance(dims[-1], int)
        if not is_sized or places.shape != self._tensors[name].shape:
            return []
        found: list[_Rows] = []
        for row in places:
            each = self._row(row.reshape(-1, row.shape[-1]), dims)
            if each is None:
                return []
            if found and each.continues(found[-1]):
                found[-1] = _Rows(each.source, found[-1].first, each.last, each.order)
            else:
                found.append(each)
        return found

    def _row(self, row: Places, dims: tuple[int | str, ...]) -> _Rows | None:
        """One row (M, U) of a value."""
        if not row.any():
            return None
        place = int(row[row > 0][0])
        source = max(
            (name for name in self._sources if self._sources[name] <= place),
            key=lambda name: self._sources[name],
        )
        tensor = self._tensors[source]
        width = tensor.dims[-1] if tensor.dims else ""
        if not isinstance(width, int) or len(tensor.dims) != len(dims):
            return None
        if not isinstance(tensor.dims[0], int) or not self._meet(tensor.dims[1:-1], dims[1:-1]):
            return None
        entry = (place - self._sources[source]) // (len(row) * width)
        start = self._sources[source] + entry * len(row) * width
        order = np.where(row[0] > 0, row[0] - start, -1)
        down = start + width * np.arange(len(row))[:, None]
        expected = np.where(order < 0, 0, down + order)
        within = (order < width).all() and (order >= -1).all() and entry < tensor.dims[0]
        return _Rows(source, entry, entry, order) if within and (row == expected).all() else None

    def _meet(self, one: Sequence[int | str], other: Sequence[int | str]) -> bool:
        """Whether the sizes of a source are those of a value, whatever the free ones are.

        They are where they have one name. Where inference has none for them, a free one can only
        have been cut to the size that stands for it by an operator that takes bounds or sizes.
        """
        return all(
            a == b or (self._kept and isinstance(a, str) and isinstance(b, str))
            for a, b in zip(one, other, strict=True)
        )

    def _is_whole(self, rows: _Rows) -> bool:
        return rows.first == 0 and rows.last == self._tensors[rows.source].shape[0] - 1

    def _are_all(self, source: str, parts: Sequence[_Rows]) -> bool:
        """Whether parts of a source are all of it, each row once."""
        starts = [0, *(rows.last + 1 for rows in parts)]
        return starts == [*(rows.first for rows in parts), self._tensors[source].shape[0]]

    def _stacked(self, rows: Sequence[_Rows], name: str) -> list[NodeProto]:
        """Whole sources on each other."""
        sources = [each.source for each in rows]
        if len(rows) == 1:
            return self._ordered(sources[0], rows[0], name)
        if all(self._is_alike(each, rows[0]) for each in rows):
            together = self._nodes.fresh(f"{name}.stacked")
            stack = self._nodes.node("Concat", sources, [together], axis=0)
            return [stack, *self._ordered(together, rows[0], name)]
        made: list[NodeProto] = []
        parts = [self._nodes.fresh(f"{name}.part") for _ in rows]
        for each, part in zip(rows, parts, strict=True):
            made += self._ordered(each.source, each, part)
        return [*made, self._nodes.node("Concat", parts, [name], axis=0)]

    def _divided(self, source: str, parts: Sequence[tuple[_Rows, str]]) -> list[NodeProto]:
        """A source divided into several values."""
        names = [name for _, name in parts]
        sizes = [rows.last - rows.first + 1 for rows, _ in parts]
        if all(self._is_alike(rows, parts[0][0]) for rows, _ in parts):
            ordered = self._nodes.fresh(f"{names[0]}.all")
            made = self._ordered(source, parts[0][0], ordered)
            return [*made, self._nodes.split(ordered, names, sizes, 0)]
        pieces = [self._nodes.fresh(f"{name}.whole") for name in names]
        made = [self._nodes.split(source, pieces, sizes, 0)]
        for piece, (rows, name) in zip(pieces, parts, strict=True):
            made += self._ordered(piece, rows, name)
        return made

    def _is_alike(self, one: _Rows, other: _Rows) -> bool:
        """Whether rows of two sources have one width, and are put in one order."""
        widths = {self._tensors[each.source].shape[-1] for each in (one, other)}
        return len(widths) == 1 and np.array_equal(one.order, other.order)

    def _ordered(self, value: str, rows: _Rows, name: str) -> list[NodeProto]:
        """The last dimension of a value in another order."""
        tensor, order = self._tensors[rows.source], rows.order
        width, along = tensor.shape[-1], len(tensor.shape) - 1
        if np.array_equal(order, np.arange(width)):
            return [self._nodes.node("Identity", [value], [name])]
        made = []
        if (order < 0).any():
            margin = np.zeros(2 * len(tensor.shape), np.int64)
            margin[-1] = 1
            padded = self._nodes.fresh(f"{name}.padded")
            given = [value, self._nodes.constant(f"{name}.margin", margin)]
            made.append(self._nodes.node("Pad", given, [padded]))
            value, order = padded, np.where(order < 0, width, order)
        given = [value, self._nodes.constant(f"{name}.order", order)]
        return [*made, self._nodes.node("Gather", given, [name], axis=along)]

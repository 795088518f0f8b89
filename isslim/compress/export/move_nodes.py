"""Nodes that only move numbers, and their constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from isslim.compress.onnx.model.split_model import SplitModel

Places = NDArray[np.int64]
"""Per number of a value where it is from: 1 and more, in order over all sources; 0 for a zero."""
_SIZES_AS_INPUT = 13
"""The first version of the standard operators in which the sizes of a Split are an input."""


class MoveNodes:
    """Makes nodes for a graph, under names that neither it nor another of them has.

    Args:
        parts: the graph; constants are added to it.
    """

    def __init__(self, parts: SplitModel) -> None:
        self._parts = parts
        self._new: set[str] = set()

    def node(
        self, operator: str, read: Sequence[str], made: Sequence[str], **options: Any
    ) -> NodeProto:
        """Any node, named after what it makes.

        Args:
            operator: its type.
            read: its inputs.
            made: its outputs.
            **options: its attributes.
        """
        return helper.make_node(operator, read, made, name=made[0], **options)

    def reshaped(self, source: str, name: str, shape: Sequence[int]) -> NodeProto:
        """The same numbers in another shape.

        Args:
            source: what is read.
            name: what is made.
            shape: its sizes.
        """
        target = self.constant(f"{name}.shape", np.array(shape, np.int64))
        return self.node("Reshape", [source, target], [name])

    def split(
        self, source: str, pieces: Sequence[str], sizes: Sequence[int], along: int
    ) -> NodeProto:
        """Pieces of a value.

        Args:
            source: what is read.
            pieces: what is made.
            sizes: theirs.
            along: dimension that is divided.
        """
        if self._parts.opset < _SIZES_AS_INPUT:
            return self.node("Split", [source], pieces, axis=along, split=sizes)
        given = self.constant(f"{source}.sizes", np.array(sizes, np.int64))
        return self.node("Split", [source, given], pieces, axis=along)

    def constant(self, wish: str, value: NDArray[np.generic]) -> str:
        """Adds a constant.

        Args:
            wish: a name like it is taken.
            value: its value.

        Returns:
            The name.
        """
        name = self.fresh(wish)
        self._parts.constants[name] = value
        return name

    def fresh(self, wish: str) -> str:
        """A name that neither the graph has nor another new node."""
        while (name := self._parts.fresh(wish)) in self._new:
            wish = f"{wish}.more"
        self._new.add(name)
        return name

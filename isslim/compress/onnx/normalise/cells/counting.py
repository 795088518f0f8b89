"""Whole numbers of a Loop, by the number of its run: which step it reads, and when it ends.

A count is a * run + size + b, where a size is how long a dimension of a tensor is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnx import NodeProto

from isslim.compress.onnx.model.attributes import get_ints
from isslim.compress.onnx.model.layouts import Layout
from isslim.compress.onnx.model.split_model import Constant, given

_SAME_NUMBER = {"Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape"}
"""Operators that leave a single number what it is."""
_SAME_SHAPE = {"Identity", "Cast", "ReverseSequence", "Not"}
"""Operators whose result is of the shape of their first input."""

Size = tuple[str, int]
"""A tensor, and which of its dimensions."""


@dataclass(frozen=True)
class Count:
    """A whole number that may depend on the run.

    Attributes:
        runs: how often the number of the run is in it.
        size: a size that is added, if any.
        number: what else is added.
    """

    runs: int
    size: Size | None
    number: int


RUN = Count(1, None, 0)
"""The number of the run, from 0."""


@dataclass
class Counting:
    """What is known about whole numbers in and around a Loop.

    Attributes:
        makers: per value the node that makes it, in the body and around it.
        constants: by name.
        shapes: per value its layout.
        known: counts that are known already: the number of the run, what is counted along.
        running: a value that is true in every run: the body's own condition.
    """

    makers: Mapping[str, NodeProto]
    constants: Mapping[str, Constant]
    shapes: Mapping[str, Layout]
    known: dict[str, Count] = field(default_factory=dict)
    running: str = ""

    def count(self, name: str) -> Count | None:
        """A value as a count; None when it is none that is understood."""
        if name in self.known:
            return self.known[name]
        if name in self.constants:
            value = self.constants[name]
            whole = (
                value.size == 1 and value.dtype.kind in "iuf" and float(value.item()).is_integer()
            )
            return Count(0, None, int(value.item())) if whole else None
        node = self.makers.get(name)
        if node is None:
            return None
        if node.op_type == "Add":
            return _sum(self.count(node.input[0]), self.count(node.input[1]))
        entry = self._entry_of_shape(node)
        if entry is not None:
            return self.length(*entry)
        return self.count(node.input[0]) if node.op_type in _SAME_NUMBER else None

    def length(self, tensor: str, axis: int) -> Count:
        """How long a dimension is: a number where it is known, else a size by its first tensor.

        Args:
            tensor: whose dimension it is.
            axis: from 0.
        """
        node = self.makers.get(tensor)
        while node is not None:
            if node.op_type == "Transpose":
                order = get_ints(node, "perm")
                if order is None:
                    break
                axis = order[axis]
            elif node.op_type not in _SAME_SHAPE:
                break
            tensor = node.input[0]
            node = self.makers.get(tensor)
        layout = self.shapes.get(tensor)
        size = layout.dims[axis] if layout is not None and axis < layout.rank else None
        return Count(0, None, size) if isinstance(size, int) else Count(0, (tensor, axis), 0)

    def _entry_of_shape(self, node: NodeProto) -> Size | None:
        """Which entry of a tensor's shape a node takes, if it takes one."""
        if node.op_type not in ("Gather", "Slice"):
            return None
        vector = self.makers.get(node.input[0])
        while vector is not None and vector.op_type in ("Cast", "Identity"):
            vector = self.makers.get(vector.input[0])
        if vector is None or vector.op_type != "Shape" or vector.attribute:
            return None
        start = self._number(node, 1)
        if start is None or start < 0:
            return None
        if node.op_type == "Slice":
            # All sorts of steps take one entry when the range is one long.
            stop = self._number(node, 2)
            if stop != start + 1:
                return None
        return vector.input[0], start

    def _number(self, node: NodeProto, index: int) -> int | None:
        name = given(node, index)
        value = self.constants.get(name)
        return int(value.item()) if value is not None and value.size == 1 else None

    def runs_as_often(self, node: NodeProto, condition: str, length: Count) -> bool:
        """Whether a Loop runs exactly as often as a sequence has steps.

        Args:
            node: the Loop.
            condition: the body's output that says whether it goes on.
            length: of the sequence.
        """
        started = given(node, 1)
        begins = not started or self._holds(started, length, last=None)
        often = given(node, 0) and self.count(node.input[0]) == length
        # It may end at the last run by itself: then it has run as often as it may anyway.
        return bool(often) and begins and self._holds(condition, length, last=1)

    def _holds(self, name: str, length: Count, last: int | None) -> bool:
        """Whether a condition holds as long as there are steps left.

        Args:
            name: of the condition.
            length: of the sequence.
            last: what may at most be added to the run in `run + number < length`; None: before the
                first run.
        """
        if name in self.constants:
            return bool(self.constants[name].all())
        node = self.makers.get(name)
        if node is None:
            return name == self.running
        if node.op_type in ("Identity", "Cast", "And"):
            return all(self._holds(each, length, last) for each in node.input)
        smaller = self.count(node.input[0])
        if node.op_type != "Less" or smaller is None or smaller.size is not None:
            return False
        within = smaller.number <= (last or 0) and smaller.runs == (0 if last is None else 1)
        return within and self.count(node.input[1]) == length


def _sum(one: Count | None, other: Count | None) -> Count | None:
    if one is None or other is None or (one.size and other.size):
        return None
    return Count(one.runs + other.runs, one.size or other.size, one.number + other.number)

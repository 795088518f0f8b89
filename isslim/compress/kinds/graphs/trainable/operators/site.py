"""What an operator's maker is told about a node, and what it makes of it: a step.

A step is a function of the node's inputs, in order, with None where one is left out. It is made
once, so that attributes and constants are read before the first run; only tensors flow through it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from onnx import NodeProto, TensorProto
from torch import Tensor

from isslim.compress.onnx.model.attributes import get_int, get_ints
from isslim.compress.onnx.model.split_model import Constant, given

Result = Tensor | tuple[Tensor, ...]
Step = Callable[..., Result]
"""Of the inputs of a node, in order; an omitted one is None or, at the end, not passed."""
Body = Callable[..., tuple[Tensor, ...]]
"""A nested graph: of what it reads from outside, in the order of `captured`, then its inputs."""
Numbers = Callable[[Tensor | None], list[int] | None]
"""Reads whole numbers that an attribute, a constant or an input holds; None: they are left out."""

DTYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.INT64: torch.int64,
    TensorProto.INT32: torch.int32,
    TensorProto.INT16: torch.int16,
    TensorProto.INT8: torch.int8,
    TensorProto.UINT8: torch.uint8,
    TensorProto.UINT16: torch.uint16,
    TensorProto.UINT32: torch.uint32,
    TensorProto.UINT64: torch.uint64,
    TensorProto.BOOL: torch.bool,
}
"""torch's types by ONNX's numbers."""


class Unsupported(Exception):
    """A node, or what it meets in a run, has no counterpart here; the text says what."""


@dataclass(frozen=True)
class Nested:
    """A nested graph of a node.

    Attributes:
        run: the graph as a function.
        inputs: the number of its own inputs.
        captured: names of the outer values that it reads.
    """

    run: Body
    inputs: int
    captured: tuple[str, ...]


@dataclass(frozen=True)
class Site:
    """A node and its surroundings.

    Attributes:
        node: the node.
        opset: version of the standard operators.
        constants: the model's, by name.
        bodies: its nested graphs by the names of the attributes.
    """

    node: NodeProto
    opset: int
    constants: Mapping[str, Constant]
    bodies: Mapping[str, Nested]

    def is_given(self, index: int) -> bool:
        """Whether an input is there."""
        return bool(given(self.node, index))

    def is_wanted(self, index: int) -> bool:
        """Whether an output has a name, so that something may read it."""
        return index < len(self.node.output) and bool(self.node.output[index])

    def has(self, attribute: str) -> bool:
        """Whether an attribute is there."""
        return any(each.name == attribute for each in self.node.attribute)

    def constant(self, index: int) -> Constant | None:
        """The value of an input that is a constant of the model."""
        return self.constants.get(given(self.node, index))

    def numbers(self, index: int, attribute: str = "") -> Numbers:
        """A reader of whole numbers.

        Args:
            index: of the input that holds them in newer versions of the operator.
            attribute: that holds them in older ones; empty: there never was one.

        Returns:
            To be called with the input's tensor, which is read only where it is not known before.
        """
        found = get_ints(self.node, attribute) if attribute else None
        if found is None and (value := self.constant(index)) is not None:
            found = [int(each) for each in value.reshape(-1)]
        if found is not None:
            return lambda tensor: found
        return lambda tensor: None if tensor is None else tensor.reshape(-1).tolist()

    def refuse_unless(self, attribute: str, expected: int) -> None:
        """Refuses an attribute of another value than its default.

        Args:
            attribute: its name; a whole number.
            expected: its default.

        Raises:
            Unsupported: where it has another value.
        """
        found = get_int(self.node, attribute, expected)
        if found != expected:
            raise Unsupported(f"its {attribute} is {found}; only {expected} is supported")


@dataclass(frozen=True)
class Operator:
    """An operator in torch.

    Attributes:
        make: of a node the step; raises `Unsupported`.
        fixed: positions of inputs through which nothing is trained, because no gradient flows or
            because they are settings and not weights; None: all inputs.
        states: positions of initial states, which are trained only where weights compute them.
    """

    make: Callable[[Site], Step]
    fixed: tuple[int, ...] | None = ()
    states: tuple[int, ...] = ()


def plain(functions: Mapping[str, Step]) -> dict[str, Operator]:
    """Operators without attributes, as torch's functions of the same inputs.

    Args:
        functions: by the operators' names.
    """
    return {name: Operator(_always(function)) for name, function in functions.items()}


def untrained(functions: Mapping[str, Step]) -> dict[str, Operator]:
    """`plain` for functions without a gradient, or with none but zero.

    Args:
        functions: by the operators' names.
    """
    return {name: Operator(_always(function), None) for name, function in functions.items()}


def _always(function: Step) -> Callable[[Site], Step]:
    return lambda site: function


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front.

    Args:
        axis: possibly negative.
        rank: number of dimensions.
    """
    return axis + rank if axis < 0 else axis

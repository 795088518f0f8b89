"""Reads the nodes of a loop's body as forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto, TensorProto

from isslim.compress.onnx.model.attributes import get_float, get_int, get_ints
from isslim.compress.onnx.model.split_model import Constant, given, label
from isslim.compress.onnx.normalise.cells.counting import RUN, Counting
from isslim.compress.onnx.normalise.cells.forms import (
    Form,
    Forms,
    NotACell,
    added,
    constant,
    multiplied,
)

_END = 2**31 - 1
"""From here on the end of a Slice is that of the dimension."""
_FUNCTIONS: dict[str, tuple[tuple[str, float], ...]] = {
    **dict.fromkeys(("Sigmoid", "Tanh", "Relu", "Softsign", "Softplus", "Exp", "Erf"), ()),
    **dict.fromkeys(("Gelu", "HardSwish", "Mish", "Swish", "Abs", "Sqrt", "Reciprocal"), ()),
    **dict.fromkeys(("Elu", "Celu", "ThresholdedRelu"), (("alpha", 1.0),)),
    "LeakyRelu": (("alpha", 0.01),),
    "HardSigmoid": (("alpha", 0.2), ("beta", 0.5)),
    "Selu": (("alpha", 1.67326), ("gamma", 1.0507)),
}
"""Functions of single numbers, with their parameters' names and defaults."""


@dataclass
class StepReader:
    """The values of one run of a body as forms.

    Attributes:
        counting: what is known of whole numbers, of makers, constants and shapes.
        zeros: values around the loop that are zero everywhere.
        forms: makes them.
        sequences: per value that enters, the tensor (T, B, n) around the loop that holds all steps.
        read: the values that were read, with their forms; those of states are there from the start.
    """

    counting: Counting
    zeros: set[str]
    forms: Forms = field(default_factory=Forms)
    sequences: dict[str, str] = field(default_factory=dict)
    read: dict[str, Form] = field(default_factory=dict)

    def enter(self, name: str, width: object) -> Form:
        """A value (B, n) that enters the step.

        Args:
            name: of the value.
            width: n, if it is known.

        Raises:
            NotACell: when it is not.
        """
        if not isinstance(width, int):
            raise NotACell(f"the size of '{name}' is not known")
        self.read[name] = self.forms.entering(name, width)
        return self.read[name]

    def form(self, name: str) -> Form:
        """A value as a form.

        Raises:
            NotACell: when it is computed in another way than in a cell.
        """
        if name not in self.read:
            self.read[name] = self._read(name)
        return self.read[name]

    def _read(self, name: str) -> Form:
        if name in self.counting.constants:
            return _constant(name, self.counting.constants[name])
        if name in self.zeros:
            return constant(np.zeros(1))
        node = self.counting.makers.get(name)
        if node is None:
            raise NotACell(f"it reads '{name}', which is no state and no step of a sequence")
        if node.op_type in _FUNCTIONS:
            parameters = (get_float(node, key, value) for key, value in _FUNCTIONS[node.op_type])
            return self.forms.function(node.op_type, self.form(node.input[0]), tuple(parameters))
        if node.op_type in ("Split", "Slice"):
            start, stop = self._range(node, name)
            return self.forms.part(self.form(node.input[0]), start, stop)
        reader = _READERS.get(node.op_type)
        if reader is None:
            raise NotACell(f"it computes with {node.op_type} ('{label(node)}')")
        return reader(self, node)

    def gather(self, node: NodeProto) -> Form:
        """One step of a sequence: entry `run` of its first dimension."""
        sequence, name = node.input[0], node.output[0]
        layout = self.counting.shapes.get(sequence)
        if get_int(node, "axis", 0) or self.counting.count(node.input[1]) != RUN:
            raise NotACell(f"'{label(node)}' does not read the steps one after the other")
        if layout is None or layout.rank != 3:
            raise NotACell(f"'{sequence}', of which it reads the steps, has not three dimensions")
        # Several nodes may read the same step.
        for known, other in self.sequences.items():
            if other == sequence:
                return self.read[known]
        self.sequences[name] = sequence
        return self.enter(name, layout.dims[2])

    def cast(self, node: NodeProto) -> Form:
        """The same numbers: 0 and 1 for truth values."""
        if get_int(node, "to", 0) != TensorProto.FLOAT:
            raise NotACell(f"it computes with other numbers than float32 ('{label(node)}')")
        return self.form(node.input[0])

    def negation(self, node: NodeProto) -> Form:
        """1 - x, for a truth value is 0 or 1."""
        return added(constant(np.ones(1)), self.form(node.input[0]), -1.0)

    def choice(self, node: NodeProto) -> Form:
        """As m a + (1 - m) b, for the condition m is 0 or 1."""
        mask, one, other = map(self.form, node.input)
        chosen = added(self.forms.product(mask, one), other)
        return added(chosen, self.forms.product(mask, other), -1.0)

    def matrix_product(self, node: NodeProto) -> Form:
        """A product with a constant matrix; of a Gemm with what is added to it."""
        matrix = self.counting.constants.get(node.input[1])
        if matrix is None or matrix.ndim != 2 or matrix.dtype != np.float32:
            raise NotACell(f"it multiplies by what is no constant matrix ('{label(node)}')")
        if node.op_type == "MatMul":
            return multiplied(self.form(node.input[0]), matrix)
        plain = get_float(node, "alpha", 1.0) == 1 == get_float(node, "beta", 1.0)
        if not plain or get_int(node, "transA", 0):
            raise NotACell(f"it scales or transposes in the Gemm '{label(node)}'")
        matrix = matrix.T if get_int(node, "transB", 0) else matrix
        made = multiplied(self.form(node.input[0]), matrix)
        return added(made, self.form(node.input[2])) if given(node, 2) else made

    def clip(self, node: NodeProto) -> Form:
        """Between 0 and a limit m: m times a HardSigmoid of x / m."""
        if len(node.input) > 1:
            numbers = [self.counting.constants.get(given(node, index)) for index in (1, 2)]
            low, high = (None if each is None else float(each.item()) for each in numbers)
        else:
            low, high = get_float(node, "min", -np.inf), get_float(node, "max", np.inf)
        if low != 0 or high is None or not 0 < high < np.inf:
            raise NotACell(f"it clips between other numbers than 0 and a limit ('{label(node)}')")
        inner = self.forms.product(self.form(node.input[0]), constant(np.array([1 / high])))
        gate = self.forms.function("HardSigmoid", inner, (1.0, 0.0))
        return self.forms.product(gate, constant(np.array([high])))

    def quotient(self, node: NodeProto) -> Form:
        """A form divided by constant numbers."""
        numbers = self.form(node.input[1]).constant
        if numbers is None or not numbers.all():
            raise NotACell(f"it divides by what is not constant ('{label(node)}')")
        return self.forms.product(self.form(node.input[0]), constant(1 / numbers))

    def _range(self, node: NodeProto, name: str) -> tuple[int, int]:
        """Which numbers of the last dimension a Split or Slice takes."""
        width = self.form(node.input[0]).width
        if node.op_type == "Split":
            if get_int(node, "axis", 0) not in (-1, 1):
                raise NotACell(f"it divides the sequences ('{label(node)}')")
            sizes = self._integers(node, 1) or get_ints(node, "split")
            count = len(node.output)
            sizes = sizes or [-(-width // count)] * count
            index = list(node.output).index(name)
            return sum(sizes[:index]), min(sum(sizes[: index + 1]), width)
        starts, stops = self._integers(node, 1), self._integers(node, 2)
        if starts is None or stops is None:
            raise NotACell(f"which part it takes depends on the data ('{label(node)}')")
        axes = self._integers(node, 3) or list(range(len(starts)))
        steps = self._integers(node, 4) or [1] * len(starts)
        taken = range(width)
        for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
            whole = axis == 0 and start == 0 and stop >= _END
            if step != 1 or (axis not in (-1, 1) and not whole):
                raise NotACell(f"it takes some of the sequences or units ('{label(node)}')")
            taken = taken if whole else range(width)[start:stop]
        return taken.start, taken.stop

    def _integers(self, node: NodeProto, index: int) -> list[int] | None:
        value = self.counting.constants.get(given(node, index))
        return None if value is None else [int(each) for each in value.reshape(-1)]


def _constant(name: str, value: Constant) -> Form:
    """Numbers that are the same for all sequences."""
    if value.dtype != np.float32 or value.size != (value.shape or (1,))[-1]:
        raise NotACell(f"it reads '{name}', which is no row of numbers")
    return constant(value)


def _sum(reader: StepReader, node: NodeProto) -> Form:
    made = reader.form(node.input[0])
    for name in node.input[1:]:
        made = added(made, reader.form(name), -1.0 if node.op_type == "Sub" else 1.0)
    return made


def _product(reader: StepReader, node: NodeProto) -> Form:
    return reader.forms.product(reader.form(node.input[0]), reader.form(node.input[1]))


def _negative(reader: StepReader, node: NodeProto) -> Form:
    return reader.forms.product(reader.form(node.input[0]), constant(-np.ones(1)))


def _same(reader: StepReader, node: NodeProto) -> Form:
    return reader.form(node.input[0])


_READERS: dict[str, Callable[[StepReader, NodeProto], Form]] = {
    "Add": _sum,
    "Sub": _sum,
    "Sum": _sum,
    "Mul": _product,
    "Neg": _negative,
    "Identity": _same,
    "Div": StepReader.quotient,
    "Gather": StepReader.gather,
    "Cast": StepReader.cast,
    "Not": StepReader.negation,
    "Where": StepReader.choice,
    "MatMul": StepReader.matrix_product,
    "Gemm": StepReader.matrix_product,
    "Clip": StepReader.clip,
}

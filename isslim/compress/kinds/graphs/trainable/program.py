"""A graph as a list of steps, which are run in order on values by name.

Nested graphs are functions of what they read from outside and of their own inputs: a value of one
round of a loop is never that of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx import AttributeProto, GraphProto, NodeProto
from torch import Tensor

from isslim.compress.errors import GraphNotUnderstood, NotTrainable
from isslim.compress.kinds.graphs.trainable.operators.registry import SUPPORTED
from isslim.compress.kinds.graphs.trainable.operators.site import (
    Nested,
    Site,
    Step,
    Unsupported,
)
from isslim.compress.onnx.model.split_model import Constant, label

Values = Mapping[str, Tensor]


@dataclass(frozen=True)
class Line:
    """A node.

    Attributes:
        description: operator and name, for messages.
        inputs: names, empty where one is left out; then what its bodies read from outside.
        outputs: names, empty where one is left out.
        step: computes them.
    """

    description: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    step: Step

    def run(self, values: dict[str, Tensor]) -> None:
        """Adds the outputs to the values.

        Args:
            values: of all inputs.

        Raises:
            NotTrainable: when torch cannot compute them; the detail names the operator.
        """
        given = [values[name] if name else None for name in self.inputs]
        try:
            made = self.step(*given)
        except NotTrainable:  # a node of a body, which is named already
            raise
        except (Unsupported, RuntimeError, TypeError, ValueError, IndexError) as error:
            raise NotTrainable(f"{self.description}: {_first_line(error)}") from error
        whole = made if isinstance(made, tuple) else (made,)
        values.update(zip(self.outputs, whole, strict=False))


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


@dataclass(frozen=True)
class Program:
    """A graph.

    Attributes:
        inputs: its own, by name.
        outputs: by name.
        captured: names of what it reads and does not make, in order.
        lines: its nodes in order.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    captured: tuple[str, ...]
    lines: tuple[Line, ...]

    def run(self, values: Values, outputs: Sequence[str]) -> dict[str, Tensor]:
        """Runs what the outputs need.

        Args:
            values: of inputs and captured values, by name.
            outputs: names of the wanted values.
        """
        known = dict(values)
        for line in self.needed(outputs):
            line.run(known)
        return {name: known[name] for name in outputs}

    def needed(self, outputs: Sequence[str]) -> list[Line]:
        """The nodes that the outputs depend on, in order."""
        wanted, found = set(outputs), []
        for line in reversed(self.lines):
            if wanted.intersection(filter(None, line.outputs)):
                found.append(line)
                wanted.update(filter(None, line.inputs))
        return found[::-1]

    def body(self) -> Nested:
        """The graph as a function, for the node that holds it."""
        names = (*self.captured, *self.inputs)
        lines = self.needed(self.outputs)

        def run(*given: Tensor) -> tuple[Tensor, ...]:
            values = dict(zip(names, given, strict=True))
            for line in lines:
                line.run(values)
            return tuple(values[name] for name in self.outputs)

        return Nested(run, len(self.inputs), self.captured)


def compiled(graph: GraphProto, opset: int, constants: Mapping[str, Constant]) -> Program:
    """A graph as a program.

    Args:
        graph: without initialisers; all names are unique, also in nested graphs.
        opset: version of the standard operators.
        constants: by name.

    Raises:
        NotTrainable: with all nodes that have no counterpart in torch.
    """
    issues: list[str] = []
    lines = []
    for node in graph.node:
        try:
            lines.append(_line(node, opset, constants))
        except NotTrainable as refused:  # of a body
            issues += refused.issues
        except (Unsupported, GraphNotUnderstood) as refused:
            issues.append(f"{node.op_type} '{label(node)}': {refused}")
    if issues:
        raise NotTrainable("; ".join(dict.fromkeys(issues)), issues)
    inputs = tuple(port.name for port in graph.input)
    outputs = tuple(port.name for port in graph.output)
    made = {*inputs, *(name for line in lines for name in line.outputs)}
    read = [name for line in lines for name in line.inputs if name]
    captured = tuple(dict.fromkeys(name for name in (*read, *outputs) if name not in made))
    return Program(inputs, outputs, captured, tuple(lines))


def _line(node: NodeProto, opset: int, constants: Mapping[str, Constant]) -> Line:
    operator = SUPPORTED.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if operator is None:
        raise Unsupported("the operator is not supported")
    bodies = {
        each.name: compiled(each.g, opset, constants).body()
        for each in node.attribute
        if each.type == AttributeProto.GRAPH
    }
    outer = [name for each in bodies.values() for name in each.captured]
    return Line(
        f"{node.op_type} '{label(node)}'",
        (*node.input, *outer),
        tuple(node.output),
        operator.make(Site(node, opset, constants, bodies)),
    )

"""A graph as a torch module: the same inputs and outputs, and its weights by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto
from torch import Tensor, nn

from isslim.compress.errors import NotTrainable
from isslim.compress.kinds.graphs.trainable.program import Line, Program, compiled
from isslim.compress.kinds.graphs.trainable.weights import weights
from isslim.compress.onnx.model.attributes import subgraphs
from isslim.compress.onnx.model.split_model import Constant, graphs, replace, split_constants


class TorchGraph(nn.Module):
    """A graph of any operators that torch has; see `of`.

    Attributes:
        inputs: names.
        outputs: names.
        weights: the parameters by the names of their initialisers; as in the file, where these are
            unique in the whole model.
    """

    def __init__(
        self, program: Program, constants: Mapping[str, Constant], trained: Sequence[str]
    ) -> None:
        super().__init__()
        self._program = program
        self._lines: dict[tuple[str, ...], list[Line]] = {}
        # Names of torch's parameters may hold no dots.
        self._places: dict[str, str] = {}
        self.inputs, self.outputs = program.inputs, program.outputs
        for number, (name, value) in enumerate(constants.items()):
            tensor = torch.from_numpy(np.array(value))
            self._places[name] = f"constant_{number}"
            if name in trained:
                self.register_parameter(self._places[name], nn.Parameter(tensor))
            else:
                self.register_buffer(self._places[name], tensor)
        self.weights: dict[str, nn.Parameter] = {
            name: self.get_parameter(self._places[name]) for name in trained
        }

    @classmethod
    def of(cls, model: ModelProto, outputs: Sequence[str] | None = None) -> Self:
        """A network that computes what a graph does.

        Args:
            model: as `read_graph` returns it or `GraphNetwork.model` writes it; it is not changed.
            outputs: names of the outputs that count; None: all. Operators that only others need
                may be unknown.

        Raises:
            NotTrainable: with all operators that have no counterpart here.
        """
        parts = split_constants(model)
        graph = parts.structure.graph
        _keep_outputs(graph, [port.name for port in graph.output] if outputs is None else outputs)
        program = compiled(graph, parts.opset, parts.constants)
        texts = [name for name in program.captured if parts.constants[name].dtype.kind in "OSU"]
        if texts:
            raise NotTrainable(f"'{texts[0]}' holds texts, which torch does not compute with")
        constants = {name: parts.constants[name] for name in program.captured}
        return cls(program, constants, weights(parts, program.outputs))

    def forward(self, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> dict[str, Tensor]:
        """Computes outputs.

        Args:
            inputs: by name, of the graph's types; all that the outputs need.
            outputs: names of the graph's outputs; only the nodes that these need are run.

        Raises:
            NotTrainable: when a node cannot be computed; the detail names its operator.
        """
        key = tuple(outputs)
        if key not in self._lines:
            self._lines[key] = self._program.needed(outputs)
        values = {name: getattr(self, place) for name, place in self._places.items()}
        values.update(inputs)
        read = {name for line in self._lines[key] for name in line.inputs}
        missing = [name for name in self.inputs if name in {*read, *key} and name not in inputs]
        if missing:
            raise NotTrainable(f"the input '{missing[0]}' is not given")
        for line in self._lines[key]:
            line.run(values)
        return {name: values[name] for name in outputs}

    def trained_weights(self) -> dict[str, NDArray[np.float32]]:
        """The weights as they are now (copies), by the names of their initialisers."""
        return {name: each.detach().cpu().numpy().copy() for name, each in self.weights.items()}


def _keep_outputs(graph: GraphProto, outputs: Sequence[str]) -> None:
    """Leaves out other outputs and the nodes that no output needs; in place."""
    replace(graph.output, [port for port in graph.output if port.name in outputs])
    wanted, kept = {port.name for port in graph.output}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
            inner = [each for body in subgraphs(node) for each in graphs(body)]
            wanted.update(name for each in inner for one in each.node for name in one.input)
            wanted.update(port.name for each in inner for port in each.output)
    replace(graph.node, kept[::-1])

"""Which number of which parameter every constant of an exported graph is.

An exporter reorders what it takes from a module: an LSTM's gates i, f, g, o become i, o, f, c, both
directions are stacked, matrices are transposed. Instead of repeating each of these rules, or of
searching for equal numbers, the graph is read a second time with each number replaced by a label,
the number of its place, and the labels are where the numbers went. A constant whose numbers are not
those of its labels is computed from parameters, and has no origin.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from torch import Tensor

from isslim.compress.onnx.model.recurrent import W, view
from isslim.compress.onnx.model.split_model import SplitModel, nodes, split_constants
from isslim.compress.onnx.normalise.normal_form import normal_form
from isslim.compress.onnx.normalise.onnx_reader import simplified
from isslim.compress.onnx.trace.edits import key

Place = tuple[str, int]
"""An input of a node, by the node's key (`trace.edits.key`)."""
Labels = NDArray[np.int64]
"""Places in all parameters, one after the other; -1 for what is of none."""
_FIRST = 1 << 40
"""The first label: above all numbers that a graph may hold besides, and exact in float64."""


@dataclass(frozen=True)
class Origins:
    """Where the numbers of parameters are in a graph in normal form.

    Attributes:
        values: all parameters and buffers of numbers by name, in the order of their labels.
        labels: per place that reads a constant made of them.
        layers: per recurrent node, by its name, the name of the module that owns its weights.
    """

    values: Mapping[str, NDArray[Any]]
    labels: Mapping[Place, Labels]
    layers: Mapping[str, str]

    @cached_property
    def starts(self) -> list[int]:
        """The first label of every parameter."""
        sizes = [value.size for value in self.values.values()]
        return [sum(sizes[:index]) for index in range(len(sizes))]

    def owner(self, label: int) -> str:
        """The name of the parameter that a label is of."""
        return list(self.values)[bisect_right(self.starts, label) - 1]

    def start(self, name: str) -> int:
        """The first label of a parameter."""
        return self.starts[list(self.values).index(name)]

    def checked(self, parts: SplitModel) -> dict[Place, Labels]:
        """The labels of constants that are nothing but numbers of parameters.

        Args:
            parts: the graph itself in normal form.
        """
        flat = np.concatenate([value.reshape(-1) for value in self.values.values()])
        found = {}
        for node in nodes(parts.structure.graph):
            for index, name in enumerate(node.input):
                labels = self.labels.get((key(node), index))
                value = parts.constants.get(name)
                if labels is None or value is None or labels.shape != value.shape:
                    continue
                if np.array_equal(flat[labels], value):
                    found[key(node), index] = labels
        return found


def read_origins(model: ModelProto, parameters: Mapping[str, Tensor]) -> Origins:
    """Follows every number of a module's parameters through the reading of its graph.

    Args:
        model: with the parameters as initialisers of the same names, none shared.
        parameters: of numbers, by name.
    """
    values = {name: tensor.numpy().copy() for name, tensor in parameters.items()}
    labelled = ModelProto()
    labelled.CopyFrom(model)
    start = 0
    starts = {}
    for name, value in values.items():
        starts[name] = start
        start += value.size
    for tensor in labelled.graph.initializer:
        if tensor.name in values:
            shape = values[tensor.name].shape
            numbers = _FIRST + starts[tensor.name] + np.arange(math.prod(shape), dtype=np.float64)
            tensor.CopyFrom(numpy_helper.from_array(numbers.reshape(shape), tensor.name))
    parts = normal_form(split_constants(simplified(labelled))).parts
    found: dict[Place, Labels] = {}
    for node in nodes(parts.structure.graph):
        for index, name in enumerate(node.input):
            constant = parts.constants.get(name)
            if constant is None or constant.dtype != np.float64 or not constant.size:
                continue
            places = np.asarray(constant, np.float64) - _FIRST
            if ((places >= 0) & (places < start) & (places == np.rint(places))).all():
                found[key(node), index] = places.astype(np.int64)
    origins = Origins(values, found, {})
    layers = {}
    for node in nodes(parts.structure.graph):
        labels = found.get((key(node), W)) if view(node) is not None else None
        if labels is not None:
            layers[node.name] = origins.owner(int(labels.flat[0])).rpartition(".")[0]
    return replace(origins, layers=layers)

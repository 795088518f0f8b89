"""Reads arrays back from the constants of a written graph: the inverse of `write_weights`.

A written constant may hold more than arrays: dead components, and the second of two biases that are
only ever added, which is zero. These entries are no part of the network and stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, numpy_helper

from isslim.compress.onnx.model.attributes import get_float
from isslim.compress.onnx.model.recurrent import B, P, R, W, cell
from isslim.compress.onnx.model.split_model import Constant, SplitModel, given, graphs, nodes
from isslim.compress.onnx.rewrite.named_arrays import Meaning, canonical
from isslim.compress.onnx.rewrite.sizes import Sizes
from isslim.compress.onnx.rewrite.write_weights import write_weights
from isslim.compress.onnx.trace.edits import Product, key
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.compress.onnx.trace.types import Layer
from isslim.compress.pruning.axes import Array, Arrays, NarrowPlace, resized

KEPT = ".kept"
"""Arrays of this ending are numbers of components: no weights."""


def read_weights(
    graph: GraphProto,
    constants: Mapping[str, Array],
    trace: AxisFacts,
    meaning: Meaning,
    arrays: Arrays,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The arrays that a graph was written from, and its other constants, with new values.

    Args:
        graph: as `write` made it of `arrays`.
        constants: the new values by name, of the shapes in the graph; some or all of them.
        trace: the graph at full size.
        meaning: what its arrays mean, with the narrow layers among them.
        arrays: what it was written from.

    Returns:
        All arrays, and those of `constants` that are in none of them.

    Raises:
        ValueError: when a name is that of no constant which `write` takes from arrays or the trace,
            or a shape differs.
    """
    reading = _Reading(graph, constants, trace, meaning, arrays)
    for name, layers in meaning.layers.items():
        reading.layer(name, layers)
    for name, products in meaning.products.items():
        reading.product(name, products[0])
    for name in arrays.keys() & trace.parts.constants.keys() - meaning.products.keys():
        reading.constant(name)
    for node, name in meaning.created.items():
        reading.created(node, name)
    for place in meaning.declaration.narrow:
        reading.narrow(place)
    return reading.arrays, reading.others()


def free_entries(
    trace: AxisFacts, meaning: Meaning, arrays: Arrays
) -> dict[str, NDArray[np.bool_]]:
    """Which entries of written constants are those of arrays; by name, of the written shapes.

    Args:
        trace: the graph at full size.
        meaning: what its arrays mean.
        arrays: as `declare` gives them, of any sizes.
    """
    # Entries follow the arrays where two values of these give two values of theirs.
    one, two = (_written(trace, meaning, arrays, value) for value in (1.0, 2.0))
    return {
        name: np.asarray(value != two[name])
        for name, value in one.items()
        if value is not trace.parts.constants.get(name)
    }


def _written(
    trace: AxisFacts, meaning: Meaning, arrays: Arrays, value: float
) -> dict[str, Constant]:
    """The constants of a graph all of whose weights are one number."""
    filled = {
        name: array if name.endswith(KEPT) else np.full_like(array, value)
        for name, array in arrays.items()
    }
    structure = ModelProto()
    structure.CopyFrom(trace.parts.structure)
    parts = SplitModel(structure, dict(trace.parts.constants))
    write_weights(parts, trace, meaning, filled, Sizes.of(trace.pool, meaning, filled))
    return parts.constants


class _Reading:
    """Takes new values of constants for the arrays that they were written from."""

    def __init__(
        self,
        graph: GraphProto,
        constants: Mapping[str, Array],
        trace: AxisFacts,
        meaning: Meaning,
        arrays: Arrays,
    ) -> None:
        self.arrays = dict(arrays)
        self._left, self._trace, self._meaning = dict(constants), trace, meaning
        self._sizes = Sizes.of(trace.pool, meaning, arrays)
        self._dimensions = resized(meaning.declaration, self._sizes.components).dimensions
        self._nodes: dict[str, NodeProto] = {key(node): node for node in nodes(graph)}
        self._written = {
            each.name: numpy_helper.to_array(each)
            for inner in graphs(graph)
            for each in inner.initializer
        }

    def layer(self, name: str, layers: list[Layer]) -> None:
        """W, R, B and P of layers with the same weights; what is not new is as it was written.

        Args:
            name: with which the names of their arrays begin.
            layers: all nodes that share the weights, at least one.
        """
        node = self._nodes[key(layers[0].recurrent.node)]
        names = {index: given(node, index) for index in (W, R, B, P) if given(node, index)}
        if not self._left.keys() & names.values():
            return
        found = {index: self._left.pop(each, self._written[each]) for index, each in names.items()}
        # Within its tensors a layer may have room for more units than are left.
        seen = replace(layers[0].recurrent, units=found[R].shape[2])
        for position, direction in enumerate(seen.directions):
            for part, value in cell(seen, position, found).arrays().items():
                self._take(f"{name}.{direction}.{part}", value)

    def product(self, name: str, product: Product) -> None:
        """A matrix.

        Args:
            name: of the constant, and of its array (out, in).
            product: says which of its dimensions are the outputs.
        """
        if name in self._left:
            self._take(name, np.asarray(canonical(self._left.pop(name), product), np.float32))

    def constant(self, name: str) -> None:
        """Any other constant; a bias is flat in its canonical form."""
        if name not in self._left:
            return
        value = self._left.pop(name)
        if name in self._meaning.biases:
            value = value.reshape(-1) * np.float32(self._meaning.biases[name])
        self._take(name, value)

    def created(self, node: str, name: str) -> None:
        """A bias that was added.

        Args:
            node: the key of the operator that has it as its third input.
            name: of its array, (out,).
        """
        made = self._nodes[node]
        constant = given(made, 2)
        if constant not in self._left:
            return
        alpha = get_float(made, "alpha", 1.0) if made.op_type == "Gemm" else 1.0
        self._take(name, self._left.pop(constant) / np.float32(alpha))

    def narrow(self, place: NarrowPlace) -> None:
        """The matrix (inputs, K) of a narrow layer."""
        if place.weight in self._left:
            self._take(place.weight, self._left.pop(place.weight).T)

    def others(self) -> dict[str, Array]:
        """What is left: constants that are no arrays."""
        for name, value in self._left.items():
            known = self._trace.parts.constants.get(name)
            if known is None or known.shape != value.shape or known.dtype != value.dtype:
                there = "none" if known is None else f"{known.dtype} {known.shape}"
                raise ValueError(
                    f"a new value of the constant '{name}', {value.dtype} {value.shape}, where the "
                    f"graph has {there}"
                )
        return self._left

    def _take(self, name: str, value: Array) -> None:
        """An array from its padded form."""
        for position, dimension in enumerate(self._dimensions[name]):
            living, start = [], 0
            for segment in dimension:
                room = self._sizes.placed[segment.axis] - segment.size if segment.axis else 0
                for _ in range(segment.repeat):
                    living.append(np.arange(start, start + segment.size))
                    start += segment.size + room
            if start != value.shape[position]:
                raise ValueError(
                    f"a new value of '{name}' of shape {value.shape}: expected {start} entries in "
                    f"dimension {position}"
                )
            value = np.take(value, np.concatenate(living), position)
        self.arrays[name] = np.array(value, np.float32)

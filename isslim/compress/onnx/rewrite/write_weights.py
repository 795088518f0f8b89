"""Writes canonical arrays into a graph's constants, each in the constant's shape and type.

Where axes of different sizes share a tensor, the smaller ones get dead components: zeros.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from onnx import NodeProto

from isslim.compress.onnx.model.attributes import get_float, set_attribute
from isslim.compress.onnx.model.recurrent import B, Cell, P, R, W, tensors
from isslim.compress.onnx.model.split_model import SplitModel, nodes, set_input
from isslim.compress.onnx.rewrite.named_arrays import Meaning, uncanonical
from isslim.compress.onnx.rewrite.sizes import Sizes
from isslim.compress.onnx.trace.edits import Product, key
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.compress.onnx.trace.types import Layer
from isslim.compress.pruning.axes import Array, Arrays, Dimension, NarrowPlace, resized


def write_weights(
    parts: SplitModel, trace: AxisFacts, meaning: Meaning, arrays: Arrays, sizes: Sizes
) -> None:
    """Sets every constant that is one of the arrays, and the numbers of units; in place.

    Args:
        parts: the graph at full size.
        trace: its axes.
        meaning: how the arrays relate to it.
        arrays: of any sizes.
        sizes: theirs.
    """
    filling = _Filling(parts, trace, meaning, arrays, sizes)
    for name, layers in meaning.layers.items():
        filling.layer(name, layers)
    for name, products in meaning.products.items():
        filling.product(name, products[0])
    others = arrays.keys() & trace.parts.constants.keys()
    for name in others - meaning.products.keys():
        filling.constant(name)
    for node, name in meaning.created.items():
        filling.created(node, name)
    for place in meaning.declaration.narrow:
        filling.narrow(place)


class _Filling:
    """Fills the constants of one graph."""

    def __init__(
        self, parts: SplitModel, trace: AxisFacts, meaning: Meaning, arrays: Arrays, sizes: Sizes
    ) -> None:
        self._parts, self._trace, self._meaning = parts, trace, meaning
        self._arrays, self._sizes = arrays, sizes
        self._dimensions = resized(meaning.declaration, sizes.components).dimensions
        self._nodes: dict[str, NodeProto] = {
            key(node): node for node in nodes(parts.structure.graph)
        }

    def layer(self, name: str, layers: list[Layer]) -> None:
        """W, R, B and P of layers with the same weights.

        Args:
            name: the layer's, with which the names of its arrays begin.
            layers: all nodes that share the weights, at least one.
        """
        seen = layers[0].recurrent
        cells = []
        for direction in seen.directions:
            placed = {}
            for field in fields(Cell):
                label = f"{name}.{direction}.{field.name}"
                if label in self._arrays:
                    placed[field.name] = self._placed(label)
            cells.append(Cell(**placed))
        made = tensors(seen, cells)
        for index in (W, R, P):
            if index in made:
                self._set(seen.given(index), made[index])
        bias = seen.given(B)
        # A repair may need a bias where the layer had none.
        if bias:
            self._set(bias, made[B])
        # A layer without biases keeps none where they are all zero.
        elif made[B].any():
            bias = self._parts.fresh(f"{name}.bias")
            self._parts.constants[bias] = made[B].astype(self._parts.constants[seen.given(W)].dtype)
        for layer in layers:
            node = self._nodes[key(layer.recurrent.node)]
            if bias:
                set_input(node, B, bias)
            set_attribute(node, "hidden_size", int(made[R].shape[2]))

    def product(self, name: str, product: Product) -> None:
        """A matrix (out, in) or (in, out); a kernel has further dimensions, those of its window.

        Args:
            name: of the constant, and of its array (out, in).
            product: says which of its dimensions are the outputs.
        """
        window = self._trace.parts.constants[name].shape[2:]
        self._set(name, uncanonical(self._placed(name), product, window))

    def constant(self, name: str) -> None:
        """Any other constant; a bias is flat in its canonical form."""
        # In a divisor dead components are one, elsewhere zero.
        rest = next((use.rest for use in self._trace.uses if use.name == name), 0.0)
        value = self._placed(name, rest)
        if name in self._meaning.biases:
            old = self._trace.parts.constants[name]
            value = (value / self._meaning.biases[name]).reshape(*old.shape[:-1], -1)
        self._set(name, value)

    def created(self, node: str, name: str) -> None:
        """Adds a bias where there was none, if it is not zero.

        Args:
            node: the key of the operator that gets it as its third input.
            name: of its array, (out,).
        """
        value = self._placed(name)
        # A bias of zeros changes nothing and costs an addition.
        if not value.any():
            return
        made = self._nodes[node]
        if made.op_type == "Gemm":  # alpha A B + beta C: the array is in terms of the matrix alone
            set_attribute(made, "beta", 1.0)
            value = value * get_float(made, "alpha", 1.0)
        free = self._parts.fresh(name)
        self._parts.constants[free] = value.astype(self._parts.constants[made.input[1]].dtype)
        set_input(made, 2, free)

    def narrow(self, place: NarrowPlace) -> None:
        """Adds the matrix (inputs, K) of a narrow layer; its bias is zero and is not written."""
        self._parts.constants[place.weight] = self._placed(place.weight).T

    def _set(self, name: str, value: Array) -> None:
        """Replaces a constant by a new value of the same type."""
        self._parts.constants[name] = value.astype(self._parts.constants[name].dtype)

    def _placed(self, name: str, rest: float = 0.0) -> Array:
        """A canonical array padded for dead components, which are filled with `rest`."""
        value = self._arrays[name]
        for position, dimension in enumerate(self._dimensions[name]):
            value = self._placed_along(value, position, dimension, rest)
        return value

    def _placed_along(
        self, value: Array, position: int, dimension: Dimension, rest: float
    ) -> Array:
        """One dimension padded after the components of every segment, in each repeat."""
        placed = self._sizes.placed
        rooms = [placed[each.axis] - each.size if each.axis else 0 for each in dimension]
        if not any(rooms):
            return value
        # Every gate is a run of its own, with its own padding.
        pieces, start = [], 0
        for segment, room in zip(dimension, rooms, strict=True):
            margin = [(0, 0)] * value.ndim
            margin[position] = (0, room)
            for _ in range(segment.repeat):
                piece = np.take(value, np.arange(start, start + segment.size), position)
                pieces.append(np.pad(piece, margin, constant_values=rest))
                start += segment.size
        return np.concatenate(pieces, position)

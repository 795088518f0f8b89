"""A graph being quantized: its constants, new names, and the readers of a value."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import GraphProto, NodeProto

from isslim.compress.onnx.model.attributes import get_int, get_ints
from isslim.compress.onnx.model.split_model import Constant, SplitModel, given, graphs, names, nodes


class Int8Graph:
    """A model split into structure and constants, with the queries that quantization needs.

    Attributes:
        parts: the model; it is changed in place.
        spread: constants that were multiplied by a random basis (`spreading`).
    """

    def __init__(self, parts: SplitModel) -> None:
        self.parts = parts
        self.spread: set[str] = set()
        self._names = names(parts.structure.graph) | parts.constants.keys()

    @property
    def graph(self) -> GraphProto:
        """The outermost graph; only its nodes are rewritten."""
        return self.parts.structure.graph

    @property
    def constants(self) -> dict[str, Constant]:
        """By name."""
        return self.parts.constants

    def fresh(self, wish: str) -> str:
        """A new unique name like `wish`."""
        name, number = wish, 0
        while name in self._names:
            number += 1
            name = f"{wish}.{number}"
        self._names.add(name)
        return name

    def is_matrix(self, node: NodeProto, index: int, rank: int = 3) -> bool:
        """Whether an input is a constant float32 matrix (or one per direction) with entries.

        Args:
            node: the reader.
            index: of its input.
            rank: number of dimensions; 3 for the matrices of recurrent layers.
        """
        value = self.constants.get(given(node, index))
        # Integers are indices, or weights that are already quantized.
        if value is None or value.dtype != np.float32:
            return False
        return value.ndim == rank and value.size > 0

    def is_lookup(self, node: NodeProto) -> bool:
        """Whether a node looks up rows of a constant table by indices that are not constant."""
        if node.op_type != "Gather" or not self.is_matrix(node, 0, rank=2):
            return False
        return get_int(node, "axis", 0) == 0 and node.input[1] not in self.constants

    def is_product(self, node: NodeProto) -> bool:
        """Whether a node multiplies an activation by a constant matrix."""
        named = node.op_type in ("MatMul", "Gemm") and node.domain in ("", "ai.onnx")
        return named and self.is_matrix(node, 1, rank=2)

    def readers_of(self, name: str) -> Iterator[NodeProto]:
        """Nodes whose first input is a value, or the value with its steps and sequences swapped.

        Whoever reads it in another way, such as the caller, is a node without a name and operator
        here.
        """
        outputs = {port.name for graph in graphs(self.graph) for port in graph.output}
        if name in outputs:
            yield NodeProto()
        for node in nodes(self.graph):
            if name not in node.input:
                continue
            # A permutation of steps and sequences does not mix features: the basis is preserved.
            if _keeps_features(node):
                yield from self.readers_of(node.output[0])
            else:
                yield node if name not in node.input[1:] else NodeProto()


def _keeps_features(node: NodeProto) -> bool:
    """Whether a node returns its input with the last dimension unchanged."""
    if node.op_type != "Transpose":
        return node.op_type == "Identity"
    order = get_ints(node, "perm") or [-1]  # without a permutation all dimensions are reversed
    return order[-1] == len(order) - 1

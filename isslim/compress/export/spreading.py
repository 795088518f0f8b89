"""Removes outliers of weights before rounding, where the function does not depend on the basis.

Rounding to 8 bits is as coarse as the largest number that shares a scale. Where only products with
constants read a value, both sides can be multiplied by a random orthogonal basis and its inverse:
the function is unchanged, and there are no outliers any more (QuIP, Chee et al. 2023,
https://arxiv.org/abs/2307.13304). This holds between an embedding and the layers that read it, and
between a narrow layer and its readers: before a layer, in a recurrence, before the decoder.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from isslim.compress.export.int8_forms import Form, Part
from isslim.compress.export.int8_graph import Int8Graph
from isslim.compress.export.int8_weights import spreading_basis
from isslim.compress.onnx.model.attributes import get_int
from isslim.compress.onnx.model.recurrent import OPERATORS, W
from isslim.compress.onnx.model.split_model import given, nodes

MATRIX, BIAS = 1, 2
"""Positions among the inputs of a Gemm; a recurrent layer's W is at that of the matrix too."""


def spread(work: Int8Graph, form: Form) -> None:
    """Rotates the basis between a table or a narrow layer and its readers; in place.

    Args:
        work: the graph; `work.spread` gets the names of the new constants.
        form: a table that stays float32 is not rounded, so it is left alone.
    """
    spreading = _Spreading(work)
    for node in list(work.graph.node):
        if work.is_lookup(node) and Part.EMBEDDING not in form.kept:
            spreading.table(node)
    for node in list(nodes(work.graph)):
        if work.is_product(node):
            spreading.narrow(node)


class _Spreading:
    """Rotates the bases of one graph; a constant that several nodes read is rotated once."""

    def __init__(self, work: Int8Graph) -> None:
        self._work = work
        self._turned: dict[tuple[str, bool], str] = {}

    def table(self, node: NodeProto) -> None:
        """A table of embeddings (V, E) and the matrix of everything that reads its rows."""
        readers = list(self._work.readers_of(node.output[0]))
        # Another reader would get numbers in the wrong basis.
        if not readers or not all(self._is_linear(reader) for reader in readers):
            return
        self._turn(node, 0)
        self._turn_readers(readers)

    def narrow(self, node: NodeProto) -> None:
        """A narrow layer's matrix (K, I) and bias (K,), and the matrix of all its readers."""
        inputs, width = self._sides(node)
        readers = list(self._work.readers_of(node.output[0]))
        if not readers or not all(self._is_linear(reader) for reader in readers):
            return
        outputs = min(self._sides(reader)[1] for reader in readers)
        bias = self._work.constants.get(given(node, BIAS))
        biased = not given(node, BIAS) or (bias is not None and bias.shape[-1:] == (width,))
        # Of a layer that is not narrow, a basis would cost more to compute than outliers do.
        if not biased or width >= min(inputs, outputs):
            return
        self._turn(node, MATRIX, rows=_is_turned(node))
        if given(node, BIAS):
            self._turn(node, BIAS)
        self._turn_readers(readers)

    def _is_linear(self, node: NodeProto) -> bool:
        """Whether all that a node does to its first input is a product with a constant matrix."""
        if self._work.is_product(node):
            return not get_int(node, "transA", 0)
        return node.op_type in OPERATORS and self._work.is_matrix(node, W)

    def _sides(self, node: NodeProto) -> tuple[int, int]:
        """Inputs and outputs of a product's matrix, or of a recurrent layer's W."""
        *_, first, second = self._work.constants[node.input[MATRIX]].shape
        return (second, first) if _is_turned(node) else (first, second)

    def _turn_readers(self, readers: list[NodeProto]) -> None:
        for reader in readers:
            # A recurrent layer holds its matrix as a Gemm with `transB` does: outputs, inputs.
            self._turn(reader, MATRIX, rows=not _is_turned(reader))

    def _turn(self, node: NodeProto, index: int, *, rows: bool = False) -> None:
        """Gives a node a rotated constant, along its last axis or its rows.

        The constant itself is kept: others may read it unrotated (a tied decoder).
        """
        name = node.input[index]
        if (name, rows) not in self._turned:
            exact = self._work.constants[name].astype(np.float64)
            basis = spreading_basis(exact.shape[0 if rows else -1])
            turned = basis.T @ exact if rows else exact @ basis
            new = self._turned[name, rows] = self._work.fresh(f"{name}_spread")
            self._work.constants[new] = turned.astype(np.float32)
            self._work.spread.add(new)
        node.input[index] = self._turned[name, rows]


def _is_turned(node: NodeProto) -> bool:
    """Whether a product's matrix lies as (outputs, inputs), as a recurrent layer's does."""
    return node.op_type in OPERATORS or get_int(node, "transB", 0) != 0

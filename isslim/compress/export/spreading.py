"""Removes outliers of weights before rounding, where the function does not depend on the basis.

Rounding to 8 bits is as coarse as the largest number that shares a scale. Where only products with
constants read a value, both sides can be multiplied by a random orthogonal basis and its inverse:
the function is unchanged, and there are no outliers any more (QuIP, Chee et al. 2023,
https://arxiv.org/abs/2307.13304). This holds between an embedding and the layers that read it, and
between bottleneck and decoder.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import NodeProto

from isslim.compress.export.int8_forms import Form, Part
from isslim.compress.export.int8_graph import Int8Graph
from isslim.compress.export.int8_weights import spreading_basis
from isslim.compress.export.node_roles import NodeRole
from isslim.compress.onnx.model.recurrent import OPERATORS, W


def spread(work: Int8Graph, form: Form, role_of: Callable[[NodeProto], NodeRole]) -> None:
    """Rotates the basis between a table, or the bottleneck, and its readers; in place.

    Args:
        work: the graph; `work.spread` gets the names of the new constants.
        form: a table that stays float32 is not rounded, so it is left alone.
        role_of: returns the role of a node.
    """
    spreading = _Spreading(work)
    for node in list(work.graph.node):
        if work.is_lookup(node) and Part.EMBEDDING not in form.kept:
            spreading.table(node)
        elif role_of(node) is NodeRole.BOTTLENECK and node.op_type == "Gemm":
            spreading.bottleneck(node)


class _Spreading:
    """Rotates the bases of one graph; a constant that several nodes read is rotated once."""

    def __init__(self, work: Int8Graph) -> None:
        self._work = work
        self._turned: dict[tuple[str, bool], str] = {}

    def table(self, node: NodeProto) -> None:
        """A table of embeddings (V, E) and the W (D, G H, E) of every layer that reads its rows."""
        readers = list(self._work.readers_of(node.output[0]))
        # Another reader would get numbers in the wrong basis.
        if not readers or not all(self._is_layer(reader) for reader in readers):
            return
        self._turn(node, 0)
        for reader in readers:
            self._turn(reader, W)

    def bottleneck(self, node: NodeProto) -> None:
        """The bottleneck's matrix (K, H) and bias (K,), and the decoder's matrix (V, K)."""
        # Exporters write it with a single reader.
        (decoder,) = self._work.readers_of(node.output[0])
        self._turn(node, 1, rows=True)
        self._turn(node, 2)
        self._turn(decoder, 1)

    def _is_layer(self, node: NodeProto) -> bool:
        return node.op_type in OPERATORS and self._work.is_matrix(node, W)

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

"""Folds the BatchNormalization behind a convolution into its kernel and bias.

ONNX Runtime does the same with a float32 graph when it opens one; before weights are rounded it has
to be done here.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from isslim.compress.onnx.model.attributes import get_float, get_int
from isslim.compress.onnx.model.split_model import (
    SplitModel,
    given,
    graphs,
    nodes,
    replace,
    set_input,
)


def fold_batch_norms(parts: SplitModel) -> None:
    """Folds where nothing else reads the convolution; in place."""
    graph = parts.structure.graph
    reads = Counter(name for node in nodes(graph) for name in node.input)
    reads.update(port.name for each in graphs(graph) for port in each.output)
    convolutions = {node.output[0]: node for node in graph.node if node.op_type == "Conv"}
    kept = []
    for node in graph.node:
        before = convolutions.get(given(node, 0)) if _is_fixed(parts, node) else None
        if before is None or given(before, 1) not in parts.constants or reads[node.input[0]] > 1:
            kept.append(node)
            continue
        _fold(parts, before, node)
        before.output[0] = node.output[0]
    replace(graph.node, kept)


def _is_fixed(parts: SplitModel, node: NodeProto) -> bool:
    """Whether a node is a BatchNormalization whose statistics are constants."""
    return (
        node.op_type == "BatchNormalization"
        and not get_int(node, "training_mode", 0)
        and len(node.output) == 1
        and all(name in parts.constants for name in node.input[1:])
    )


def _fold(parts: SplitModel, convolution: NodeProto, norm: NodeProto) -> None:
    def constant(name: str) -> NDArray[np.float64]:
        return parts.constants[name].astype(np.float64)

    kernel = constant(convolution.input[1])
    scale, shift, mean, variance = map(constant, norm.input[1:])
    factor = scale / np.sqrt(variance + get_float(norm, "epsilon", 1e-5))
    name = given(convolution, 2)
    bias = constant(name) if name else np.zeros(len(kernel))
    # New names: other convolutions may read the same kernel.
    for place, array in (
        (1, kernel * factor.reshape(-1, *[1] * (kernel.ndim - 1))),
        (2, shift + (bias - mean) * factor),
    ):
        fresh = parts.fresh(f"{convolution.name}_{'kernel' if place == 1 else 'bias'}_folded")
        parts.constants[fresh] = array.astype(np.float32)
        set_input(convolution, place, fresh)

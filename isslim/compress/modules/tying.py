"""A parameter that an embedding and its decoder share, as one initialiser that both read.

The exporter transposes a decoder's matrix for a product with three dimensions; the transposed
matrix would be another constant, and so grow where the embedding shrinks. So that both shrink
together, as one matrix, the decoder reads the matrix as it is, by a Gemm on all steps at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from isslim.compress.onnx.model.split_model import replace


def read_untransposed(model: ModelProto, names: Sequence[str]) -> None:
    """Lets every product with one of some matrices read it as it is; in place.

    Args:
        model: with the matrices as initialisers (out, in).
        names: of the matrices.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for name in names:
        if name in weights:
            nodes = list(_untransposed(model, name, weights[name].dims))
            replace(model.graph.node, nodes)


def tie(model: ModelProto, shared: Sequence[Sequence[str]]) -> None:
    """Stores every shared parameter once, under its first name; in place.

    A further name is an Identity of the first.

    Args:
        model: with an initialiser for each name.
        shared: the names of each shared parameter.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for first, *others in shared:
        for name in others:
            if first in weights and name in weights:
                model.graph.initializer.remove(weights[name])
                tied = helper.make_node("Identity", [first], [name], name=f"/{name}")
                model.graph.node.insert(0, tied)


def _untransposed(model: ModelProto, name: str, shape: Sequence[int]) -> Iterator[NodeProto]:
    """The nodes of a graph, with a Gemm for every product with the transposed matrix.

    Args:
        model: shapes that the new nodes read are added to it.
        name: of the matrix (out, in).
        shape: of it.
    """
    turned = [
        node.output[0]
        for node in model.graph.node
        if node.op_type == "Transpose" and node.input[0] == name
    ]
    biased: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in turned:
            added = _added_bias(model, node.output[0], shape[0])
            biased |= {node.output[0]} if added else set()
            yield from _by_rows(model, node, name, shape, added)
        # Its bias is in the Gemm.
        elif not biased.intersection(node.input):
            yield node


def _added_bias(model: ModelProto, made: str, out: int) -> tuple[str, str] | None:
    """The bias (out,) that is all that happens to a product, and the name of the sum."""
    readers = [node for node in model.graph.node if made in node.input]
    if len(readers) != 1 or readers[0].op_type != "Add":
        return None
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    (bias,) = [each for each in readers[0].input if each != made] or [""]
    return (bias, readers[0].output[0]) if shapes.get(bias) == [out] else None


def _by_rows(
    model: ModelProto,
    product: NodeProto,
    name: str,
    shape: Sequence[int],
    added: tuple[str, str] | None,
) -> Iterator[NodeProto]:
    """X W^T + b of an x (..., in) as a Gemm of all its rows.

    Args:
        model: gets the shapes that are read.
        product: x W^T.
        name: of W.
        shape: of W (out, in).
        added: b, and the name of the sum; None: there is none.
    """
    out, width = shape
    bias, result = added or ("", product.output[0])

    def number(label: str, *values: int) -> str:
        made = f"{product.name}.{label}"
        model.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), made))
        return made

    def node(kind: str, label: str, *inputs: str, **attributes: Any) -> NodeProto:
        made = f"{product.name}.{label}"
        return helper.make_node(kind, list(filter(None, inputs)), [made], name=made, **attributes)

    rows = node("Reshape", "rows", product.input[0], number("flat", -1, width))
    made = node("Gemm", "made", rows.output[0], name, bias, transB=1)
    whole = node("Shape", "whole", product.input[0])
    bounds = number("from", 0), number("to", -1), number("axis", 0)
    front = node("Slice", "front", whole.output[0], *bounds)
    wanted = node("Concat", "wanted", front.output[0], number("outputs", out), axis=0)
    yield from (rows, made, whole, front, wanted)
    ends = [made.output[0], wanted.output[0]]
    yield helper.make_node("Reshape", ends, [result], name=product.name)

"""Rules for matrix products: where an axis ends in weights, or two activations are contracted.

A constant matrix that reads an axis is cut along it. Its output begins an axis of its own, which
matters where it meets a recurrent one. Two activations may be contracted over an axis (attention by
dot products) when a removed unit is zero in one of them, for then its term is zero too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import NodeProto

from isslim.compress.onnx.model.attributes import get_float, get_int
from isslim.compress.onnx.model.layouts import Block, Blocks, Dim, Layout, size
from isslim.compress.onnx.model.split_model import given
from isslim.compress.onnx.trace.edits import Channels, Product, key
from isslim.compress.onnx.trace.tracing import Rule, Trace
from isslim.compress.onnx.trace.types import Unfollowable


def matmul(trace: Trace, node: NodeProto) -> None:
    """Numpy's matmul."""
    left, right = node.input[:2]
    if trace.constant(right) and trace.parts.constants[right].ndim >= 2:
        _right(trace, node)
    elif trace.constant(left) and trace.parts.constants[left].ndim >= 2:
        _left(trace, node)
    else:
        _both(trace, node)


def gemm(trace: Trace, node: NodeProto) -> None:
    """Alpha A B + beta C of matrices, A and B turned if asked."""
    rows = trace.without_per_index_axes(trace.require_layout(node, 0))
    turned, flipped = bool(get_int(node, "transA", 0)), bool(get_int(node, "transB", 0))
    if turned:
        rows = rows.moved([1, 0])
    if not trace.constant(node.input[1]):
        if rows.axes() or trace.require_layout(node, 1).axes():
            raise Unfollowable("its matrix is not a constant")
        trace.set_layout(node, trace.default(node.output[0]))
        return
    matrix = trace.parts.constants[node.input[1]]
    reads, gives = (1, 0) if flipped else (0, 1)
    made = trace.new_axis(node, matrix.shape[gives])
    trace.index_constant(node, 1, {reads: rows.dims[1], gives: made})
    bias, scale = _gemm_bias(trace, node, made)
    blocks = (
        rows.dims[1] if isinstance(rows.dims[1], tuple) else (Block(None, matrix.shape[reads]),)
    )
    features = 0 if turned else 1
    trace.products.append(
        Product(
            key(node), 1, node.input[1], reads, gives, node.input[0], features, blocks, bias, scale
        )
    )
    trace.set_layout(node, Layout((rows.dims[0], _said(trace, node, made))))


def conv(trace: Trace, node: NodeProto) -> None:
    """A convolution reads the entries of dimension 1, all of them unless it has groups."""
    layout = trace.without_per_index_axes(trace.require_layout(node, 0))
    if max(layout.labelled(), default=0) > 1:
        raise Unfollowable("it slides over units")
    if not trace.constant(node.input[1]):
        raise Unfollowable("its kernel is not a constant")
    kernel = trace.parts.constants[node.input[1]]
    if get_int(node, "group", 1) != 1:
        _each_by_itself(trace, node, layout, kernel)
        return
    made = trace.new_axis(node, kernel.shape[0])
    trace.index_constant(node, 1, {0: made, 1: layout.dims[1]})
    name = given(node, 2)
    if name and not trace.constant(name):
        raise Unfollowable("its bias is not a constant")
    if name:
        trace.index_constant(node, 2, {0: made})
    if kernel[0, 0].size == 1 and isinstance(layout.dims[1], tuple):
        bias = name if name and trace.readers[name] == 1 else None
        trace.products.append(
            Product(key(node), 1, node.input[1], 1, 0, node.input[0], 1, layout.dims[1], bias)
        )
    known = trace.default(node.output[0])
    space: list[Dim] = [
        known.dims[index] if known else f"?{node.output[0]}:{index}"
        for index in range(2, layout.rank)
    ]
    trace.set_layout(node, Layout((layout.dims[0], made, *space)))


def _each_by_itself(trace: Trace, node: NodeProto, layout: Layout, kernel: np.ndarray) -> None:
    """A convolution with as many groups as entries of dimension 1: each entry is looked at by itself and stays what it is."""
    dim, known = layout.dims[1], trace.default(node.output[0])
    if not isinstance(dim, tuple):
        trace.set_layout(node, known)
        return
    if not get_int(node, "group", 1) == kernel.shape[0] == size(dim) or kernel.shape[1] != 1:
        raise Unfollowable("it has groups of several units")
    name = given(node, 2)
    if name and not trace.constant(name):
        raise Unfollowable("its bias is not a constant")
    for index in (1, 2) if name else (1,):
        trace.index_constant(node, index, {0: dim})
    trace.edits.append(Channels(key(node), dim))
    space: list[Dim] = [
        known.dims[index] if known else f"?{node.output[0]}:{index}"
        for index in range(2, layout.rank)
    ]
    own = tuple(
        replace(block, source=node.output[0], zero_preserving=True) for block in dim
    )  # its kernel and bias are zero too
    trace.set_layout(node, Layout((layout.dims[0], own, *space)))


def _right(trace: Trace, node: NodeProto) -> None:
    """An activation (..., K) times a constant (..., K, N)."""
    layout, matrix = trace.require_layout(node, 0), trace.parts.constants[node.input[1]]
    last = layout.rank - 1
    if layout.per_index and layout.per_index.along == last:
        layout = trace.without_per_index_axes(layout)
    extra = matrix.ndim - 2
    if any(isinstance(layout.dims[i], tuple) for i in range(max(0, last - 1 - extra), last - 1)):
        raise Unfollowable("it multiplies units with a stack of matrices")
    made = trace.new_axis(node, matrix.shape[-1])
    trace.index_constant(node, 1, {extra: layout.dims[last], extra + 1: made})
    dims = _batch(node, layout.dims[:-2], matrix.shape[:-2]) if extra else list(layout.dims[:-2])
    row = layout.dims[-2:-1]
    if not extra:
        read = layout.dims[last]
        blocks = read if isinstance(read, tuple) else (Block(None, matrix.shape[0]),)
        bias = _added_bias(trace, node, matrix.shape[1])
        trace.products.append(
            Product(key(node), 1, node.input[1], 0, 1, node.input[0], last, blocks, bias)
        )
    elif layout.per_index:
        layout = trace.without_per_index_axes(layout)
    trace.set_layout(node, Layout((*dims, *row, made), layout.per_index if not extra else None))


def _left(trace: Trace, node: NodeProto) -> None:
    """A constant (M, K) times an activation (..., K, N)."""
    layout, matrix = (
        trace.without_per_index_axes(trace.require_layout(node, 1)),
        trace.parts.constants[node.input[0]],
    )
    if matrix.ndim > 2:
        raise Unfollowable("it multiplies units with a stack of matrices")
    read = max(layout.rank - 2, 0)
    made = trace.new_axis(node, matrix.shape[0])
    trace.index_constant(node, 0, {0: made, 1: layout.dims[read]})
    dim = layout.dims[read]
    blocks = dim if isinstance(dim, tuple) else (Block(None, matrix.shape[1]),)
    trace.products.append(Product(key(node), 0, node.input[0], 1, 0, node.input[1], read, blocks))
    trace.set_layout(node, layout.with_dim(read, made))


def _both(trace: Trace, node: NodeProto) -> None:
    """Two activations; a vector on either side is a matrix of one row or column that is left out again."""
    one, other = (
        trace.without_per_index_axes(trace.require_layout(node, index)) for index in (0, 1)
    )
    if not one.axes() and not other.axes():
        trace.set_layout(node, trace.default(node.output[0]))
        return
    contracted = (one.rank - 1, max(other.rank - 2, 0))
    _contract(trace, node, one.dims[contracted[0]], other.dims[contracted[1]], contracted)
    rows = one.dims[-2:-1]
    columns = other.dims[-1:] if other.rank > 1 else ()
    batch, second = one.dims[:-2], other.dims[:-2]
    rank = max(len(batch), len(second))
    first_batch = (*(1,) * (rank - len(batch)), *batch)
    other_batch = (*(1,) * (rank - len(second)), *second)
    dims: list[Dim] = []
    for here, there in zip(first_batch, other_batch, strict=True):
        if isinstance(here, tuple) and isinstance(there, tuple):
            trace.unite(here, there)
        elif (isinstance(here, tuple) and there != 1) or (isinstance(there, tuple) and here != 1):
            raise Unfollowable("it multiplies units with a stack of matrices")
        dims.append(there if here == 1 else here)
    made = Layout((*dims, *rows, *columns))
    # A row or column of a silent unit stays zero, whatever it is multiplied with.
    trace.set_layout(node, made.marked(node.output[0], zero_preserving=True))


def _contract(
    trace: Trace, node: NodeProto, here: Dim, there: Dim, places: tuple[int, int]
) -> None:
    """Joins the axes over which two activations are multiplied and summed."""
    if not isinstance(here, tuple) and not isinstance(there, tuple):
        return
    if isinstance(here, tuple) and isinstance(there, tuple):
        here, there = trace.align_blocks([here, there])
        trace.unite(here, there)
        pairs = zip(here, there, strict=True)
        quiet = all(a.zero_preserving or b.zero_preserving for a, b in pairs if a.axis is not None)
    else:
        blocks: Blocks = here if isinstance(here, tuple) else there  # type: ignore[assignment]
        index = 1 if isinstance(here, tuple) else 0
        if trace.constant(node.input[index]):
            trace.index_constant(node, index, {places[index]: blocks})
        else:
            trace.gate_input(node, index, places[index], (blocks,))
        quiet = all(block.zero_preserving for block in blocks if block.axis is not None)
    if not quiet:
        raise Unfollowable("it sums over units that would still say something when silent")
    trace.summed += [dim for dim in (here, there) if isinstance(dim, tuple)]


def _batch(node: NodeProto, dims: tuple[Dim, ...], shape: tuple[int, ...]) -> list[Dim]:
    """Leading dimensions of a product with a stack of constant matrices."""
    rank = max(len(dims), len(shape))
    first, second = (*(1,) * (rank - len(dims)), *dims), (*(1,) * (rank - len(shape)), *shape)
    return [there if here == 1 else here for here, there in zip(first, second, strict=True)]


def _said(trace: Trace, node: NodeProto, made: Dim) -> Dim:
    """What a Gemm's rows begin: not silent when one number is added to all of them."""
    value = trace.value(given(node, 2)) if given(node, 2) else None
    spread = (
        value is not None and (value.ndim == 0 or value.shape[-1] != size(made)) and np.any(value)
    )
    return (
        tuple(replace(b, zero_preserving=not spread) for b in made)
        if isinstance(made, tuple)
        else made
    )


def _gemm_bias(trace: Trace, node: NodeProto, made: Dim) -> tuple[str | None, float]:
    """C if it is one number for each output and nothing else's, and what it is multiplied with."""
    name = given(node, 2)
    if not name:
        return None, 1.0
    if not trace.constant(name):
        raise Unfollowable("what it adds is not a constant")
    value = trace.parts.constants[name]
    if value.ndim == 0 or value.shape[-1] != size(made):
        return None, 1.0
    trace.index_constant(node, 2, {value.ndim - 1: made})
    alpha, beta = get_float(node, "alpha", 1.0), get_float(node, "beta", 1.0)
    alone = trace.readers[name] == 1 and value.size == size(made) and alpha and beta
    return (name, beta / alpha) if alone else (None, 1.0)


def _added_bias(trace: Trace, node: NodeProto, length: int) -> str | None:
    """The constant of an Add behind a MatMul, if it is a bias: one number for each output and nothing else's."""
    if trace.readers[node.output[0]] != 1:
        return None
    adds = [each for each in trace.consumers[node.output[0]] if each.op_type == "Add"]
    if len(adds) != 1:
        return None
    other = next((name for name in adds[0].input if name != node.output[0]), "")
    value = trace.value(other)
    if value is None or value.size != length or value.ndim == 0 or value.shape[-1] != length:
        return None
    return other if trace.readers[other] == 1 else None


RULES: dict[str, Rule] = {"MatMul": matmul, "Gemm": gemm, "Conv": conv}

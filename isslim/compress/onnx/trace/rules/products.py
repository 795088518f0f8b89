"""Rules for matrix products: where an axis ends in weights, or two activations are contracted.

A constant matrix that reads an axis is cut along it. Its output begins an axis of its own: channels
that may be removed where other matrices read them, or that meet units and go with those. Two
activations may be contracted over an axis (attention by dot products) when a removed unit is zero
in one of them, for then its term is zero too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from isslim.compress.onnx.model.attributes import get_float, get_int
from isslim.compress.onnx.model.layouts import Block, Blocks, Dim, Layout, size
from isslim.compress.onnx.trace.alignment import PARTS_DIFFER
from isslim.compress.onnx.trace.context import OTHER_SIZE, RuleContext
from isslim.compress.onnx.trace.edits import Product
from isslim.compress.onnx.trace.rule import rule
from isslim.compress.onnx.trace.rules.obstacles import STACK_OF_MATRICES, SUMS_NONZERO
from isslim.compress.onnx.trace.types import Unfollowable

MATRIX_NOT_CONSTANT = "its matrix is not a constant"
ADDED_NOT_CONSTANT = "what it adds is not a constant"

Dims = tuple[Dim, ...]


@rule("MatMul", obstacles=(STACK_OF_MATRICES, SUMS_NONZERO, PARTS_DIFFER, OTHER_SIZE))
def _matmul(context: RuleContext) -> None:
    """A constant matrix is cut along the units that it reads; activations are summed over them."""
    # A constant vector is contracted like an activation: it gives no outputs with an axis.
    if _is_matrix(context, 1):
        _times_constant(context)
    elif _is_matrix(context, 0):
        _constant_times(context)
    else:
        _two_activations(context)


@rule("Gemm", obstacles=(MATRIX_NOT_CONSTANT, ADDED_NOT_CONSTANT))
def _gemm(context: RuleContext) -> None:
    """Alpha A B + beta C of matrices, A and B possibly transposed: B is cut along what it reads."""
    # One matrix reads all rows, so there is no axis for each index.
    rows = context.plain_layout(0)
    transposed = bool(get_int(context.node, "transA", 0))
    if transposed:
        rows = rows.moved([1, 0])
    if not context.is_constant(1):
        # Which of the caller's rows belong to removed units he would have to know himself.
        if rows.axes() or context.require_layout(1).axes():
            raise Unfollowable(MATRIX_NOT_CONSTANT)
        context.set_default_layout()
        return
    matrix = context.constant(1)
    reads, gives = (1, 0) if get_int(context.node, "transB", 0) else (0, 1)
    made = context.new_axis(matrix.shape[gives])
    context.index_constant(1, {reads: rows.dims[1], gives: made})
    bias, scale = _gemm_bias(context, made)
    product = Product(
        node=context.key,
        index=1,
        matrix=context.input(1),
        reads=reads,
        gives=gives,
        activation=context.input(0),
        features=0 if transposed else 1,
        blocks=_read_blocks(rows.dims[1], matrix.shape[reads]),
        bias=bias,
        scale=scale,
    )
    context.note_product(product)
    context.set_layout(Layout((rows.dims[0], _gemm_output(context, made))))


def _is_matrix(context: RuleContext, index: int) -> bool:
    value = context.value(index)
    return value is not None and value.ndim >= 2


def _read_blocks(dim: Dim, length: int) -> Blocks:
    """What a matrix reads: blocks of units, or a fixed number of inputs."""
    return dim if isinstance(dim, tuple) else (Block(None, length),)


def _times_constant(context: RuleContext) -> None:
    """An activation (..., K) times a constant (..., K, N)."""
    layout, matrix = context.require_layout(0), context.constant(1)
    last = layout.rank - 1
    stacked = matrix.ndim - 2
    # One matrix reads all indices, so the units of all are one axis; in a stack every index of the
    # leading dimensions has a matrix of its own, and which belongs to which is not followed.
    if layout.per_index and (stacked or layout.per_index.along == last):
        layout = context.axes.without_per_index_axes(layout)
    # Leading dimensions of the activation that meet those of the stack; a vector has none.
    end = max(0, last - 1)
    over_stack = layout.dims[max(0, end - stacked) : end]
    if any(isinstance(dim, tuple) for dim in over_stack):
        raise Unfollowable(STACK_OF_MATRICES)
    made = context.new_axis(matrix.shape[-1])
    read = layout.dims[last]
    context.index_constant(1, {stacked: read, stacked + 1: made})
    # What a single matrix lost can be repaired by least squares; a stack is only cut.
    if not stacked:
        _note_product(context, layout, matrix)
    elif isinstance(read, tuple):
        context.note_sum(read)
    batch = _broadcast_batch(layout.dims[:-2], matrix.shape[:-2])
    row = layout.dims[-2:-1]  # none of a vector
    context.set_layout(Layout((*batch, *row, made), layout.per_index))


def _note_product(context: RuleContext, layout: Layout, matrix: np.ndarray) -> None:
    """Notes an activation (..., K) times a constant matrix (K, N)."""
    inputs, outputs = matrix.shape
    product = Product(
        node=context.key,
        index=1,
        matrix=context.input(1),
        reads=0,
        gives=1,
        activation=context.input(0),
        features=layout.rank - 1,
        blocks=_read_blocks(layout.dims[-1], inputs),
        bias=_added_bias(context, outputs),
    )
    context.note_product(product)


def _constant_times(context: RuleContext) -> None:
    """A constant (M, K) times an activation (..., K, N)."""
    layout, matrix = context.plain_layout(1), context.constant(0)
    if matrix.ndim > 2:
        raise Unfollowable(STACK_OF_MATRICES)
    # A vector (K) is a matrix of one column that is left out again.
    read = max(layout.rank - 2, 0)
    made = context.new_axis(matrix.shape[0])
    context.index_constant(0, {0: made, 1: layout.dims[read]})
    product = Product(
        node=context.key,
        index=0,
        matrix=context.input(0),
        reads=1,
        gives=0,
        activation=context.input(1),
        features=read,
        blocks=_read_blocks(layout.dims[read], matrix.shape[1]),
    )
    context.note_product(product)
    context.set_layout(layout.with_dim(read, made))


def _two_activations(context: RuleContext) -> None:
    """Two activations (..., M, K) and (..., K, N).

    A vector on either side is a matrix of one row or column that is left out again.
    """
    one, other = context.plain_layout(0), context.plain_layout(1)
    if not one.axes() and not other.axes():
        context.set_default_layout()
        return
    last, row = one.rank - 1, max(other.rank - 2, 0)
    _contract(context, (one, last), (other, row))
    batch = _united_batch(context, one.dims[:-2], other.dims[:-2])
    rows = one.dims[-2:-1]
    columns = other.dims[-1:] if other.rank > 1 else ()
    made = Layout((*batch, *rows, *columns))
    # A row or column of a removed unit is zero, and stays so whatever it is multiplied with.
    context.set_layout(made.marked(context.output, zero_preserving=True))


def _united_batch(context: RuleContext, one: Dims, other: Dims) -> list[Dim]:
    """Leading dimensions of a product of two activations, with units on both sides united."""
    dims: list[Dim] = []
    for here, there in _broadcast_pairs(one, other):
        if isinstance(here, tuple) and isinstance(there, tuple):
            context.axes.unite(here, there)
        # One matrix for all may meet units; one for each would have to lose some too.
        elif _meets_several(here, there) or _meets_several(there, here):
            raise Unfollowable(STACK_OF_MATRICES)
        dims.append(there if here == 1 else here)
    return dims


def _meets_several(dim: Dim, other: Dim) -> bool:
    """Whether units meet as many numbers that are no units."""
    return isinstance(dim, tuple) and other != 1


def _contract(context: RuleContext, one: tuple[Layout, int], other: tuple[Layout, int]) -> None:
    """Joins the axes over which two activations are multiplied and summed.

    Args:
        context: takes the edits.
        one: the first, and the position of the dimension.
        other: the second, and the position of the dimension.
    """
    sides = [layout.dims[position] for layout, position in (one, other)]
    summed = [dim for dim in sides if isinstance(dim, tuple)]
    if not summed:
        return
    if len(summed) == 2:
        summed = context.axes.align_blocks(summed)
        context.axes.unite(summed[0], summed[1])
    else:
        # The side without units must lose the same entries.
        index = 1 if isinstance(sides[0], tuple) else 0
        position = (one, other)[index][1]
        if context.is_constant(index):
            context.index_constant(index, {position: summed[0]})
        else:
            context.gate_input(index, position, (summed[0],))
    for same_place in zip(*summed, strict=True):
        # One zero factor makes the term of a removed unit zero, as it is in the cut graph.
        zero = any(block.zero_preserving for block in same_place)
        if same_place[0].axis is not None and not zero:
            raise Unfollowable(SUMS_NONZERO)
    # Units that are read by no weight are read all the same.
    for blocks in summed:
        context.note_sum(blocks)


def _broadcast_pairs(one: Dims, other: Dims) -> list[tuple[Dim, Dim]]:
    """Leading dimensions at the same places, the shorter ones with 1 in front."""
    rank = max(len(one), len(other))
    first, second = _in_front(one, rank), _in_front(other, rank)
    return list(zip(first, second, strict=True))


def _in_front(dims: Dims, rank: int) -> Dims:
    return (1,) * (rank - len(dims)) + dims


def _broadcast_batch(dims: Dims, shape: Dims) -> list[Dim]:
    """Leading dimensions of a product with a stack of constant matrices."""
    return [there if here == 1 else here for here, there in _broadcast_pairs(dims, shape)]


def _gemm_output(context: RuleContext, made: Dim) -> Dim:
    """What a Gemm's outputs begin: not zero when one number is added to all of them."""
    value = context.value(2) if context.input(2) else None
    if value is None or not isinstance(made, tuple):
        return made
    # A bias for each output goes with the output; one number for all is added to removed ones too.
    for_each = value.ndim > 0 and value.shape[-1] == size(made)
    zero = for_each or not np.any(value)
    return tuple(replace(block, zero_preserving=zero) for block in made)


def _gemm_bias(context: RuleContext, made: Dim) -> tuple[str | None, float]:
    """C if it is one number for each output and nothing else's, and what it is multiplied with."""
    name = context.input(2)
    if not name:
        return None, 1.0
    if not context.graph.is_constant(name):
        raise Unfollowable(ADDED_NOT_CONSTANT)
    value = context.constant(2)
    # One number for all outputs, or for each row, is no bias of an output.
    if value.ndim == 0 or value.shape[-1] != size(made):
        return None, 1.0
    context.index_constant(2, {value.ndim - 1: made})
    alpha = get_float(context.node, "alpha", 1.0)
    beta = get_float(context.node, "beta", 1.0)
    # A bias may be repaired: not one with rows of its own, nor one that another node reads too.
    alone = context.graph.readers[name] == 1 and value.size == size(made)
    # The other way round it would have to be divided by them.
    if not alone or not alpha or not beta:
        return None, 1.0
    return name, beta / alpha


def _added_bias(context: RuleContext, length: int) -> str | None:
    """The constant of an Add behind a MatMul, if it is a bias.

    Args:
        context: says who reads what.
        length: numbers of its output.

    Returns:
        Its name if it is one number for each output and nothing else reads it or the product.
    """
    made = context.output
    # Another reader of the product would not see the bias, nor what repair makes of it.
    if context.graph.readers[made] != 1:
        return None
    readers = context.graph.consumers.get(made, ())
    adds = [each for each in readers if each.op_type == "Add"]
    if len(adds) != 1:
        return None
    other = next((name for name in adds[0].input if name != made), "")
    value = context.graph.value(other)
    if value is None or value.size != length or value.shape[-1:] != (length,):
        return None
    return other if context.graph.readers[other] == 1 else None

"""Writes a graph at other sizes: constants from arrays, and every number that encodes a size."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from onnx import ModelProto

from isslim.compress.onnx.model.split_model import SplitModel, merge_constants
from isslim.compress.onnx.rewrite.named_arrays import Meaning
from isslim.compress.onnx.rewrite.narrow_layers import insert_products
from isslim.compress.onnx.rewrite.rewrite_shapes import resize
from isslim.compress.onnx.rewrite.sizes import Sizes
from isslim.compress.onnx.rewrite.write_weights import write_weights
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.compress.pruning.axes import Array, Arrays


def write(
    trace: AxisFacts,
    meaning: Meaning,
    arrays: Arrays,
    constants: Mapping[str, Array] = MappingProxyType({}),
    *,
    keep_state_shapes: bool = True,
) -> ModelProto:
    """Writes the graph with the sizes and values of `arrays`.

    Args:
        trace: the graph at full size.
        meaning: what its arrays mean, with the narrow layers among them, whose biases are zero.
        arrays: as `declare` gives them, of any sizes.
        constants: other values of constants that are none of the arrays, by name.
        keep_state_shapes: whether states of the caller keep their sizes; if not, those that are
            inputs and outputs of the graph as they are have the sizes of their layers. Stacks and
            parts of larger tensors keep them anyway.
    """
    # The trace and its model are not changed: other sizes may be written from them.
    structure = ModelProto()
    structure.CopyFrom(trace.parts.structure)
    parts = SplitModel(structure, {**trace.parts.constants, **constants})
    sizes = Sizes.of(trace.pool, meaning, arrays)
    write_weights(parts, trace, meaning, arrays, sizes)
    resize(parts, trace, arrays, sizes, keep_state_shapes=keep_state_shapes)
    # Last: what an operator reads may have been selected from a larger tensor.
    insert_products(parts, meaning)
    return merge_constants(parts)

"""Shapes of all values by ONNX's own shape inference, without the weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
from onnx import ModelProto, ValueInfoProto, helper, numpy_helper

from isslim.compress.errors import GraphNotUnderstood
from isslim.compress.onnx.model.layouts import Layout
from isslim.compress.onnx.model.split_model import SplitModel, graphs

_SMALL = 1024
"""Most entries of a constant that may be a shape, an axis or a bound, whose value matters to
inference."""


SAMPLE = 3
"""What stands for a size that is not fixed."""


@dataclass(frozen=True)
class Sized:
    """A tensor of numbers whose rank is known.

    Attributes:
        dims: sizes, or names of those that are not fixed.
        dtype: of its numbers.
    """

    dims: tuple[int | str, ...]
    dtype: np.dtype[np.generic]

    @property
    def is_fixed(self) -> bool:
        """Whether all of its sizes are known."""
        return all(isinstance(dim, int) for dim in self.dims)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes, with `SAMPLE` for those that are not fixed."""
        return tuple(dim if isinstance(dim, int) else SAMPLE for dim in self.dims)

    @property
    def size(self) -> int:
        """Number of its numbers, in that shape."""
        return prod(self.shape)


def inferred_shapes(parts: SplitModel) -> dict[str, Layout]:
    """The layout without axes of every value whose rank is known.

    Raises:
        GraphNotUnderstood: when types or sizes in the graph contradict each other.
    """
    found = {port.name: _layout(port) for port in _inferred(parts)}
    return {name: layout for name, layout in found.items() if layout is not None}


def sized_tensors(parts: SplitModel) -> dict[str, Sized]:
    """The tensors whose ranks are known."""
    found = {}
    for port in _inferred(parts):
        layout, kind = _layout(port), port.type.tensor_type.elem_type
        if layout is not None and kind:
            dims = tuple(dim for dim in layout.dims if isinstance(dim, int | str))
            found[port.name] = Sized(dims, np.dtype(helper.tensor_dtype_to_np_dtype(kind)))
    return found


def _inferred(parts: SplitModel) -> Iterator[ValueInfoProto]:
    """Every value that inference knows something of.

    A constant that may be a shape is passed to the inference with its value; a large one (a weight)
    only with its shape, like an input, since inference would copy the numbers several times.
    """
    model = ModelProto()
    model.CopyFrom(parts.structure)
    # Shapes recorded in the file may be out of date, and inference would rely on them. The runtime
    # holds callers to those of inputs; of those of outputs it only warns, and so their ranks are
    # kept alone.
    for graph in graphs(model.graph):
        del graph.value_info[:]
        for port in graph.output:
            for dim in port.type.tensor_type.shape.dim:
                dim.Clear()
        # Inference does not see the constants of outer graphs: each graph gets those that it
        # reads.
        read = {name for node in graph.node for name in node.input}
        for name in sorted(read & parts.constants.keys()):
            value = parts.constants[name]
            # Texts are no shapes.
            if value.dtype != object and value.size <= _SMALL:
                graph.initializer.append(numpy_helper.from_array(value, name))
    for name, value in parts.constants.items():
        if value.dtype != object and value.size > _SMALL:
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
            model.graph.input.append(helper.make_tensor_value_info(name, kind, value.shape))
    for graph in graphs(with_shapes(model, numbers=True).graph):
        yield from (*graph.input, *graph.value_info, *graph.output)


def with_shapes(model: ModelProto, *, numbers: bool = False) -> ModelProto:
    """A copy of a model with the types and shapes that ONNX infers.

    Args:
        model: a graph, of anybody.
        numbers: whether those of shapes that are computed are followed.

    Raises:
        GraphNotUnderstood: when they contradict one another, or a type is none.
    """
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=numbers)
    # The first is a class of a library in C++; the second is raised there for types that are none.
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        told = next(iter(str(error).splitlines()), "")
        raise GraphNotUnderstood(
            f"types or sizes in the graph do not fit each other: {told}"
        ) from error


def _layout(port: ValueInfoProto) -> Layout | None:
    if not port.type.HasField("tensor_type") or not port.type.tensor_type.HasField("shape"):
        return None
    dims: list[int | str] = []
    for index, dim in enumerate(port.type.tensor_type.shape.dim):
        # An unknown size gets a unique name: it equals only itself.
        unknown = dim.dim_param or f"?{port.name}:{index}"
        dims.append(int(dim.dim_value) if dim.HasField("dim_value") else unknown)
    return Layout(tuple(dims))

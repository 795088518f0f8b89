"""What exporters of all kinds share: a graph without its weights, and the names that tell its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx
from onnx import GraphProto, ValueInfoProto, helper
from torch import Tensor

from isslim.compress.export.streaming import Floats

OPSET = 18


IR_VERSION = 9


FLOAT32 = "float32"
"""What the names of nodes begin with whose weights are never quantized (`quantize`)."""


BOTTLENECK = "bottleneck"
"""The layer before the decoder: its product and its matrix."""


FLATTENING = "flattening"
"""What the names of nodes begin with that are there because a Gemm is of two dimensions
(`quantize`)."""


DECODER, HIGHWAY = "decoder", "highway_layer"
"""What the names of products with these parts' weights hold: by them `quantize` tells which parts
took 8 bits."""


@dataclass(frozen=True)
class GraphBlueprint:
    """A network as a graph to be written.

    Attributes:
        structure: the model without its weights.
        weights: gives its initializers by name, one at a time.
    """

    structure: onnx.ModelProto
    weights: Callable[[], Iterator[tuple[str, Floats]]]


def model_of(graph: GraphProto) -> onnx.ModelProto:
    """A graph as a model of the operators' version that all exporters share."""
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )


def array(parameter: Tensor) -> Floats:
    """A parameter as float32."""
    result: Floats = parameter.detach().cpu().float().numpy()
    return result


def port(name: str, kind: int, shape: list[int | str]) -> ValueInfoProto:
    """An input or output; a name in `shape` is a free dimension."""
    return helper.make_tensor_value_info(name, kind, shape)

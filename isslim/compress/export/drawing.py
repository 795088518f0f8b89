"""What exporters of all kinds share: a graph without its weights, and the versions it is of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx
from onnx import GraphProto, ValueInfoProto, helper
from torch import Tensor

from isslim.compress.export.streaming import Floats

OPSET, IR_VERSION = 18, 9
"""Versions of the standard operators and of the file format that every exported graph is of."""


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
    # bfloat16 has no NumPy type, and files are in float32 whatever was trained in.
    result: Floats = parameter.detach().cpu().float().numpy()
    return result


def port(name: str, kind: int, shape: list[int | str]) -> ValueInfoProto:
    """An input or output of a graph.

    Args:
        name: what it is called.
        kind: its type, a `TensorProto.DataType`.
        shape: per dimension its size, or a name where it is free.
    """
    return helper.make_tensor_value_info(name, kind, shape)

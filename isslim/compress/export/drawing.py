"""Shared by all exporters: a graph without its weights, and the versions of its format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx
from onnx import GraphProto, ValueInfoProto, helper
from torch import Tensor

from isslim.compress.export.streaming import Floats
from isslim.compress.onnx.model.naming import name_nodes

OPSET, IR_VERSION = 18, 9
"""Versions of the standard operators and of the file format of every exported graph."""


@dataclass(frozen=True)
class GraphBlueprint:
    """A network as a graph, ready to be written.

    Attributes:
        structure: the model without its weights.
        weights: yields its initializers by name, one at a time.
    """

    structure: onnx.ModelProto
    weights: Callable[[], Iterator[tuple[str, Floats]]]


def model_of(graph: GraphProto) -> onnx.ModelProto:
    """A graph as a model of the operator version that all exporters share; its nodes are named."""
    name_nodes(graph)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )


def array(parameter: Tensor) -> Floats:
    """A parameter as float32."""
    # bfloat16 has no NumPy type, and files are in float32 whatever the training used.
    result: Floats = parameter.detach().cpu().float().numpy()
    return result


def port(name: str, kind: int, shape: list[int | str]) -> ValueInfoProto:
    """An input or output of a graph.

    Args:
        name: its name.
        kind: its type, a `TensorProto.DataType`.
        shape: the size of each dimension, or a name where it is free.
    """
    return helper.make_tensor_value_info(name, kind, shape)

"""Loops that are almost a cell, for tests of what is left alone."""

from __future__ import annotations

from collections.abc import Callable

from onnx import ModelProto, NodeProto

from isslim.compress.onnx.model.attributes import subgraphs
from isslim.compress.onnx.model.shapes import inferred_shapes
from isslim.compress.onnx.model.split_model import SplitModel, split_constants
from isslim.compress.onnx.normalise.cells.invariants import read_from_outside
from isslim.compress.onnx.normalise.cells.recognition import FoundLayer, recognised
from isslim.compress.onnx.normalise.folding import fold_known
from isslim.compress.onnx.normalise.normal_form import zero_values
from tests.compress.onnx.normalise.cells.keras_loops import KerasLayer

Change = Callable[[SplitModel, NodeProto], None]


def loop_of(parts: SplitModel) -> NodeProto:
    """The one Loop of a model."""
    (loop,) = (node for node in parts.structure.graph.node if node.op_type == "Loop")
    return loop


def read(layer: KerasLayer, change: Change | None = None) -> FoundLayer:
    """What is recognised in a layer's Loop, changed before."""
    model: ModelProto = layer.model()
    parts = split_constants(model)
    read_from_outside(parts)
    fold_known(parts)
    if change is not None:
        change(parts, loop_of(parts))
    loop = loop_of(parts)
    return recognised(parts, loop, inferred_shapes(parts), zero_values(parts))


def inner(loop: NodeProto, operator: str, place: int = 0) -> NodeProto:
    """One of the nodes of a Loop's body, by its operator."""
    return [node for node in subgraphs(loop)[0].node if node.op_type == operator][place]

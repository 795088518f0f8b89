"""Nodes that replace others have new names and the form of the opset."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, helper

from isslim.compress.onnx.model.node_writer import NodeWriter
from isslim.compress.onnx.model.split_model import SplitModel


def parts(opset: int) -> SplitModel:
    model = ModelProto(opset_import=[helper.make_opsetid("", opset)])
    model.graph.node.append(helper.make_node("Relu", ["x"], ["new.0"]))
    return SplitModel(model, {"x.axes": np.zeros(1)})


@pytest.mark.parametrize("opset", [12, 13])
def test_axes_are_an_attribute_before_opset_13_and_an_input_since(opset: int) -> None:
    model = parts(opset)
    writer = NodeWriter(model, "new")
    made = writer.with_axes("Squeeze", "x", [1])
    (node,) = writer.nodes
    assert list(node.output) == [made] == ["new.0_1"]
    if opset < 13:
        assert [list(each.ints) for each in node.attribute] == [[1]]
    else:
        assert node.input[1] == "x.axes_1"
        assert model.constants["x.axes_1"].tolist() == [1]

"""Operators are written for the opset, with the attributes that they need and no others."""

from __future__ import annotations

import pytest
from onnx import NodeProto, helper

from isslim.compress.onnx.model.shapes import inferred_shapes
from isslim.compress.onnx.model.split_model import split_constants
from isslim.compress.onnx.normalise.cells.forms import NotACell
from isslim.compress.onnx.normalise.cells.invariants import read_from_outside
from isslim.compress.onnx.normalise.cells.layers import write_layer
from isslim.compress.onnx.normalise.cells.recognition import recognised
from isslim.compress.onnx.normalise.normal_form import zero_values
from tests.compress.onnx.normalise.cells.keras_loops import KerasLayer
from tests.compress.onnx.normalise.cells.loops import loop_of


def attributes(layer: KerasLayer) -> dict[str, object]:
    parts = split_constants(layer.model())
    read_from_outside(parts)
    loop = loop_of(parts)
    found = recognised(parts, loop, inferred_shapes(parts), zero_values(parts))
    written: list[NodeProto] = write_layer(parts, loop, found)
    (node,) = (each for each in written if each.op_type == layer.kind)
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def test_default_activations_are_not_named() -> None:
    assert attributes(KerasLayer("LSTM")) == {"hidden_size": 6}


def test_activations_have_the_numbers_that_they_take() -> None:
    layer = KerasLayer("LSTM", gates="hard_sigmoid", activation="LeakyRelu")
    assert attributes(layer) == {
        "hidden_size": 6,
        "activations": [b"HardSigmoid", b"LeakyRelu", b"LeakyRelu"],
        "activation_alpha": pytest.approx([1, 0.01, 0.01]),
        "activation_beta": [0],
    }


def test_a_mask_is_left_where_the_opset_is_too_old_for_it() -> None:
    parts = split_constants(KerasLayer("LSTM", mask=True).model())
    read_from_outside(parts)
    (loop,) = (node for node in parts.structure.graph.node if node.op_type == "Loop")
    found = recognised(parts, loop, inferred_shapes(parts), zero_values(parts))
    assert write_layer(parts, loop, found)
    parts.structure.opset_import[0].version = 10
    with pytest.raises(NotACell, match="its mask takes opset 11, the graph has 10"):
        write_layer(parts, loop, found)

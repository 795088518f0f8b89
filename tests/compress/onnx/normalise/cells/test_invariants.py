"""What a Loop only hands on is read from around it; what it computes stays."""

from __future__ import annotations

import numpy as np

from isslim.compress.onnx.model.attributes import subgraphs
from isslim.compress.onnx.model.split_model import merge_constants, split_constants
from isslim.compress.onnx.normalise.cells.invariants import read_from_outside
from tests.compress.onnx.normalise.cells.keras_loops import KerasLayer
from tests.compress.onnx.proving import run


def test_weights_and_sizes_are_no_longer_carried() -> None:
    layer = KerasLayer("LSTM", mask=True)
    model = layer.model()
    parts = split_constants(model)
    read_from_outside(parts)
    (loop,) = (node for node in parts.structure.graph.node if node.op_type == "Loop")
    # The count, the condition, the step, what was shown, h and c.
    assert len(loop.input) == 6
    assert len(subgraphs(loop)[0].input) == 6
    assert len(loop.output) == 5
    expected = run(model, layer.feeds())["y"]
    np.testing.assert_array_equal(run(merge_constants(parts), layer.feeds())["y"], expected)


def test_an_invariant_that_is_read_behind_the_loop_is_what_went_in() -> None:
    layer = KerasLayer("RNN")
    model = layer.model()
    (loop,) = (node for node in model.graph.node if node.op_type == "Loop")
    carried, handed = loop.input[-1], loop.output[len(loop.input) - 3]
    port = model.graph.output.add()
    port.CopyFrom(model.graph.output[0])
    port.name = handed
    port.type.tensor_type.ClearField("shape")
    parts = split_constants(model)
    read_from_outside(parts)
    given = run(merge_constants(parts), layer.feeds())[handed]
    np.testing.assert_array_equal(given, layer.outer.constants[carried])

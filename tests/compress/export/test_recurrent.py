"""Torch's layers as ONNX's operators give what torch gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import nn

from isslim.compress.export.drawing import array, model_of, port
from isslim.compress.export.recurrent import OPERATORS, operator_weights
from isslim.compress.layers.recurrent import PARAMETERS
from tests.compress.onnx.proving import run

STEPS, BATCH, INPUTS, UNITS = 4, 3, 5, 6


def exported(layer: nn.Module, cell: str) -> ModelProto:
    operator = OPERATORS[cell]
    parameters = [array(layer.get_parameter(name)) for name in PARAMETERS]
    weights = dict(operator_weights(parameters, operator, "7"))
    assert list(weights) == ["input_weight_7", "recurrent_weight_7", "bias_7"]
    gates = len(operator.gates)
    assert [each.shape for each in weights.values()] == [
        (1, gates * UNITS, INPUTS),
        (1, gates * UNITS, UNITS),
        (1, 2 * gates * UNITS),
    ]
    node = helper.make_node(
        operator.name, ["x", *weights, "", *operator.states], ["y"],
        hidden_size=UNITS, **operator.attributes,
    )  # fmt: skip
    states = [port(name, TensorProto.FLOAT, [1, "B", UNITS]) for name in operator.states]
    ports = [port("x", TensorProto.FLOAT, ["T", "B", INPUTS]), *states]
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    out = [port("y", TensorProto.FLOAT, ["T", 1, "B", UNITS])]
    return model_of(helper.make_graph([node], "g", ports, out, tensors))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_layer_gives_what_torch_gives_from_any_state(cell: str) -> None:
    torch.manual_seed(0)
    layer = (nn.LSTM if cell == "lstm" else nn.GRU)(INPUTS, UNITS)
    feeds = {"x": np.random.default_rng(0).normal(size=(STEPS, BATCH, INPUTS)).astype(np.float32)}
    for index, name in enumerate(OPERATORS[cell].states):
        shape = (1, BATCH, UNITS)
        feeds[name] = np.random.default_rng(index + 1).normal(size=shape).astype(np.float32)
    states = tuple(torch.from_numpy(feeds[name]) for name in OPERATORS[cell].states)
    with torch.no_grad():
        expected, _ = layer(torch.from_numpy(feeds["x"]), states if cell == "lstm" else states[0])
    found = run(exported(layer, cell), feeds)["y"][:, 0]
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)

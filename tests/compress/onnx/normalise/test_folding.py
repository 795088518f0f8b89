"""What a graph computes from constants becomes constants, and a fold changes no output."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from isslim.compress.onnx.model.split_model import split_constants
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import assert_cut_equals_silenced, run


def computed_weights(opset: int) -> tuple[Builder, ModelProto]:
    """W, R and B of an LSTM computed from torch's order of the gates, as torch's dynamo exporter does."""
    b = Builder(opset)
    units, width = 4, 3
    arranged = []
    for shape in ((4 * units, width), (4 * units, units), (4 * units,), (4 * units,)):
        pieces = b.split(b.weights(*shape), [units] * 4, 0)
        arranged.append(b.node("Concat", [pieces[i] for i in (0, 3, 1, 2)], axis=0))
    biases = b.node("Concat", arranged[2:], axis=0)
    weights = [b.unsqueeze(each, 0) for each in (*arranged[:2], biases)]
    layer = helper.make_node(
        "LSTM",
        [b.floats("x", (STEPS, BATCH, width), ["T", "B", width]), *weights],
        ["a"],
        hidden_size=units,
    )
    b.nodes.append(layer)
    b.output(b.node("MatMul", [b.squeeze("a", 1), b.weights(units, 2)]), "y", ["T", "B", 2])
    return b, b.model()


@pytest.mark.parametrize("opset", [11, 13, 21])
def test_weights_that_are_computed_in_the_graph_become_constants(opset: int) -> None:
    b, model = computed_weights(opset)
    folded = simplified(model)
    assert [node.op_type for node in folded.graph.node] == ["LSTM", "Squeeze", "MatMul", "Identity"]
    np.testing.assert_allclose(
        run(folded, b.feeds)["y"], run(model, b.feeds)["y"], rtol=1e-6, atol=1e-6
    )
    assert assert_cut_equals_silenced(folded, b.feeds).declaration().axes


def test_nothing_grows_into_a_constant_much_larger_than_what_it_is_made_of() -> None:
    b = Builder()
    outputs = b.recurrent("LSTM", b.floats("x", (STEPS, BATCH, 3), ["T", "B", 3]), 3, 4)
    bomb = b.node("ConstantOfShape", [b.constant([1 << 20, 1 << 10])])
    tiled = b.node("Tile", [b.constant([[1.0]], np.float32), b.constant([1 << 15, 1 << 15])])
    stretched = b.node("Add", [b.weights(1 << 15, 1), b.weights(1, 1 << 15)])
    for index, each in enumerate((bomb, tiled, stretched)):
        b.output(b.node("Shape", [each]), f"size{index}", [2], TensorProto.INT64)
    b.output(b.node("MatMul", [b.squeeze(outputs[0], 1), b.weights(4, 2)]), "y", ["T", "B", 2])
    folded = simplified(b.model())
    assert sum(np.prod(tensor.dims) for tensor in folded.graph.initializer) < 1 << 17


def test_weights_that_two_layers_compute_from_the_same_are_one_constant_and_one_axis() -> None:
    b = Builder()
    x, flat = b.floats("x", (STEPS, BATCH, 3), ["T", "B", 3]), [b.weights(16, 3), b.weights(16, 4)]
    weights, twins = ([b.unsqueeze(name, 0) for name in flat] for _ in range(2))
    turned = b.node("Neg", [x])
    for value, names, made in ((x, weights, "a"), (turned, twins, "b")):
        b.nodes.append(
            helper.make_node("LSTM", [value, *names], [made], hidden_size=4, name=f"lstm_{made}")
        )
    both = b.node("Concat", [b.squeeze("a", 1), b.squeeze("b", 1)], axis=-1)
    b.output(b.node("MatMul", [both, b.weights(8, 2)]), "y", ["T", "B", 2])
    network = assert_cut_equals_silenced(simplified(b.model()), b.feeds)
    (axis,) = network.report()
    assert axis.layers == ("units:lstm_a.forward", "units:lstm_b.forward")


def test_branches_with_the_same_names_inside_are_told_apart() -> None:
    def branch(value: float) -> object:
        one = helper.make_node("Constant", [], ["same"], value_float=value)
        return helper.make_graph(
            [one, helper.make_node("Mul", ["z", "same"], ["given"])], "branch", [],
            [helper.make_tensor_value_info("given", TensorProto.FLOAT, None)],
        )  # fmt: skip

    b = Builder()
    outputs = b.recurrent("LSTM", b.floats("x", (STEPS, BATCH, 3), ["T", "B", 3]), 3, 4)
    b.node("Identity", [b.squeeze(outputs[0], 1)], ["z"])
    flag = b.input("flag", np.array(True), [])
    b.node("If", [flag], ["chosen"], then_branch=branch(2.0), else_branch=branch(3.0))
    b.output(b.node("MatMul", ["chosen", b.weights(4, 2)]), "y", ["T", "B", 2])
    model = b.model()
    parts = split_constants(model)
    assert {float(value) for name, value in parts.constants.items() if name.startswith("same")} == {
        2.0,
        3.0,
    }
    for chosen in (True, False):
        feeds = {**b.feeds, "flag": np.array(chosen)}
        network = assert_cut_equals_silenced(simplified(model), feeds)
        assert list(network.declaration().axes) == ["units:lstm_0.forward"]


def test_initializers_that_old_files_list_as_inputs_are_no_inputs() -> None:
    b = Builder(opset=9)
    b.recurrent(
        "LSTM", b.floats("x", (STEPS, BATCH, 3), ["T", "B", 3]), 3, 4, outputs=["a", "h", "c"]
    )
    b.nodes.append(helper.make_node("Squeeze", ["a"], ["s"], axes=[1]))
    b.output(b.node("MatMul", ["s", b.weights(4, 2)]), "y", ["T", "B", 2])
    model = b.model()
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    folded = simplified(model)
    assert [port.name for port in folded.graph.input] == ["x"]
    assert GraphNetwork.from_model(folded).declaration().axes == {"units:lstm_0.forward": 4}
    assert_cut_equals_silenced(folded, b.feeds)


def test_a_layer_that_leaves_its_number_of_units_to_its_matrix_is_understood() -> None:
    b = Builder()
    outputs = b.recurrent("GRU", b.floats("x", (STEPS, BATCH, 3), ["T", "B", 3]), 3, 4)
    b.output(b.node("MatMul", [b.squeeze(outputs[0], 1), b.weights(4, 2)]), "y", ["T", "B", 2])
    model = b.model()
    layer = next(node for node in model.graph.node if node.op_type == "GRU")
    del layer.attribute[[each.name for each in layer.attribute].index("hidden_size")]
    assert GraphNetwork.from_model(simplified(model)).declaration().axes == {
        "units:gru_0.forward": 4
    }

"""What a graph computes from constants becomes constants, and a fold changes no output."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from isslim.compress.onnx.model.split_model import merge_constants, split_constants
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.folding import fold, fold_known
from isslim.compress.onnx.normalise.onnx_reader import simplified
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import assert_cut_equals_masked, run


def computed_weights(opset: int) -> tuple[Builder, ModelProto]:
    """W, R and B of an LSTM computed from torch's order of the gates, as torch's exporter does."""
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
    assert assert_cut_equals_masked(folded, b.feeds).declaration().axes


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
    network = assert_cut_equals_masked(simplified(b.model()), b.feeds)
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
        network = assert_cut_equals_masked(simplified(model), feeds)
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
    assert_cut_equals_masked(folded, b.feeds)


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


def folded(b: Builder) -> list[str]:
    """The operators that are left after folding, which changes nothing of what the graph gives."""
    parts = split_constants(b.model())
    fold(parts)
    expected, found = run(b.model(), b.feeds), run(merge_constants(parts), b.feeds)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-6)
    return [node.op_type for node in parts.structure.graph.node]


@pytest.mark.parametrize(
    ("operator", "shapes", "attributes"),
    [
        ("Add", [(2, 3), (3,)], {}),
        ("Div", [(2, 3), (2, 1)], {}),
        ("Gemm", [(3, 2), (4, 3), (4,)], {"transA": 1, "transB": 1, "alpha": 0.5}),
        ("Softmax", [(2, 3)], {"axis": 0}),
        ("Transpose", [(2, 3, 4)], {"perm": [2, 0, 1]}),
        ("LpNormalization", [(3, 4)], {"axis": 0, "p": 2}),
        ("ReduceL2", [(3, 4)], {"axes": [1], "keepdims": 1}),
        ("Conv", [(1, 2, 5), (3, 2, 2)], {"pads": [1, 0]}),
        ("Gelu", [(2, 3)], {"approximate": "tanh"}),
    ],
)
def test_an_operator_on_constants_is_computed_as_the_runtime_would(
    operator: str, shapes: list[tuple[int, ...]], attributes: dict[str, object]
) -> None:
    b = Builder(20 if operator == "Gelu" else 17)
    made = b.node(operator, [b.weights(*shape) for shape in shapes], **attributes)
    b.output(b.node("Mul", [b.floats("x", (1,), [1]), made]), "y")
    assert folded(b) == ["Mul", "Identity"]


@pytest.mark.parametrize("operator", ["RandomNormalLike", "Dropout", "Multinomial", "Bernoulli"])
def test_chance_is_not_frozen_into_a_constant(operator: str) -> None:
    b = Builder()
    b.node(operator, [b.weights(2, 3)], ["drawn"])
    parts = split_constants(b.model())
    fold_known(parts)
    assert [node.op_type for node in parts.structure.graph.node] == [operator]


def test_a_sequence_and_what_cannot_be_computed_stay() -> None:
    b = Builder()
    b.node("SequenceConstruct", [b.weights(2), b.weights(2)], ["several"])
    b.node("Reshape", [b.weights(4), b.constant([3])], ["wrong"])
    b.node("Unknown", [b.weights(4)], ["strange"])
    parts = split_constants(b.model())
    fold_known(parts)
    operators = [node.op_type for node in parts.structure.graph.node]
    assert operators == ["SequenceConstruct", "Reshape", "Unknown"]


def test_equal_constants_become_one_only_where_one_was_computed() -> None:
    b = Builder()
    value = b.rng.normal(0, 1, (3, 4)).astype(np.float32)
    kept, twin, turned = (b.constant(each, np.float32) for each in (value, value, value.T))
    zeros = b.constant(np.zeros((4, 3)), np.float32)
    others = b.constant(np.zeros((3, 4)), np.float32)
    computed = b.node("Transpose", [turned], perm=[1, 0])
    empty = b.node("Transpose", [zeros], perm=[1, 0])
    total = b.floats("x", (3, 4), [3, 4])
    for each in (kept, twin, computed, others, empty):
        total = b.node("Add", [total, each])
    b.output(total, "y")
    parts = split_constants(b.model())
    fold(parts)
    read = [node.input[1] for node in parts.structure.graph.node if node.op_type == "Add"]
    # Two equal ones of the file stay two; zeros are equal to others by chance.
    assert read == [kept, twin, kept, others, empty]
    assert computed not in parts.constants
    found = run(merge_constants(parts), b.feeds)["y"]
    np.testing.assert_array_equal(found, run(b.model(), b.feeds)["y"])

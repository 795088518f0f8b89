"""Graphs of another precision are computed in float32, between ports of the types they had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from isslim.compress.errors import GraphNotUnderstood
from isslim.compress.onnx.normalise.onnx_reader import simplified
from isslim.compress.onnx.normalise.precision import (
    other_precisions,
    to_float32,
    with_wide_outputs,
)
from isslim.compress.onnx.normalise.preparing import prepare
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import assert_cut_equals_masked, run

UNITS = 6


def tagger(kind: np.dtype | type = np.float32) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """Two layers and a matrix; every number of one type, which float16 holds exactly."""
    b = Builder()
    steps = b.recurrent("LSTM", b.floats("x", (STEPS, BATCH, 3), ["T", "B", 3]), 3, UNITS)[0]
    steps = b.recurrent("GRU", b.squeeze(steps, 1), UNITS, UNITS)[0]
    half = b.node(
        "Cast", [b.node("MatMul", [b.squeeze(steps, 1), b.weights(UNITS, 2)])], to=TensorProto.FLOAT
    )
    b.output(half, "y", ["T", "B", 2])
    b.constants = {
        n: v.astype(np.float16).astype(np.float32) if v.dtype.kind == "f" else v
        for n, v in b.constants.items()
    }
    feeds = {name: value.astype(np.float16).astype(kind) for name, value in b.feeds.items()}
    return b.model(), feeds


def narrowed(model: ModelProto, kind: int = TensorProto.FLOAT16) -> ModelProto:
    """The same graph with every float32 in it of another type, as converters make them."""
    made = ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            value = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(kind))
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    for node in made.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = kind
    for port in (*made.graph.input, *made.graph.output):
        port.type.tensor_type.elem_type = kind
    return made


def test_a_graph_in_float16_gives_what_it_gives_in_float32_and_is_cut_like_it(
    tmp_path: Path,
) -> None:
    model, feeds = tagger()
    onnx.save(narrowed(model), tmp_path / "half.onnx")
    made = prepare(tmp_path / "half.onnx")
    assert "float16 inside, computed in float32" in made.changes
    assert "kB with numbers in float16; `original` is the same graph in float32" in made.warning
    wide, halves = (
        onnx.load(made.path),
        {name: value.astype(np.float16) for name, value in feeds.items()},
    )
    onnx.checker.check_model(wide, full_check=True)
    assert list(wide.graph.input) == list(narrowed(model).graph.input)
    assert list(wide.graph.output) == list(narrowed(model).graph.output)
    expected, found = run(model, feeds)["y"], run(wide, halves)["y"]
    assert found.dtype == np.float16
    np.testing.assert_array_equal(
        found, expected.astype(np.float16)
    )  # inputs and weights are the same numbers

    np.testing.assert_array_equal(run(with_wide_outputs(wide), halves)["y"], expected)
    network = assert_cut_equals_masked(simplified(with_wide_outputs(wide)), halves)
    assert len(network.declaration().axes) == 2
    assert not any(axis.reasons for axis in network.report())


def test_weights_stored_in_float16_behind_casts_are_read() -> None:
    model, feeds = tagger()
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            stored = numpy_helper.to_array(tensor).astype(np.float16)
            casts.append(
                helper.make_node(
                    "Cast", [f"{tensor.name}.half"], [tensor.name], to=TensorProto.FLOAT
                )
            )
            tensor.CopyFrom(numpy_helper.from_array(stored, f"{tensor.name}.half"))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    network = assert_cut_equals_masked(simplified(model), feeds)
    assert len(network.declaration().axes) == 2


def test_bfloat16_inside_is_widened_and_at_the_ports_refused() -> None:
    model, feeds = tagger()
    inside = narrowed(model, TensorProto.BFLOAT16)
    with pytest.raises(GraphNotUnderstood, match="'x' is of bfloat16"):
        to_float32(inside, other_precisions(inside))
    for port in (*inside.graph.input, *inside.graph.output):
        port.type.tensor_type.elem_type = TensorProto.FLOAT
    to_float32(inside, other_precisions(inside))
    assert not other_precisions(inside)
    np.testing.assert_allclose(
        run(inside, feeds)["y"], run(model, feeds)["y"], atol=0.05
    )  # weights of 8 bits


def test_a_graph_in_float64_is_computed_in_float32_between_ports_of_float64() -> None:
    model, feeds = tagger()
    wide = narrowed(model, TensorProto.DOUBLE)
    assert list(other_precisions(wide).values()) == ["float64"]
    to_float32(wide, other_precisions(wide))
    found = run(wide, {name: value.astype(np.float64) for name, value in feeds.items()})["y"]
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, run(model, feeds)["y"])  # every number is a float32


def test_numbers_of_float64_beside_layers_of_float32_stay() -> None:
    model, _ = tagger()
    model.graph.initializer.append(numpy_helper.from_array(np.array([0.1]), "apart"))
    assert other_precisions(model) == {}


def test_nodes_that_lie_behind_their_readers_are_put_before_them(tmp_path: Path) -> None:
    model, feeds = tagger()
    expected = run(model, feeds)["y"]
    backwards = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(backwards)
    onnx.save(model, tmp_path / "m.onnx")
    made = onnx.load(prepare(tmp_path / "m.onnx").path)
    np.testing.assert_array_equal(run(made, feeds)["y"], expected)
    assert len(assert_cut_equals_masked(simplified(model), feeds).declaration().axes) == 2


def test_outputs_without_a_shape_get_the_one_that_is_inferred() -> None:
    model, feeds = tagger()
    model.graph.output[0].type.tensor_type.ClearField("shape")
    simple = simplified(model)
    assert [dim.dim_value for dim in simple.graph.output[0].type.tensor_type.shape.dim][2] == 2
    assert_cut_equals_masked(simple, feeds)


def test_types_inside_of_branches_and_of_sequences_become_float32_too() -> None:
    b = Builder()
    x = b.input("x", np.ones((2, 3), np.float16), [2, 3])
    b.input("x.float32", np.ones(1, np.float32), [1])  # a name that is taken
    half = numpy_helper.from_array(np.array(0.5, np.float16), "half")
    several = helper.make_tensor_sequence_value_info("several", TensorProto.FLOAT16, None)
    branch = helper.make_graph(
        [
            helper.make_node("Mul", [x, "half"], ["part"]),
            helper.make_node("SequenceConstruct", ["part", x], ["several"]),
        ],
        "branch", [], [several], [half],
    )  # fmt: skip
    flag = b.input("flag", np.array(True), [])
    b.node("If", [flag], ["pieces"], then_branch=branch, else_branch=branch)
    b.node("ConcatFromSequence", ["pieces"], ["y"], axis=0)
    b.outputs.append(helper.make_tensor_value_info("y", TensorProto.FLOAT16, [4, 3]))
    model = b.model()
    to_float32(model, other_precisions(model))
    assert not other_precisions(model).keys() - {TensorProto.FLOAT16}  # at the ports only
    names = {name for node in model.graph.node for name in (*node.input, *node.output)}
    assert {"x", "x.float32_", "y", "y.float32"} <= names
    found = run(model, b.feeds)["y"]
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, np.repeat([0.5, 1], 2)[:, None] * np.ones((4, 3)))


def test_numbers_whose_bits_are_looked_at_are_refused() -> None:
    model, _ = tagger()
    half = narrowed(model)
    half.graph.node.append(helper.make_node("BitCast", ["x"], ["bits"], to=TensorProto.INT16))
    with pytest.raises(GraphNotUnderstood, match="looks at the bits of numbers"):
        to_float32(half, other_precisions(half))


def test_an_output_whose_rounded_numbers_are_read_inside_stays_rounded() -> None:
    model, feeds = tagger()
    half = narrowed(model)
    half.graph.node.append(helper.make_node("Neg", ["y"], ["z"]))
    half.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT16, None))
    to_float32(half, other_precisions(half))
    wide = with_wide_outputs(half)
    types = {port.name: port.type.tensor_type.elem_type for port in wide.graph.output}
    assert types == {"y": TensorProto.FLOAT, "z": TensorProto.FLOAT}
    rounded = helper.make_node("Cast", ["y.float32"], ["again"], to=TensorProto.FLOAT16)
    half.graph.node.append(rounded)
    half.graph.output.append(helper.make_tensor_value_info("again", TensorProto.FLOAT16, None))
    half.graph.node.append(helper.make_node("Identity", ["again"], ["unseen"]))
    types = {
        port.name: port.type.tensor_type.elem_type for port in with_wide_outputs(half).graph.output
    }
    assert types["again"] == TensorProto.FLOAT16
    assert run(wide, {"x": feeds["x"].astype(np.float16)})["y"].dtype == np.float32

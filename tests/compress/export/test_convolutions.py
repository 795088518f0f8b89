"""Convolutions in 8 bits equal exact arithmetic with the same numbers, and are near float32."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch.nn.functional import conv2d

from isslim.compress.export.convolutions import kernel_scales, quantize_convolutions
from isslim.compress.export.int8_forms import Ranges
from isslim.compress.export.int8_weights import PAIR
from isslim.compress.export.quantize import quantize_graph
from isslim.runtime.graphs.recorded_inputs import GraphSession

CHANNELS, WIDTHS = 8, (10, 12, 16)


def reader(*, opset: int = 17, channels: int = CHANNELS, dead: bool = False) -> ModelProto:
    """Conv, BatchNormalization and Relu, a residual block with SiLU, and an LSTM.

    From x (1, C, 6, W) to y (1, 1, 3).

    Args:
        opset: of the standard operators.
        channels: of the input.
        dead: whether a channel of the first convolution has no weights but a bias.
    """
    draw = np.random.default_rng(0)

    def weights(*shape: int) -> NDArray[np.float32]:
        fan = np.prod(shape[1:]) if len(shape) > 1 else 4
        return (draw.normal(size=shape) / np.sqrt(fan)).astype(np.float32)

    held = {
        "k1": weights(8, channels, 3, 3), "b1": weights(8),
        "scale": 1 + weights(8), "shift": weights(8), "mean": weights(8),
        "variance": 0.5 + weights(8) ** 2,
        "k2": weights(16, 8, 3, 3), "b2": weights(16),
        "k3": weights(8, 16, 1, 1), "b3": weights(8),
        "columns": np.array([0, 1, -1], np.int64),
        "w": weights(1, 4 * 7, 8 * 6), "r": weights(1, 4 * 7, 7), "b": weights(1, 8 * 7),
        "merged": np.array([0, 0, -1], np.int64), "out": weights(7, 3),
    }  # fmt: skip
    if dead:
        held["k1"][3] = 0.0
    nodes = [
        helper.make_node("Conv", ["x", "k1", "b1"], ["c1"], name="first", pads=[1] * 4),
        helper.make_node(
            "BatchNormalization", ["c1", "scale", "shift", "mean", "variance"], ["n1"]
        ),
        helper.make_node("Relu", ["n1"], ["a1"]),
        helper.make_node("Conv", ["a1", "k2", "b2"], ["c2"], name="second", pads=[1] * 4),
        helper.make_node("Sigmoid", ["c2"], ["s2"]),
        helper.make_node("Mul", ["c2", "s2"], ["a2"]),
        helper.make_node("Conv", ["a2", "k3", "b3"], ["c3"], name="third"),
        helper.make_node("Add", ["a1", "c3"], ["a3"]),
        helper.make_node("Transpose", ["a3"], ["t"], perm=[3, 0, 1, 2]),
        helper.make_node("Reshape", ["t", "merged"], ["steps"]),
        helper.make_node("LSTM", ["steps", "w", "r", "b"], ["", "last"], hidden_size=7),
        helper.make_node("MatMul", ["last", "out"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "reader",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, 6, "width"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 3])],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def pictures(channels: int = CHANNELS, count: int = 9) -> list[dict[str, NDArray[np.float32]]]:
    draw = np.random.default_rng(1)
    return [
        {"x": draw.normal(size=(1, channels, 6, WIDTHS[each % 3])).astype(np.float32)}
        for each in range(count)
    ]


def answers(model: ModelProto, folder: Path) -> list[NDArray[Any]]:
    path = folder / "graph.onnx"
    onnx.save(model, path)
    graph = GraphSession(path)
    return [
        graph.run(each)["y"]
        for each in pictures(model.graph.input[0].type.tensor_type.shape.dim[1].dim_value)
    ]


def change(found: list[NDArray[Any]], wanted: list[NDArray[Any]]) -> float:
    ours, whole = np.concatenate(found), np.concatenate(wanted)
    return float(np.linalg.norm(ours - whole) / np.linalg.norm(whole))


def slowly(model: ModelProto, wanted: str, x: NDArray[Any]) -> NDArray[np.float64]:
    """A value of a quantized graph by its definition, node by node in 64 bits.

    Args:
        model: the graph.
        wanted: the name of the value.
        x: its input.
    """
    values = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    values["x"] = x
    for node in model.graph.node:
        if wanted in values:
            break
        first, *rest = (values[name].astype(np.float64) for name in node.input if name)
        match node.op_type:
            case "QuantizeLinear":
                found = np.clip(np.rint(first / rest[0]) + rest[1], 0, 255)
            case "DequantizeLinear":
                scale, zero = (np.reshape(each, (-1, *[1] * (first.ndim - 1))) for each in rest)
                found = ((first - zero) * scale).reshape(first.shape)
            case "Conv":
                size = rest[0].shape[-1] // 2
                found = conv2d(*map(torch.tensor, (first, *rest)), padding=size).numpy()
            case "Sigmoid":
                found = 1 / (1 + np.exp(-first))
            case "Mul":
                found = first * rest[0]
            case "Add":
                found = first + rest[0]
            case other:
                raise AssertionError(other)
        values[node.output[0]] = found
    return values[wanted]


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("ranges", Ranges)
def test_a_reader_of_pictures_is_near_float32(ranges: Ranges, opset: int, tmp_path: Path) -> None:
    model = reader(opset=opset)
    before = model.SerializeToString()
    quantized = quantize_convolutions(model, pictures()[::2], ranges)
    assert model.SerializeToString() == before
    assert quantized is not None
    kinds = Counter(node.op_type for node in quantized.graph.node)
    assert (kinds["Conv"], kinds["BatchNormalization"], kinds["Relu"]) == (3, 0, 0)  # in one
    assert 0 < change(answers(quantized, tmp_path), answers(model, tmp_path)) < 0.05


def test_integer_operators_give_what_the_quantized_graph_says(tmp_path: Path) -> None:
    quantized = quantize_convolutions(reader(), pictures(), Ranges.ALL)
    assert quantized is not None
    (read,) = (node.input[0] for node in quantized.graph.node if node.op_type == "Transpose")
    quantized.graph.output.append(
        helper.make_tensor_value_info(read, TensorProto.FLOAT, [1, CHANNELS, 6, "width"])
    )
    onnx.save(quantized, tmp_path / "graph.onnx")
    graph = GraphSession(tmp_path / "graph.onnx")
    for picture in pictures():
        found, exact = graph.run(picture)[read], slowly(quantized, read, picture["x"])
        # What lies between two steps may be rounded to either.
        step = (found.max() - found.min()) / 255
        np.testing.assert_allclose(found, exact, rtol=0, atol=2.1 * step)
        assert np.isclose(found, exact, rtol=0, atol=1e-4).mean() > 0.9


def test_all_parts_of_the_reader_take_8_bits_together(tmp_path: Path) -> None:
    model, target = reader(), tmp_path / "int8.onnx"
    quantized = quantize_convolutions(model, pictures(), Ranges.ALL)
    assert quantized is not None
    found = quantize_graph(quantized, target)
    assert found.convolutions
    assert found.parts == ["convolutions", "recurrent layers", "matrix products"]
    assert change(answers(onnx.load(target), tmp_path), answers(model, tmp_path)) < 0.05
    plain = quantize_graph(model, target)
    assert not plain.convolutions
    assert plain.rest == ["convolutions"]


def test_a_convolution_of_the_picture_itself_stays_float32(tmp_path: Path) -> None:
    quantized = quantize_convolutions(reader(channels=3), pictures(3), Ranges.ALL)
    assert quantized is not None
    found = quantize_graph(quantized, tmp_path / "int8.onnx")
    assert found.parts[0] == "2 of 3 convolutions"
    made = {
        name
        for node in quantized.graph.node
        if node.op_type == "DequantizeLinear"
        for name in node.output
    }
    convolutions = {node.name: node for node in quantized.graph.node if node.op_type == "Conv"}
    assert convolutions["first"].input[0] == "x"
    assert {*convolutions["second"].input} <= made


def test_a_channel_without_weights_keeps_its_bias(tmp_path: Path) -> None:
    model = reader(dead=True)
    quantized = quantize_convolutions(model, pictures(), Ranges.ALL)
    assert quantized is not None
    assert change(answers(quantized, tmp_path), answers(model, tmp_path)) < 0.05


def test_without_a_convolution_of_constant_weights_there_is_nothing_to_quantize() -> None:
    model = reader()
    for node in model.graph.node:
        if node.op_type == "Conv":
            node.op_type = "Identity"
            del node.attribute[:], node.input[1:]
    assert quantize_convolutions(model, pictures(), Ranges.ALL) is None
    given = reader()
    for number, kernel in enumerate(("k1", "k2", "k3")):
        held = next(each for each in given.graph.initializer if each.name == kernel)
        given.graph.input.append(
            helper.make_tensor_value_info(kernel, TensorProto.FLOAT, list(held.dims))
        )
        given.graph.initializer.remove(held)
        assert number < 3
    assert quantize_convolutions(given, pictures(), Ranges.ALL) is None


def test_a_graph_that_cannot_be_run_is_left_alone() -> None:
    wrong = [{"x": np.zeros((1, CHANNELS + 1, 6, 10), np.float32)}]
    assert quantize_convolutions(reader(), wrong, Ranges.ALL) is None


@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((24, 24, 3, 3), 1),
        ((16, 5, 3, 3), 1),
        ((12, 3, 5), 2),
        ((8, 1, 3, 3), 8),
        ((6, 7, 1, 1), 1),
    ],
)
def test_no_processor_can_saturate(shape: tuple[int, ...], groups: int) -> None:
    draw = np.random.default_rng(0)
    # Nearly equal neighbours of one sign are the hardest; rounding may lift both.
    kernel = np.abs(draw.normal(1.0, 0.01, shape)).astype(np.float32)
    scales = kernel_scales(kernel, groups)
    rounded = np.rint(kernel / scales.reshape(-1, *[1] * (kernel.ndim - 1))).astype(int)
    assert np.abs(rounded).max() <= 127
    if shape[1] == 1:
        assert rounded.max() == 127  # products of a depthwise one are not paired
        return
    for channel in rounded:
        # In the order in which a window is read: place by place, its channels side by side.
        places = np.ndindex(*channel.shape[1:])
        row = [int(channel[(c, *place)]) for place in places for c in range(channel.shape[0])]
        pairs = [sum(row[start : start + 2]) for start in range(0, len(row), 2)]
        assert 0.9 * PAIR < max(pairs) <= PAIR


@pytest.mark.parametrize(("read", "groups"), [(24, 1), (5, 1), (16, 4), (8, 8)])
def test_integer_convolutions_are_exact_here(read: int, groups: int, tmp_path: Path) -> None:
    """White pictures through weights of one sign, the worst case, against exact arithmetic."""
    draw = np.random.default_rng(0)
    kernel = np.abs(draw.normal(size=(8, read // groups, 3, 3))).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "k"], ["y"], group=groups)], "white",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, read, 6, "width"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 4, "out"])],
        [numpy_helper.from_array(kernel, "k")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    white = {"x": np.ones((1, read, 6, 10), np.float32)}
    quantized = quantize_convolutions(model, [white], Ranges.ALL)
    assert quantized is not None
    onnx.save(quantized, tmp_path / "white.onnx")
    found = GraphSession(tmp_path / "white.onnx").run(white)["y"]
    exact = kernel.astype(np.float64).sum((1, 2, 3))
    # Half a step of each weight, and a step of the output.
    scale = kernel_scales(kernel, groups).astype(np.float64)
    slack = 0.5 * scale * kernel[0].size + exact.max() / 255
    assert (np.abs(found[0] - exact[:, None, None]) <= slack[:, None, None]).all()

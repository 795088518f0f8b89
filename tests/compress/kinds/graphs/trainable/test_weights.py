"""Which constants are trained."""

from __future__ import annotations

import numpy as np
import torch
from onnx import TensorProto

from isslim.compress.kinds.graphs.trainable.network import TorchGraph
from tests.compress.kinds.graphs.trainable.same import assert_same, built, tensors
from tests.compress.onnx.drawing import Builder

FLOAT = np.float32


def test_a_gradient_reaches_all_that_is_trained_and_nothing_else() -> None:
    b = Builder()
    x = b.floats("x", (2, 4), [2, 4])
    matrix, bias = b.weights(4, 3), b.weights(3)
    table, index = b.weights(5, 3), b.constant([1, 4])
    slope = b.weights(1)
    number, exponent = b.constant(0.7, FLOAT), b.constant([2.0], FLOAT)
    low, high = b.constant(-1.0, FLOAT), b.constant(1.0, FLOAT)
    limits = b.constant([0.1, 0.2, 0.3], FLOAT)
    y = b.node("Add", [b.node("MatMul", [x, matrix]), bias])
    y = b.node("Add", [y, b.node("Gather", [table, index])])
    y = b.node("PRelu", [y, slope])
    y = b.node("Mul", [b.node("Pow", [y, exponent]), number])
    y = b.node("Where", [b.node("Less", [y, limits]), b.node("Clip", [y, low, high]), y])
    graph = assert_same(built(b, y), b.feeds, 1e-5)
    assert list(graph.weights) == [matrix, bias, table, slope]
    graph(tensors(b.feeds), ["y0"])["y0"].sum().backward()
    assert all(each.grad is not None for each in graph.weights.values())


def test_statistics_stay_and_what_scales_them_is_trained() -> None:
    b = Builder()
    x = b.floats("x", (2, 3, 4), [2, 3, 4])
    scale, bias, mean = b.weights(3), b.weights(3), b.weights(3)
    variance = b.constant([0.5, 1.0, 2.0], FLOAT)
    y = b.node("BatchNormalization", [x, scale, bias, mean, variance])
    graph = assert_same(built(b, y), b.feeds, 1e-5).train()
    assert list(graph.weights) == [scale, bias]
    before = {name: value.clone() for name, value in graph.named_buffers()}
    graph(tensors(b.feeds), ["y0"])["y0"].sum().backward()
    after = dict(graph.named_buffers())
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_what_only_whole_numbers_come_of_is_not_trained() -> None:
    b = Builder()
    x = b.floats("x", (2, 3), [2, 3])
    decided = b.weights(3)
    b.node("ArgMax", [b.node("Add", [x, decided])], ["chosen"], axis=1)
    asked = b.node("Cast", [b.node("Add", [x, b.weights(3)])], to=TensorProto.INT64)
    graph = assert_same(
        built(b, "chosen", asked, kinds=[TensorProto.INT64, TensorProto.INT64]), b.feeds, 1e-5
    )
    assert not graph.weights


def test_what_goes_through_another_type_of_numbers_is_trained() -> None:
    b = Builder()
    wide = b.node("Cast", [b.weights(3)], to=TensorProto.DOUBLE)
    x = b.node("Cast", [b.floats("x", (2, 3), [2, 3])], to=TensorProto.DOUBLE)
    y = b.node("Cast", [b.node("Mul", [x, wide])], to=TensorProto.FLOAT)
    graph = assert_same(built(b, y), b.feeds, 1e-5)
    assert list(graph.weights) == ["c0"]


def test_weights_of_outputs_that_do_not_count_are_not_trained() -> None:
    b = Builder()
    x = b.floats("x", (2, 3), [2, 3])
    one, other = b.weights(3, 2), b.weights(3, 2)
    model = built(b, b.node("MatMul", [x, one]), b.node("MatMul", [x, other]))
    assert list(TorchGraph.of(model).weights) == [one, other]
    assert list(TorchGraph.of(model, ["y1"]).weights) == [other]


def test_silence_has_no_gradient_that_is_no_number() -> None:
    """The magnitude of a spectrum is a root of zero where it is silent."""
    b = Builder()
    x = b.input("x", np.zeros((2, 3), FLOAT), [2, 3])
    basis = b.weights(3, 4)
    power = b.node(
        "Add", [*[b.node("Pow", [b.node("MatMul", [x, basis]), b.constant(2.0, FLOAT)])]] * 2
    )
    roots = [b.node("Sqrt", [power]), b.node("Pow", [power, b.constant(0.5, FLOAT)])]
    roots.append(b.node("ReduceL2", [b.node("MatMul", [x, basis])]))
    graph = assert_same(built(b, *roots), b.feeds, 1e-5)
    sum(each.sum() for each in graph(tensors(b.feeds), graph.outputs).values()).backward()
    assert torch.equal(graph.weights[basis].grad, torch.zeros(3, 4))

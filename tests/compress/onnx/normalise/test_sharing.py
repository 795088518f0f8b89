"""Constants shared by chance are copied, and what the graph gives stays exactly the same."""

from __future__ import annotations

import numpy as np

from isslim.compress.onnx.model.split_model import SplitModel, merge_constants, split_constants
from isslim.compress.onnx.normalise.sharing import separate
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import run


def separated(b: Builder) -> SplitModel:
    parts = split_constants(b.model())
    separate(parts)
    expected, found = run(b.model(), b.feeds), run(merge_constants(parts), b.feeds)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    return parts


def layers(parts: SplitModel) -> list[list[str]]:
    return [list(node.input) for node in parts.structure.graph.node if node.op_type == "LSTM"]


def two(b: Builder, first: list[str], second: list[str]) -> None:
    x = b.floats("x", (STEPS, BATCH, 4), ["T", "B", 4])
    for index, weights in enumerate((first, second)):
        b.node("LSTM", [x, *weights], [f"y{index}"], hidden_size=4)
        b.output(f"y{index}", f"out{index}")


def test_a_bias_of_zeros_that_two_layers_share_becomes_one_for_each() -> None:
    b = Builder()
    zero = b.constant(np.zeros((1, 32)), np.float32)
    w = [b.weights(1, 16, 4) for _ in range(4)]
    two(b, [w[0], w[1], zero], [w[2], w[3], zero])
    parts = separated(b)
    first, second = layers(parts)
    assert first[3] == zero
    assert second[3] == f"{zero}.of.lstm_2"
    np.testing.assert_array_equal(parts.constants[second[3]], parts.constants[zero])
    assert (first[:3], second[:3]) == (["x", w[0], w[1]], ["x", w[2], w[3]])


def test_a_matrix_that_two_different_layers_share_is_each_ones_own() -> None:
    b = Builder()
    w = [b.weights(1, 16, 4) for _ in range(3)]
    two(b, [w[0], w[1]], [w[0], w[2]])
    first, second = layers(separated(b))
    assert first[1] == w[0]
    assert second[1] == f"{w[0]}.of.lstm_2"


def test_layers_that_share_all_of_their_weights_are_one_layer_and_stay_so() -> None:
    b = Builder()
    shared = [b.weights(1, 16, 4), b.weights(1, 16, 4), b.weights(1, 32)]
    two(b, shared, shared)
    parts = separated(b)
    assert layers(parts) == [["x", *shared]] * 2
    assert len(parts.constants) == 3


def test_a_matrix_that_a_layer_shares_with_a_product_is_the_layers_own() -> None:
    b = Builder()
    shared, across = b.weights(1, 16, 4), b.weights(1, 16, 4)
    x = b.floats("x", (STEPS, BATCH, 4), ["T", "B", 4])
    b.node("LSTM", [x, shared, across], ["y"], hidden_size=4)
    b.output("y", "out")
    turned = b.node("Transpose", [shared], perm=[0, 2, 1])
    b.output(b.node("MatMul", [x, turned]), "other")
    ((_, own, _),) = layers(separated(b))
    assert own == f"{shared}.of.lstm_0"


def test_an_embedding_and_its_decoder_stay_one_and_vectors_do_not() -> None:
    b = Builder()
    table, scale = b.weights(9, 4), b.weights(4)
    ids = b.input("ids", b.rng.integers(0, 9, (STEPS, BATCH)), ["T", "B"])
    words = b.node("Mul", [b.node("Gather", [table, ids]), scale])
    b.output(b.node("MatMul", [b.node("Add", [words, scale]), b.node("Transpose", [table])]), "y")
    parts = separated(b)
    read = [name for node in parts.structure.graph.node for name in node.input]
    assert read.count(table) == 2
    assert read.count(scale) == 1
    assert len(parts.constants) == 3


def test_numbers_that_are_no_weights_and_single_ones_stay_shared() -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, 4), ["T", "B", 4])
    shape, half = b.constant([-1, 4]), b.constant(0.5, np.float32)
    for name in "ab":
        b.output(b.node("Mul", [b.node("Reshape", [x, shape]), half]), name)
    assert len(separated(b).constants) == 2

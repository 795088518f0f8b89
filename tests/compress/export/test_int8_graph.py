"""What the quantizer asks of a graph: names, matrices, tables, and who reads a value."""

from __future__ import annotations

import numpy as np

from isslim.compress.export.int8_graph import Int8Graph
from isslim.compress.onnx.model.split_model import split_constants
from tests.compress.onnx.drawing import BATCH, STEPS, Builder


def test_a_fresh_name_is_nobodys_and_is_given_once() -> None:
    b = Builder()
    b.output(b.floats("x", (2,), [2]), "y", [2])
    work = Int8Graph(split_constants(b.model()))
    assert [work.fresh(wish) for wish in ("x", "x", "z", "z", "y")] == [
        "x.1",
        "x.2",
        "z",
        "z.1",
        "y.1",
    ]


def test_a_matrix_is_a_constant_of_float32_with_entries() -> None:
    b = Builder()
    b.constants |= {
        "right": np.ones((2, 3), np.float32),
        "wide": np.ones((2, 3), np.float64),
        "empty": np.ones((0, 3), np.float32),
        "vector": np.ones(3, np.float32),
    }
    given = ["right", "wide", "empty", "vector", b.floats("x", (2, 3), [2, 3])]
    b.node("Max", given)
    work = Int8Graph(split_constants(b.model()))
    node = b.nodes[-1]
    assert [work.is_matrix(node, index, rank=2) for index in range(6)] == [True] + [False] * 5
    assert not work.is_matrix(node, 0)


def test_a_lookup_takes_rows_of_a_constant_by_indices_that_are_given() -> None:
    b = Builder()
    ids = b.input("ids", np.zeros((STEPS, BATCH), np.int64), ["T", "B"])
    b.node("Gather", [b.weights(9, 4), ids])
    b.node("Gather", [b.weights(9, 4), ids], axis=1)
    b.node("Gather", [b.weights(9, 4), b.constant([1])])
    b.node("GatherElements", [b.weights(9, 4), ids])
    work = Int8Graph(split_constants(b.model()))
    assert [work.is_lookup(node) for node in b.nodes] == [True, False, False, False]


def test_readers_are_found_behind_what_keeps_the_features_in_their_place() -> None:
    b = Builder()
    value = b.floats("x", (STEPS, BATCH, 4), ["T", "B", 4])
    turned = b.node("Transpose", [b.node("Identity", [value])], perm=[1, 0, 2])
    b.node("MatMul", [turned, b.weights(4, 2)])  # "matmul_2"
    b.node("Transpose", [turned], perm=[2, 1, 0])  # moves the features: it is itself a reader
    b.node("Transpose", [turned])  # without an order it turns all dimensions around
    b.node("Mul", [b.weights(4), turned])  # reads it in another way
    b.output(turned, "y")
    work = Int8Graph(split_constants(b.model()))
    found = sorted(node.name for node in work.readers_of("x"))
    assert found == ["", "", "matmul_2", "transpose_3", "transpose_4"]

"""Arrays in a graph's constants again: the same numbers, other ones, fewer of them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from isslim.compress.onnx.model.attributes import get_float, get_int
from isslim.compress.onnx.model.split_model import SplitModel, merge_constants
from isslim.compress.onnx.rewrite.sizes import Sizes
from isslim.compress.onnx.rewrite.write_weights import write_weights
from isslim.compress.pruning.axes import Array, select_components
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import run
from tests.compress.onnx.rewrite.made import UNITS, WIDTH, tagger, traced


def written(b: Builder, change: dict[str, Array] | None = None, kept: int = UNITS) -> SplitModel:
    """The graph with its arrays written back, some of them changed, `kept` units of each axis."""
    trace, arrays, meaning = traced(b)
    keep = {name: np.arange(kept) for name in meaning.declaration.axes}
    small, _ = select_components({**arrays, **(change or {})}, meaning.declaration, keep)
    structure = ModelProto()
    structure.CopyFrom(trace.parts.structure)
    parts = SplitModel(structure, dict(trace.parts.constants))
    write_weights(parts, trace, meaning, small, Sizes.of(trace.pool, meaning, small))
    return parts


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_what_was_read_is_written_back_exactly_but_for_the_sum_of_two_biases(
    kind: str, direction: str
) -> None:
    b = tagger(kind, direction)
    parts = written(b)
    for name, value in b.constants.items():
        found = parts.constants[name]
        if name == b.nodes[0].input[3] and kind != "GRU":
            first, second = np.split(value, 2, axis=1)
            value = np.concatenate([first + second, np.zeros_like(second)], axis=1)
        np.testing.assert_array_equal(found, value)
        assert found.dtype == value.dtype
    expected = run(b.model(), b.feeds)["y"]
    found = run(merge_constants(parts), b.feeds)["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_fewer_units_are_fewer_rows_of_every_gate_and_columns_of_readers() -> None:
    b = tagger("LSTM", "forward", peephole=True)
    parts = written(b, kept=2)
    w, r, bias, peephole = (b.constants[b.nodes[0].input[at]] for at in (1, 2, 3, 7))
    rows = np.concatenate([gate * UNITS + np.arange(2) for gate in range(4)])
    layer = parts.structure.graph.node[0]
    assert get_int(layer, "hidden_size", 0) == 2
    made = [parts.constants[layer.input[at]] for at in (1, 2, 3, 7)]
    np.testing.assert_array_equal(made[0], w[:, rows])
    np.testing.assert_array_equal(made[1], r[:, rows][:, :, :2])
    np.testing.assert_array_equal(made[2][:, :8], (bias[:, :16] + bias[:, 16:])[:, rows])
    np.testing.assert_array_equal(made[3], peephole[:, rows[:6]])
    matrix = b.nodes[3].input[1]
    np.testing.assert_array_equal(parts.constants[matrix], b.constants[matrix][:, :2])


def test_directions_of_different_sizes_lie_in_one_tensor_with_dead_units() -> None:
    b = tagger("GRU", "bidirectional")
    trace, arrays, meaning = traced(b)
    forward, backward = meaning.declaration.axes
    keep = {forward: np.array([1]), backward: np.array([0, 2, 3])}
    small, _ = select_components(arrays, meaning.declaration, keep)
    parts = SplitModel(trace.parts.structure, dict(trace.parts.constants))
    write_weights(parts, trace, meaning, small, Sizes.of(trace.pool, meaning, small))
    w = parts.constants[b.nodes[0].input[1]].reshape(2, 3, 3, WIDTH)  # (D, gates, room, I)
    whole = b.constants[b.nodes[0].input[1]].reshape(2, 3, UNITS, WIDTH)
    np.testing.assert_array_equal(w[0, :, :1], whole[0][:, [1]])
    assert not w[0, :, 1:].any()
    np.testing.assert_array_equal(w[1], whole[1][:, [0, 2, 3]])
    matrix = parts.constants[b.nodes[3].input[1]]  # (2, room + room)
    old = b.constants[b.nodes[3].input[1]]
    np.testing.assert_array_equal(matrix[:, [0, 3, 4, 5]], old[:, [1, 4, 6, 7]])
    assert not matrix[:, [1, 2]].any()


def test_a_layer_without_biases_gets_one_only_where_it_is_needed() -> None:
    b = tagger("LSTM", "forward", bias=False)
    assert len(written(b).structure.graph.node[0].input) == 3
    bias = np.arange(16, dtype=np.float32) / 16
    parts = written(b, {"lstm_0.forward.bias": bias})
    layer = parts.structure.graph.node[0]
    np.testing.assert_array_equal(parts.constants[layer.input[3]][0], [*bias, *np.zeros(16)])


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (2.0, 1.0), (0.5, 3.0)])
def test_a_bias_that_a_repair_made_is_what_is_added_to_the_product(
    alpha: float, beta: float
) -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    last = b.squeeze(b.recurrent("GRU", x, WIDTH, UNITS)[1], 0)
    matrix = b.weights(UNITS, 2)
    b.output(b.node("Gemm", [last, matrix], alpha=alpha, beta=beta), "y", ["B", 2])
    same = run(merge_constants(written(b)), b.feeds)["y"]
    before = run(b.model(), b.feeds)["y"]
    np.testing.assert_allclose(same, before, rtol=1e-6, atol=1e-6)
    added = np.array([1.0, -2.0], np.float32)  # in the matrix's terms: A (x + bias)
    parts = written(b, {f"{matrix}.bias": added})
    found = run(merge_constants(parts), b.feeds)["y"]
    np.testing.assert_allclose(found, before + alpha * added, rtol=1e-6, atol=1e-6)
    gemm = next(node for node in parts.structure.graph.node if node.op_type == "Gemm")
    assert get_float(gemm, "beta", 0.0) == 1.0


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 1.0), (0.5, 3.0)])
def test_a_changed_bias_is_divided_by_what_the_operator_multiplies_it_with(
    alpha: float, beta: float
) -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    last = b.squeeze(b.recurrent("GRU", x, WIDTH, UNITS)[1], 0)
    bias = b.weights(1, 2)
    b.output(
        b.node("Gemm", [last, b.weights(UNITS, 2), bias], alpha=alpha, beta=beta), "y", ["B", 2]
    )
    before = run(b.model(), b.feeds)["y"]
    parts = written(b, {bias: np.zeros(2, np.float32)})
    found = run(merge_constants(parts), b.feeds)["y"]
    np.testing.assert_allclose(found, before - beta * b.constants[bias], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(written(b).constants[bias], b.constants[bias], rtol=1e-6, atol=0)


def test_what_stands_at_dead_components_of_a_divisor_is_one() -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    steps = b.recurrent("LSTM", x, WIDTH, UNITS, "bidirectional")[0]
    flat = b.node(
        "Reshape", [b.node("Transpose", [steps], perm=[0, 2, 1, 3]), b.constant([0, 0, -1])]
    )
    divisor = b.constant(b.rng.uniform(1, 2, 2 * UNITS), np.float32)
    b.output(b.node("MatMul", [b.node("Div", [flat, divisor]), b.weights(2 * UNITS, 2)]), "y",
             ["T", "B", 2])  # fmt: skip
    trace, arrays, meaning = traced(b)
    forward, backward = meaning.declaration.axes
    keep = {forward: np.array([1]), backward: np.array([0, 2])}
    small, _ = select_components(arrays, meaning.declaration, keep)
    parts = SplitModel(trace.parts.structure, dict(trace.parts.constants))
    write_weights(parts, trace, meaning, small, Sizes.of(trace.pool, meaning, small))
    old = b.constants[divisor]
    np.testing.assert_array_equal(parts.constants[divisor], [old[1], 1, old[4], old[6]])

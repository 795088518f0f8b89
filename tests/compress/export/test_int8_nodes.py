"""Int8 nodes against the integer equations of their operators, number by number."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from isslim.compress.export.int8_forms import Form
from isslim.compress.export.int8_graph import Int8Graph
from isslim.compress.export.int8_nodes import Int8Nodes
from isslim.compress.onnx.model.split_model import merge_constants, replace, split_constants
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import run


def rewritten(b: Builder, operator: str, form: Form) -> tuple[Int8Graph, dict[str, np.ndarray]]:
    """A graph with all nodes of one operator in int8, and what it gives."""
    work = Int8Graph(split_constants(b.model()))
    made = Int8Nodes(work, form)
    build = {"Gather": made.lookup, "LSTM": made.lstm}.get(operator, made.product)
    nodes = []
    for node in work.graph.node:
        nodes += build(node) if node.op_type == operator else [node]
    replace(work.graph.node, nodes)
    work.parts.structure.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return work, run(merge_constants(work.parts), b.feeds)


def quantized(x: np.ndarray) -> tuple[np.ndarray, float, int]:
    """DynamicQuantizeLinear: one scale for the whole tensor, zero among the values."""
    low, high = min(x.min(), 0.0), max(x.max(), 0.0)
    scale = (high - low) / 255
    zero = int(np.clip(np.rint(-low / scale), 0, 255))
    return np.clip(np.rint(x / scale) + zero, 0, 255).astype(int), scale, zero


@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("operator", ["MatMul", "Gemm", "Gemm turned"])
def test_a_product_is_that_of_whole_numbers_scaled(operator: str, per_column: bool) -> None:
    b = Builder()
    x = b.floats("x", (7, 6), ["N", 6])
    turned = operator == "Gemm turned"
    weight = b.weights(5, 6) if turned else b.weights(6, 5)
    bias = [b.weights(5)] if operator != "MatMul" else []
    attributes = {"transB": 1} if turned else {}
    b.output(b.node(operator.split()[0], [x, weight, *bias], **attributes), "y", ["N", 5])
    work, found = rewritten(b, operator.split()[0], Form(products=per_column))
    base = f"{weight}_turned" if turned else weight
    matrix, scale = work.constants[f"{base}_quantized"], work.constants[f"{base}_scale"]
    assert scale.shape == ((5,) if per_column else ())
    whole, step, zero = quantized(b.feeds["x"])
    expected = (whole - zero) @ matrix.astype(int) * (step * scale)
    expected = expected + (b.constants[bias[0]] if bias else 0)
    np.testing.assert_allclose(found["y"], expected, rtol=1e-5, atol=1e-5)


def test_an_activation_that_two_products_read_is_quantized_once_and_their_matrix_held_once() -> (
    None
):
    b = Builder()
    x, weight = b.floats("x", (7, 6), ["N", 6]), b.weights(6, 5)
    for name in "yz":
        b.output(b.node("MatMul", [x, weight]), name, ["N", 5])
    work, found = rewritten(b, "MatMul", Form())
    operators = [node.op_type for node in work.graph.node]
    assert operators.count("DynamicQuantizeLinear") == 1
    assert operators.count("MatMulInteger") == 2
    assert sum(name.endswith("_quantized") for name in work.constants) == 1
    np.testing.assert_array_equal(found["y"], found["z"])


@pytest.mark.parametrize("spread", [False, True])
def test_a_lookup_gives_rows_of_whole_numbers_scaled(spread: bool) -> None:
    b = Builder()
    table = b.weights(9, 4)
    ids = b.input("ids", b.rng.integers(0, 9, (STEPS, BATCH)), ["T", "B"])
    b.output(b.node("Gather", [table, ids]), "y", ["T", "B", 4])
    work = Int8Graph(split_constants(b.model()))
    if spread:
        work.spread.add(table)
    made = Int8Nodes(work, Form())
    lookup, *others = work.graph.node
    replace(work.graph.node, [*made.lookup(lookup), *others])
    found = run(merge_constants(work.parts), b.feeds)["y"]
    matrix, scale = work.constants[f"{table}_quantized"], work.constants[f"{table}_scale"]
    assert scale.shape == (() if spread else (4,))
    expected = (matrix * scale)[b.feeds["ids"]]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=0)
    np.testing.assert_allclose(found, b.constants[table][b.feeds["ids"]], rtol=0, atol=0.02)


@pytest.mark.parametrize("per_column", [False, True])
def test_an_lstm_holds_its_matrices_lying_and_gives_nearly_what_it_gave(per_column: bool) -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, 3), ["T", "B", 3])
    state = b.floats("h", (2, BATCH, 4), [2, "B", 4])
    outputs = b.recurrent("LSTM", x, 3, 4, "bidirectional", initial=[state], peephole=True)
    b.output(outputs[0], "y", ["T", 2, "B", 4])
    work, found = rewritten(b, "LSTM", Form(recurrent=per_column))
    node = next(node for node in work.graph.node if node.op_type == "DynamicQuantizeLSTM")
    inward, across = (b.constants[node_input] for node_input in b.nodes[0].input[1:3])
    for name, exact, columns in (
        (node.input[1], inward, True),
        (node.input[2], across, per_column),
    ):
        small, scale = work.constants[name], work.constants[name.replace("_quantized", "_scale")]
        assert small.shape == exact.swapaxes(1, 2).shape
        assert scale.shape == ((2, 16) if columns else (2,))
        steps = scale[:, None, :] if columns else scale[:, None, None]
        np.testing.assert_allclose(
            small * steps, exact.swapaxes(1, 2), rtol=0, atol=0.501 * scale.max()
        )
    # Initial state and peephole are still read at their places.
    assert [node.input[at] for at in (5, 7)] == [b.nodes[0].input[at] for at in (5, 7)]
    assert list(node.input[8:]) == [
        f"{b.nodes[0].input[at]}_{kind}" for at in (1, 2) for kind in ("scale", "zero_point")
    ]
    np.testing.assert_allclose(found["y"], run(b.model(), b.feeds)["y"], rtol=0, atol=0.03)

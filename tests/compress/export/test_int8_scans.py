"""Recurrent layers as int8 Scans, against the arithmetic of whole numbers, step by step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import GraphProto, TensorProto, helper, numpy_helper

from isslim.compress.export.int8_forms import FORMS, Form
from isslim.compress.export.int8_weights import eight_bits
from isslim.compress.export.quantize import quantize, quantize_graph
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.networks.rhn import RhnLanguageModel, RhnSpec
from isslim.compress.onnx.model.split_model import graphs
from isslim.runtime.language.scoring import score_batch
from isslim.runtime.language.session import LanguageSession
from tests.compress.export.test_int8_nodes import quantized
from tests.compress.export.test_recurrent_scan import CELLS, WIDTH, H, drawn
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import run

Values = np.ndarray
Product = Callable[[Values], Values]

SCANS = Form(scans=True)
LAYERS = ["recurrent layers"]
TEXT = [3, 1, 4, 1, 5, 9, 2, 6]


def whole_numbers(matrix: Values, *, per_column: bool) -> Product:
    """The product of an activation with a matrix (outputs, inputs), both as whole numbers."""
    weight, scale = eight_bits(np.ascontiguousarray(matrix.T), per_column=per_column)

    return in_whole_numbers(weight, scale.reshape(-1))


def in_whole_numbers(weight: Values, scale: Values) -> Product:
    """The product of an activation with whole numbers (inputs, outputs) of a scale."""

    def product(value: Values) -> Values:
        if not value.any():  # there is no scale
            return np.zeros((*value.shape[:-1], weight.shape[1]))
        whole, step, zero = quantized(value.astype(np.float32))
        return (whole - zero) @ weight.astype(int) * (step * scale)

    return product


def held(path: Path) -> dict[str, Values]:
    """The constants of a file, those in bodies included."""
    return {
        each.name: numpy_helper.to_array(each)
        for graph in graphs(onnx.load(path).graph)
        for each in graph.initializer
    }


def sigmoid(value: Values) -> Values:
    return 1 / (1 + np.exp(-value))


def step_of(kind: str, across: Values, bias: Values, form: Form, *, reset_last: bool) -> Callable:
    """A step: from input part (B, G H), state (B, H) and who goes on (B, 1) to the next state."""

    def product(rows: Values) -> Product:
        return whole_numbers(rows, per_column=form.recurrent)

    if kind == "RNN":
        of_state = product(across)
        return lambda fed, state, alive: np.tanh(fed + of_state(state))
    if reset_last:
        of_all = product(across)

        def step(fed: Values, state: Values, alive: Values) -> Values:
            z, r, new = np.split(of_all(state), 3, axis=1)
            z, r = sigmoid(fed[:, :H] + z), sigmoid(fed[:, H : 2 * H] + r)
            new = np.tanh(fed[:, 2 * H :] + r * (new + bias[2 * H :]))
            return (1 - z) * new + z * state

        return step
    of_gates, of_new = product(across[: 2 * H]), product(across[2 * H :])

    def step_with_reset_state(fed: Values, state: Values, alive: Values) -> Values:
        z, r = np.split(sigmoid(fed[:, : 2 * H] + of_gates(state)), 2, axis=1)
        # The gates of a sequence that has ended are shut: it does not widen the steps of others.
        new = np.tanh(fed[:, 2 * H :] + of_new(alive * r * state))
        return (1 - z) * new + z * state

    return step_with_reset_state


def reference(b: Builder, form: Form) -> dict[str, Values]:
    """What the layer of a graph gives in whole numbers: y (T, D, B, H) and h_last (D, B, H)."""
    layer = b.nodes[0]
    x, lengths = b.feeds["x"], b.feeds.get("lengths", np.full(BATCH, STEPS))
    reset_last = any(each.name == "linear_before_reset" and each.i for each in layer.attribute)
    direction = next(each.s for each in layer.attribute if each.name == "direction").decode()
    every, last = [], []
    for index in range(1 + (direction == "bidirectional")):
        inward, across, both = (b.constants[name][index] for name in layer.input[1:4])
        first, second = np.split(both, 2)
        # Only what the reset gate multiplies is not added to the input part.
        kept = len(second) - H if reset_last else len(second)
        fed = whole_numbers(inward, per_column=True)(x.reshape(-1, WIDTH)).reshape(STEPS, BATCH, -1)
        fed = fed + first + np.where(np.arange(len(second)) < kept, second, 0)
        state = b.feeds["h"][index] if "h" in b.feeds else np.zeros((BATCH, H))
        step = step_of(layer.op_type, across, second, form, reset_last=reset_last)
        steps = np.zeros((STEPS, BATCH, H))
        backward = direction == "reverse" or index == 1
        for at in reversed(range(STEPS)) if backward else range(STEPS):
            alive = (at < lengths)[:, None]
            state = np.where(alive, step(fed[at], state, alive), state)
            steps[at] = np.where(alive, state, 0)
        every.append(steps)
        last.append(state)
    return {"y": np.stack(every, 1), "h_last": np.stack(last)}


@pytest.mark.parametrize("form", [SCANS, Form(recurrent=True, scans=True)])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "attributes"), CELLS)
def test_a_layer_is_computed_in_whole_numbers(
    kind: str, attributes: dict[str, int], direction: str, form: Form, tmp_path: Path
) -> None:
    b = drawn(kind, direction, lengths=True, initial=True, **attributes)
    found = quantize_graph(b.model(), tmp_path / "b.onnx", form)
    assert (found.parts, found.rest, found.scans) == (LAYERS, [], True)
    model = onnx.load(tmp_path / "b.onnx")
    onnx.checker.check_model(model, full_check=True)
    made, exact = run(model, b.feeds), run(b.model(), b.feeds)
    for name, expected in reference(b, form).items():
        np.testing.assert_allclose(made[name], expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(made[name], exact[name], rtol=0, atol=0.08)


@pytest.mark.parametrize(("kind", "attributes"), CELLS)
def test_a_layer_without_lengths_and_state_is_too(
    kind: str, attributes: dict[str, int], tmp_path: Path
) -> None:
    b = drawn(kind, opset=11, **attributes)
    quantize_graph(b.model(), tmp_path / "b.onnx", SCANS)
    made = run(onnx.load(tmp_path / "b.onnx"), b.feeds)
    for name, expected in reference(b, SCANS).items():
        np.testing.assert_allclose(made[name], expected, rtol=0, atol=1e-5)


def test_layers_of_no_known_form_are_counted_as_float32(tmp_path: Path) -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    b.output(b.recurrent("GRU", x, WIDTH, H)[0], "y")
    b.output(b.recurrent("GRU", x, WIDTH, H, clip=1.0)[0], "z")
    found = quantize_graph(b.model(), tmp_path / "b.onnx", SCANS)
    assert found.parts == ["1 of 2 recurrent layers"]
    assert found.rest == ["the other recurrent layers"]
    kept = Form(kept=frozenset(LAYERS), scans=True)
    found = quantize_graph(b.model(), tmp_path / "b.onnx", kept)
    assert (found.parts, found.rest, found.scans) == ([], LAYERS, False)


def narrow_lstm(units: int = 6, rank: int = 3) -> tuple[Builder, GraphProto]:
    """An LSTM with a narrow recurrence as a Scan, as others might draw it."""
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    fed = b.node("MatMul", [x, b.weights(WIDTH, 4 * units)])
    states = [b.floats(name, (BATCH, units), ["B", units]) for name in ("h", "c")]
    narrow, wide = b.weights(units, rank), b.weights(rank, 4 * units)
    node = helper.make_node
    nodes = [
        node("MatMul", ["hidden", narrow], ["narrow"]),
        node("MatMul", ["narrow", wide], ["product"]),
        node("Add", ["product", "fed"], ["gates"]),
        node("Split", ["gates", b.constant([units] * 4)], [*"iofg"], axis=1),
        *(node("Sigmoid", [gate], [f"open_{gate}"]) for gate in "iof"),
        node("Tanh", ["g"], ["new"]),
        node("Mul", ["open_i", "new"], ["added"]),
        node("Mul", ["open_f", "cell"], ["left"]),
        node("Add", ["added", "left"], ["next_cell"]),
        node("Tanh", ["next_cell"], ["shown"]),
        node("Mul", ["open_o", "shown"], ["next_hidden"]),
        node("Identity", ["next_hidden"], ["kept"]),
    ]
    sizes = {"hidden": units, "cell": units, "fed": 4 * units}
    floats = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", sizes.get(name, units)])
        for name in (*sizes, "next_hidden", "next_cell", "kept")
    ]
    body = helper.make_graph(nodes, "step", floats[:3], floats[3:])
    outputs = ["last_h", "last_c", "every"]
    b.node("Scan", [*states, fed], outputs, num_scan_inputs=1, body=body)
    for name, shape in zip(outputs, (["B", units], ["B", units], ["T", "B", units]), strict=True):
        b.output(name, f"{name}_out", shape)
    return b, body


@pytest.mark.parametrize("form", FORMS)
def test_an_lstm_with_a_narrow_recurrence_is_computed_in_whole_numbers(
    form: Form, tmp_path: Path
) -> None:
    b, body = narrow_lstm()
    found = quantize_graph(b.model(), tmp_path / "b.onnx", form)
    assert (found.parts, found.rest, found.scans) == ([*LAYERS, "matrix products"], [], False)
    model = onnx.load(tmp_path / "b.onnx")
    made, exact = run(model, b.feeds), run(b.model(), b.feeds)
    constants = held(tmp_path / "b.onnx")

    def product(name: str) -> Product:
        weight, scale = constants[f"{name}_quantized"], constants[f"{name}_scale"]
        columns = form.recurrent if "spread" in name else form.products
        assert scale.shape == ((weight.shape[1],) if columns else ())
        return in_whole_numbers(weight, scale)

    # Between both matrices of the recurrence is another basis.
    narrow, wide = (f"{node.input[1]}_spread" for node in body.node[:2])
    inward = b.nodes[0].input[1]
    fed = product(inward)(b.feeds["x"].reshape(-1, WIDTH)).reshape(STEPS, BATCH, -1)
    hidden, cell = b.feeds["h"], b.feeds["c"]
    for at in range(STEPS):
        gates = fed[at] + product(wide)(product(narrow)(hidden))
        i, o, f, g = np.split(gates, 4, axis=1)
        cell = sigmoid(i) * np.tanh(g) + sigmoid(f) * cell
        hidden = sigmoid(o) * np.tanh(cell)
        np.testing.assert_allclose(made["every_out"][at], hidden, rtol=0, atol=1e-5)
    np.testing.assert_allclose(made["last_c_out"], cell, rtol=0, atol=1e-5)
    for name, expected in exact.items():
        np.testing.assert_allclose(made[name], expected, rtol=0, atol=0.15)


def test_a_highway_network_is_computed_in_whole_numbers(tmp_path: Path) -> None:
    spec = RhnSpec(30, 8, 12, 3)
    network = RhnLanguageModel(spec).eval()
    network.initialise(0.5, torch.Generator().manual_seed(0))
    export(network, tmp_path / "a.onnx")
    found = quantize(tmp_path / "a.onnx", tmp_path / "b.onnx", FORMS[1])
    assert (found.parts, found.rest) == (["embedding", *LAYERS, "softmax"], [])
    exact, made = (
        score_batch(LanguageSession(tmp_path / f"{name}.onnx"), [TEXT], 0)[0].log_probs
        for name in "ab"
    )
    np.testing.assert_allclose(made, exact, rtol=0, atol=0.1)
    constants = held(tmp_path / "b.onnx")

    def product(name: str) -> Product:
        return in_whole_numbers(constants[f"{name}_quantized"], constants[f"{name}_scale"])

    def bias(name: str) -> Values:
        return constants[name]

    # The embedding's basis is another one, in its table and in the matrix that reads it.
    table = constants["embedding_spread_quantized"] * constants["embedding_spread_scale"]
    fed = product("input_weight_spread")(table[[0, *TEXT[:-1]]])
    state, tops = np.zeros((1, spec.width)), []
    for each in fed:
        for depth in range(spec.depth):
            gates = product(f"recurrent_weight_{depth}")(state) + bias(f"bias_{depth}")
            new, moves = np.split(gates + (0 if depth else each), 2, axis=1)
            state = state + sigmoid(moves) * (np.tanh(new) - state)
        tops.append(state)
    logits = product("decoder_turned")(np.concatenate(tops)) + bias("decoder_bias")
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = log_probs[np.arange(len(TEXT)), TEXT]
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-5)


def summing(factor: float) -> Builder:
    """A Scan whose state is the sum of a product, times a factor, and of the state before."""
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    start = b.floats("h", (BATCH, H), ["B", H])
    nodes = [
        helper.make_node("Gemm", ["step", b.weights(WIDTH, H)], ["product"], alpha=factor),
        helper.make_node("Add", ["product", "state"], ["next"]),
    ]
    state, step, after = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", width])
        for name, width in (("state", H), ("step", WIDTH), ("next", H))
    )
    body = helper.make_graph(nodes, "sums", [state, step], [after])
    b.output(b.node("Scan", [start, x], num_scan_inputs=1, body=body), "y", ["B", H])
    return b


@pytest.mark.parametrize(("factor", "able"), [(1.0, True), (2.0, False)])
def test_a_scan_takes_eight_bits_where_all_of_its_products_can(
    factor: float, able: bool, tmp_path: Path
) -> None:
    b = summing(factor)
    found = quantize_graph(b.model(), tmp_path / "b.onnx")
    assert (found.parts, found.rest) == ((LAYERS, []) if able else ([], LAYERS))
    if able:
        made = run(onnx.load(tmp_path / "b.onnx"), b.feeds)["y"]
        np.testing.assert_allclose(made, run(b.model(), b.feeds)["y"], rtol=0, atol=0.15)


def test_a_scan_without_a_matrix_is_no_layer(tmp_path: Path) -> None:
    b = summing(1.0)
    body = next(each.g for each in b.nodes[0].attribute if each.HasField("g"))
    body.node[0].CopyFrom(helper.make_node("ReduceMean", ["step"], ["product"], keepdims=1))
    found = quantize_graph(b.model(), tmp_path / "b.onnx")
    assert (found.parts, found.rest) == ([], [])

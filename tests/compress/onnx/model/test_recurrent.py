"""Canonical arrays of layers: the operators' equations with them give what ONNX Runtime gives."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from isslim.compress.errors import GraphNotUnderstood
from isslim.compress.onnx.model.recurrent import H0, B, Cell, P, R, W, cell, tensors, view
from tests.compress.onnx.drawing import BATCH, Builder
from tests.compress.onnx.proving import run

STEPS, WIDTH, UNITS = 5, 3, 4


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm_step(one: Cell, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, ...]:
    """https://onnx.ai/onnx/operators/onnx__LSTM.html; gates i, o, f, c; peepholes i, o, f."""
    i, o, f, new = np.split(x @ one.weight.T + h @ one.recurrence.T + one.bias, 4, axis=1)
    pi, po, pf = np.split(one.peephole, 3) if one.peephole is not None else np.zeros((3, UNITS))
    c = sigmoid(f + pf * c) * c + sigmoid(i + pi * c) * np.tanh(new)
    return sigmoid(o + po * c) * np.tanh(c), c


def gru_step(one: Cell, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """https://onnx.ai/onnx/operators/onnx__GRU.html#summary; gates z, r, h."""
    z, r, new = np.split(x @ one.weight.T + one.bias, 3, axis=1)
    across = h @ one.recurrence.T + one.recurrence_bias
    z, r = sigmoid(z + across[:, :UNITS]), sigmoid(r + across[:, UNITS : 2 * UNITS])
    if one.candidate is None:
        new = np.tanh(new + r * across[:, 2 * UNITS :])
    else:
        new = np.tanh(new + (r * h) @ one.candidate.T + one.candidate_bias)
    return (1 - z) * new + z * h


def unrolled(kind: str, one: Cell, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Every state (T, B, H) of one direction, step by step."""
    c, found = np.zeros_like(h), []
    for step in x:
        if kind == "LSTM":
            h, c = lstm_step(one, step, h, c)
        elif kind == "GRU":
            h = gru_step(one, step, h)
        else:
            h = np.tanh(step @ one.weight.T + h @ one.recurrence.T + one.bias)
        found.append(h)
    return np.stack(found)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["LSTM", "LSTM peephole", "GRU", "GRU linear", "RNN"])
def test_the_equations_with_canonical_arrays_give_what_the_operator_gives(
    kind: str, bias: bool, direction: str
) -> None:
    b = Builder(rng=np.random.default_rng(2))
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    count = 2 if direction == "bidirectional" else 1
    state = b.floats("h0", (count, BATCH, UNITS), [count, "B", UNITS])
    more = {"linear_before_reset": 1} if kind == "GRU linear" else {}
    operator = kind.split()[0]
    outputs = b.recurrent(
        operator, x, WIDTH, UNITS, direction,
        bias=bias, initial=[state], peephole="peephole" in kind, **more,
    )  # fmt: skip
    b.output(outputs[0], "y", ["T", count, "B", UNITS])
    made = run(b.model(), b.feeds)["y"]
    seen = view(b.nodes[0])
    assert seen is not None
    weights = {at: b.constants[seen.given(at)] for at in (W, R, B, P) if seen.given(at)}
    for index, name in enumerate(seen.directions):
        back = slice(None, None, -1) if name == "backward" else slice(None)
        one = cell(seen, index, weights)
        found = unrolled(operator, one, b.feeds["x"][back], b.feeds["h0"][index])[back]
        np.testing.assert_allclose(found, made[:, index], rtol=1e-5, atol=1e-6)
    cells = [cell(seen, index, weights) for index in range(count)]
    again = tensors(seen, cells)
    # Where both biases are one, they come back as the first of the two.
    for at in (W, R, P):
        if at in weights:
            np.testing.assert_array_equal(again[at], weights[at])
    for index, one in enumerate(cells):
        for label, value in cell(seen, index, dict(again)).arrays().items():
            np.testing.assert_array_equal(value, one.arrays()[label])


def test_what_a_node_is() -> None:
    node = helper.make_node(
        "GRU", ["x", "w", "r", "", "", "h"], ["", "last"], hidden_size=4, direction="bidirectional"
    )
    seen = view(node)
    assert seen is not None
    assert (seen.name, seen.kind, seen.units, seen.gates) == ("last", "GRU", 4, 3)
    assert seen.directions == ("forward", "backward")
    assert (seen.joint, seen.reset_first, seen.states) == (False, True, (H0,))
    assert (seen.given(H0), seen.given(B), seen.given(P)) == ("h", "", "")
    assert view(helper.make_node("Relu", ["x"], ["y"])) is None
    assert view(helper.make_node("GRU", ["x"], ["y"], domain="my.domain")) is None


@pytest.mark.parametrize(
    ("kind", "activations", "culprit"),
    [
        ("LSTM", None, None),
        ("LSTM", ["HardSigmoid", "Tanh", "Relu"], None),
        ("LSTM", ["Sigmoid", "Sigmoid", "Tanh"], "Sigmoid"),
        ("LSTM", ["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Tanh", "Softplus"], "Softplus"),
        ("GRU", ["Sigmoid", "Affine"], "Affine"),
        ("GRU", ["Softplus", "Elu"], None),
        ("RNN", ["Sigmoid"], "Sigmoid"),
        ("RNN", ["Tanh", "HardSigmoid"], "HardSigmoid"),
    ],
)
def test_an_activation_that_makes_something_of_zero_is_found(
    kind: str, activations: list[str] | None, culprit: str | None
) -> None:
    more = {"activations": activations} if activations else {}
    per = {"LSTM": 3, "GRU": 2, "RNN": 1}[kind]
    direction = "bidirectional" if len(activations or []) > per else "forward"
    seen = view(helper.make_node(kind, ["x"], ["y"], direction=direction, **more))
    assert seen is not None
    assert seen.not_zero_preserving() == culprit


@pytest.mark.parametrize(("beta", "culprit"), [(0.0, None), (0.5, "Affine")])
def test_a_factor_makes_nothing_of_zero_and_an_offset_does(
    beta: float, culprit: str | None
) -> None:
    more = {"activations": ["Affine"], "activation_alpha": [2.0], "activation_beta": [beta]}
    seen = view(helper.make_node("RNN", ["x"], ["y"], **more))
    assert seen is not None
    assert seen.not_zero_preserving() == culprit


def test_a_direction_that_there_is_not_is_refused() -> None:
    node = helper.make_node("GRU", ["x", "w", "r"], ["y"], name="g", direction="sideways")
    with pytest.raises(GraphNotUnderstood, match="GRU 'g' is 'sideways': expected forward, rev"):
        view(node)

"""Activations of gates by the formulas of the operator's page, and whose numbers are whose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from isslim.compress.onnx.model.gates import reset_gate
from isslim.compress.onnx.model.recurrent import B, R, W, view
from tests.compress.onnx.drawing import Builder

WIDTH, UNITS = 3, 4
Formula = Callable[[np.ndarray], np.ndarray]


def gate(direction: int, given: np.ndarray, before: np.ndarray, **more: object) -> np.ndarray:
    """The reset gate of one direction of a random GRU."""
    b = Builder(rng=np.random.default_rng(4))
    b.recurrent("GRU", "x", WIDTH, UNITS, "bidirectional", **more)
    seen = view(b.nodes[0])
    assert seen is not None
    weights = {at: b.constants[seen.given(at)] for at in (W, R, B)}
    return reset_gate(seen, direction, weights)(given, before)


def by_hand(direction: int, given: np.ndarray, before: np.ndarray) -> np.ndarray:
    """X W_r^T + H R_r^T + Wb_r + Rb_r with the same weights, unit by unit."""
    b = Builder(rng=np.random.default_rng(4))
    b.recurrent("GRU", "x", WIDTH, UNITS, "bidirectional")
    w, r, bias = (b.constants[name][direction].astype(float) for name in b.nodes[0].input[1:4])
    found = np.zeros((len(given), UNITS))
    for unit in range(UNITS):
        row = UNITS + unit  # gates lie in the order z, r, h
        found[:, unit] = given @ w[row] + before @ r[row] + bias[row] + bias[3 * UNITS + row]
    return found


@pytest.mark.parametrize("direction", [0, 1])
@pytest.mark.parametrize(
    ("name", "alpha", "beta", "formula"),
    [
        ("Sigmoid", [], [], lambda x: 1 / (1 + np.exp(-x))),
        ("Affine", [0.5] * 2, [0.2] * 2, lambda x: 0.5 * x + 0.2),
        ("LeakyRelu", [], [], lambda x: np.where(x >= 0, x, 0.01 * x)),
        ("ThresholdedRelu", [], [], lambda x: np.where(x >= 1, x, 0)),
        ("ScaledTanh", [1.5] * 2, [0.5] * 2, lambda x: 1.5 * np.tanh(0.5 * x)),
        ("HardSigmoid", [], [], lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
        ("Elu", [0.7] * 2, [], lambda x: np.where(x >= 0, x, 0.7 * (np.exp(x) - 1))),
        ("Softsign", [], [], lambda x: x / (1 + np.abs(x))),
        ("Softplus", [], [], lambda x: np.log1p(np.exp(x))),
        ("Relu", [], [], lambda x: x * (x > 0)),
    ],
)
def test_an_activation_is_the_formula_of_its_page(
    name: str, alpha: list[float], beta: list[float], formula: Formula, direction: int
) -> None:
    rng = np.random.default_rng(1)
    given, before = (rng.normal(0, 2, (50, n)).astype(np.float32) for n in (WIDTH, UNITS))
    numbers = {"activation_alpha": alpha, "activation_beta": beta}
    more = {key: value for key, value in numbers.items() if value}
    made = gate(direction, given, before, activations=[name, "Tanh"] * 2, **more)
    assert made.dtype == np.float32
    expected = formula(by_hand(direction, given, before))
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-5)


def test_numbers_are_consumed_in_the_order_of_activations_that_have_some() -> None:
    rng = np.random.default_rng(1)
    given, before = (rng.normal(0, 2, (50, n)).astype(np.float32) for n in (WIDTH, UNITS))
    more = {
        "activations": ["LeakyRelu", "HardSigmoid", "Affine", "ScaledTanh"],
        "activation_alpha": [0.1, 0.2, 0.3, 0.4],
        "activation_beta": [0.5, 0.6, 0.7],  # a LeakyRelu has none
    }
    first, second = (by_hand(direction, given, before) for direction in (0, 1))
    np.testing.assert_allclose(
        gate(0, given, before, **more),
        np.where(first >= 0, first, 0.1 * first),
        rtol=1e-4,
        atol=1e-5,
    )
    np.testing.assert_allclose(
        gate(1, given, before, **more), 0.3 * second + 0.6, rtol=1e-4, atol=1e-5
    )


def test_a_clip_comes_before_the_activation() -> None:
    given, before = np.full((1, WIDTH), 50, np.float32), np.zeros((1, UNITS), np.float32)
    made = gate(0, given, before, clip=0.4, activations=["Affine", "Tanh"] * 2)
    np.testing.assert_allclose(np.abs(made), 0.4, rtol=1e-6)
    assert not np.isnan(gate(0, given * 1e6, before)).any()

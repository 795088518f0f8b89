"""Operators that work number by number, in torch and in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto

from isslim.compress.errors import NotTrainable
from isslim.compress.kinds.graphs.trainable.network import TorchGraph
from tests.compress.kinds.graphs.trainable.same import built, floats, one
from tests.compress.onnx.drawing import Builder

WHOLE = np.array([[-7, 3, 0], [5, -2, 9]], np.int64)
NUMBERS = np.array([-1e3, -21, -1.5, -0.5, -0.0, 0, 0.25, 0.5, 1.5, 2.5, 30, 1e3], np.float32)

EVERYWHERE = (
    *("Abs", "Neg", "Sin", "Cos", "Tan", "Asinh", "Atan", "Erf", "Sign", "Floor", "Ceil", "Round"),
    *("Sigmoid", "Tanh", "Relu", "LeakyRelu", "ThresholdedRelu", "Elu", "Selu", "Celu", "Identity"),
    *("HardSigmoid", "HardSwish", "Softplus", "Softsign", "Shrink"),
)
WITHIN = {
    "Sqrt": (0, 9), "Exp": (-9, 9), "Log": (0.1, 9), "Sinh": (-3, 3), "Cosh": (-3, 3),
    "Asin": (-1, 1), "Acos": (-1, 1), "Acosh": (1, 9), "Atanh": (-0.9, 0.9), "Reciprocal": (0.1, 9),
}  # fmt: skip
"""Where a function is one of numbers that are not huge."""
SETTINGS: dict[str, dict[str, Any]] = {
    "LeakyRelu": {"alpha": 0.2}, "ThresholdedRelu": {"alpha": 0.3}, "Elu": {"alpha": 0.6},
    "Selu": {"alpha": 1.2, "gamma": 0.9}, "Celu": {"alpha": 0.6},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4}, "Shrink": {"bias": 0.2, "lambd": 0.4},
}  # fmt: skip


@pytest.mark.parametrize("operator", EVERYWHERE)
def test_function_is_the_same_for_small_and_large_numbers(operator: str) -> None:
    one(operator, NUMBERS, tolerance=2e-5)


@pytest.mark.parametrize("operator", WITHIN)
def test_function_is_the_same_where_it_is_one(operator: str) -> None:
    one(operator, np.linspace(*WITHIN[operator], 11).astype(np.float32), tolerance=1e-5)


@pytest.mark.parametrize("operator", SETTINGS)
def test_settings_are_read(operator: str) -> None:
    one(operator, NUMBERS, **SETTINGS[operator])


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_is_exact_or_approximate(approximate: str) -> None:
    one("Gelu", NUMBERS, opset=20, approximate=approximate)


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean"])
def test_operands_are_stretched_to_each_other(operator: str) -> None:
    one(operator, floats(2, 1, 3), floats(4, 1, seed=1))


@pytest.mark.parametrize("operator", ["Max", "Min", "Sum", "Mean"])
def test_three_operands(operator: str) -> None:
    one(operator, floats(2, 3), floats(3, seed=1), floats(1, 3, seed=2))


def test_whole_numbers_are_divided_towards_zero() -> None:
    one("Div", WHOLE, np.array([2, -2, 3]), kinds=[TensorProto.INT64])


@pytest.mark.parametrize("fmod", [0, 1])
def test_remainders_have_the_sign_of_the_divisor_or_of_the_dividend(fmod: int) -> None:
    one("Mod", WHOLE, np.array([4, -3, 5]), fmod=fmod, kinds=[TensorProto.INT64])


@pytest.mark.parametrize("operator", ["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"])
def test_comparisons(operator: str) -> None:
    one(operator, WHOLE, np.array([3, 3, 0]), kinds=[TensorProto.BOOL])


@pytest.mark.parametrize("operator", ["And", "Or", "Xor"])
def test_truth_values(operator: str) -> None:
    one(operator, WHOLE > 0, np.array([True, False, True]), kinds=[TensorProto.BOOL])


def test_not() -> None:
    one("Not", WHOLE > 0, kinds=[TensorProto.BOOL])


@pytest.mark.parametrize(("low", "high"), [(1, 1), (0, 1), (1, 0)])
def test_infinite_numbers_of_either_sign_and_no_numbers_are_found(low: int, high: int) -> None:
    strange = np.array([np.inf, -np.inf, np.nan, 1], np.float32)
    settings = {"detect_negative": low, "detect_positive": high}
    one("IsInf", strange, kinds=[TensorProto.BOOL], **settings)
    one("IsNaN", strange, kinds=[TensorProto.BOOL])


@pytest.mark.parametrize("exponent", [2.0, 3.0, 0.5, -1.0])
def test_powers(exponent: float) -> None:
    one("Pow", np.abs(floats(2, 3)) + np.float32(0.1), np.array([exponent], np.float32))


def test_powers_are_of_the_type_of_their_base() -> None:
    one("Pow", floats(2, 3), np.array([2], np.int64))


def test_limits_are_attributes_or_inputs_and_each_may_be_left_out() -> None:
    x, low, high = floats(3, 4), np.float32(-0.5), np.float32(0.5)
    one("Clip", x, opset=10, min=-0.5, max=0.5)
    one("Clip", x, opset=10, max=0.5)
    one("Clip", x, np.array(low), np.array(high))
    one("Clip", x, None, np.array(high))
    one("Clip", x, np.array(low))
    one("Clip", x)


def test_slopes_of_negative_numbers_of_each_channel() -> None:
    one("PRelu", floats(2, 3, 4), floats(3, 1, seed=1))


def test_where() -> None:
    one("Where", floats(2, 1) > 0, floats(2, 3), floats(3, seed=1))


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(TensorProto.INT64, np.int64), (TensorProto.BOOL, bool), (TensorProto.DOUBLE, np.float64)],
)
def test_casts(kind: int, dtype: type) -> None:
    one("Cast", np.array([-1.7, 0, 0.4, 2.9], np.float32), to=kind, kinds=[kind])
    one("Cast", np.array([0, 1, 2]).astype(dtype), to=TensorProto.FLOAT)


def test_cast_to_what_torch_lacks_is_refused() -> None:
    b = Builder()
    y = b.node("Cast", [b.floats("x", (2,), [2])], to=TensorProto.STRING)
    with pytest.raises(NotTrainable, match="Cast 'cast_0': it makes a type of number 8"):
        TorchGraph.of(built(b, y))


@pytest.mark.parametrize("wanted", [1, 2])
def test_nothing_is_dropped(wanted: int) -> None:
    one("Dropout", floats(2, 3), outputs=wanted, kinds=[TensorProto.FLOAT, TensorProto.BOOL])


def test_what_drops_values_when_it_is_served_is_refused() -> None:
    b = Builder()
    share, training = b.constant(0.5, np.float32), b.constant(True, bool)
    y = b.node("Dropout", [b.floats("x", (2,), [2]), share, training])
    with pytest.raises(NotTrainable, match="it drops values at random"):
        TorchGraph.of(built(b, y))


@pytest.mark.parametrize("operator", ["Sqrt", "Pow"])
def test_gradient_of_a_root_is_the_true_one_but_at_zero(operator: str) -> None:
    b = Builder()
    x = b.floats("x", (3,), [3])
    half = [b.constant(0.5, np.float32)] if operator == "Pow" else []
    graph = TorchGraph.of(built(b, b.node(operator, [x, *half])))
    given = torch.tensor([0.0, 0.25, 4.0], requires_grad=True)
    made = graph({"x": given}, ["y0"])["y0"]
    made.sum().backward()
    torch.testing.assert_close(made.detach(), torch.tensor([0.0, 0.5, 2.0]))
    torch.testing.assert_close(given.grad, torch.tensor([0.0, 1.0, 0.25]))

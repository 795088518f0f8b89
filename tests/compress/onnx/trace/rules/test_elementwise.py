"""Operators that work number by number, behind a layer of which units are removed."""

from __future__ import annotations

from collections.abc import Callable
from math import erf

import numpy as np
import pytest
from onnx import TensorProto

from isslim.compress.onnx.trace.alignment import PARTS_DIFFER
from isslim.compress.onnx.trace.context import OTHER_SIZE
from isslim.compress.onnx.trace.rules import elementwise
from isslim.compress.onnx.trace.rules.elementwise import DIVIDES_BY_ZERO
from isslim.compress.onnx.trace.rules.obstacles import SUMS_NONZERO
from tests.compress.onnx.trace.rules.recurrences import Values, sigmoid
from tests.compress.onnx.trace.rules.units import (
    BATCH,
    STEPS,
    UNITS,
    WIDTH,
    UnitsGraph,
    assert_close,
    operators_of,
)

Function = Callable[[Values], Values]


def softplus(x: Values) -> Values:
    return np.log1p(np.exp(x))


KEEPS_ZERO: dict[str, tuple[Function, dict[str, float]]] = {
    "Tanh": (np.tanh, {}),
    "Relu": (lambda x: np.maximum(x, 0), {}),
    "LeakyRelu": (lambda x: np.where(x < 0, 0.3 * x, x), {"alpha": 0.3}),
    "ThresholdedRelu": (lambda x: np.where(x > 0.05, x, 0), {"alpha": 0.05}),
    "Elu": (lambda x: np.where(x < 0, 0.5 * (np.exp(x) - 1), x), {"alpha": 0.5}),
    "Selu": (
        lambda x: 2 * np.where(x <= 0, 1.5 * (np.exp(x) - 1), x),
        {"alpha": 1.5, "gamma": 2.0},
    ),
    "Celu": (
        lambda x: np.maximum(0, x) + np.minimum(0, 0.5 * (np.exp(x / 0.5) - 1)),
        {"alpha": 0.5},
    ),
    "Abs": (np.abs, {}),
    "Neg": (np.negative, {}),
    "Sqrt": (np.sqrt, {}),
    "Sin": (np.sin, {}),
    "Sinh": (np.sinh, {}),
    "Asinh": (np.arcsinh, {}),
    "Tan": (np.tan, {}),
    "Atan": (np.arctan, {}),
    "Asin": (np.arcsin, {}),
    "Atanh": (np.arctanh, {}),
    "Erf": (np.vectorize(erf), {}),
    "Gelu": (lambda x: 0.5 * x * (1 + np.vectorize(erf)(x / np.sqrt(2))), {}),
    "Softsign": (lambda x: x / (1 + np.abs(x)), {}),
    "Sign": (np.sign, {}),
    "Floor": (np.floor, {}),
    "Ceil": (np.ceil, {}),
    "Round": (np.rint, {}),
    "HardSwish": (lambda x: x * np.clip(x / 6 + 0.5, 0, 1), {}),
    "Mish": (lambda x: x * np.tanh(softplus(x)), {}),
    "Swish": (lambda x: x * sigmoid(0.5 * x), {"alpha": 0.5}),
    "Shrink": (
        lambda x: np.where(x < -0.05, x + 0.1, np.where(x > 0.05, x - 0.1, 0)),
        {"lambd": 0.05, "bias": 0.1},
    ),
}
LOSES_ZERO: dict[str, tuple[Function, dict[str, float]]] = {
    "Sigmoid": (sigmoid, {}),
    "HardSigmoid": (lambda x: np.clip(0.3 * x + 0.4, 0, 1), {"alpha": 0.3, "beta": 0.4}),
    "Exp": (np.exp, {}),
    "Softplus": (softplus, {}),
    "Cos": (np.cos, {}),
    "Cosh": (np.cosh, {}),
    "Acos": (np.arccos, {}),
}
OPSETS = {"Gelu": 20, "Mish": 20, "Swish": 24}
"""Where an operator is newer than 17."""


def unary(operator: str) -> tuple[UnitsGraph, object, str]:
    """An operator behind a layer; Sqrt reads squares, for which it is defined."""
    graph = UnitsGraph(OPSETS.get(operator, 17))
    layer = graph.layer()
    value = graph.b.node("Mul", [layer.steps] * 2) if operator == "Sqrt" else layer.steps
    attributes = {**KEEPS_ZERO, **LOSES_ZERO}[operator][1]
    return graph, layer, graph.b.node(operator, [value], **attributes)


@pytest.mark.parametrize("operator", [*KEEPS_ZERO, *LOSES_ZERO])
def test_function_of_each_number_is_read_by_a_matrix(operator: str) -> None:
    graph, layer, value = unary(operator)
    output, matrix = graph.matmul(value)
    cut = graph.cut(output)
    steps = cut.steps(layer)
    expected = {**KEEPS_ZERO, **LOSES_ZERO}[operator][0](steps**2 if operator == "Sqrt" else steps)
    assert_close(cut.y, expected @ cut.rows(matrix, cut.mask(layer)))


@pytest.mark.parametrize("operator", KEEPS_ZERO)
def test_function_that_keeps_zero_may_be_summed_over_units(operator: str) -> None:
    graph, layer, value = unary(operator)
    cut = graph.cut(graph.b.total(value, 2))
    steps = cut.steps(layer)
    function = KEEPS_ZERO[operator][0]
    assert_close(cut.y, function(steps**2 if operator == "Sqrt" else steps).sum(2))


@pytest.mark.parametrize("operator", LOSES_ZERO)
def test_function_that_loses_zero_may_not(operator: str) -> None:
    graph, _, value = unary(operator)
    assert SUMS_NONZERO in graph.reasons(graph.b.total(value, 2))[0]


TRUTHS: dict[str, Function] = {
    "Not": lambda x: ~(x > 0.02),
    "IsNaN": np.isnan,
    "IsInf": np.isinf,
}


def truth(operator: str) -> tuple[UnitsGraph, object, str]:
    graph = UnitsGraph()
    layer = graph.layer()
    value = layer.steps
    if operator == "Not":
        value = graph.b.node("Greater", [value, graph.b.constant(0.02, np.float32)])
    return (
        graph,
        layer,
        graph.b.node("Cast", [graph.b.node(operator, [value])], to=TensorProto.FLOAT),
    )


@pytest.mark.parametrize("operator", TRUTHS)
def test_truth_of_each_number_is_read_by_a_matrix_and_not_summed(operator: str) -> None:
    graph, layer, value = truth(operator)
    output, matrix = graph.matmul(value)
    cut = graph.cut(output)
    expected = TRUTHS[operator](cut.steps(layer)).astype(np.float32)
    assert_close(cut.y, expected @ cut.rows(matrix, cut.mask(layer)))
    graph, _, value = truth(operator)
    assert SUMS_NONZERO in graph.reasons(graph.b.total(value, 2))[0]


def clipped(opset: int, low: float | None, high: float | None) -> tuple[UnitsGraph, object, str]:
    graph = UnitsGraph(opset)
    layer = graph.layer()
    if opset < 11:
        limits = {key: each for key, each in (("min", low), ("max", high)) if each is not None}
        return graph, layer, graph.b.node("Clip", [layer.steps], **limits)
    names = ["" if each is None else graph.b.constant(each, np.float32) for each in (low, high)]
    return graph, layer, graph.b.node("Clip", [layer.steps, *names])


@pytest.mark.parametrize("opset", [10, 17])
@pytest.mark.parametrize(("low", "high"), [(-0.05, 0.1), (None, 0.1), (-0.05, None), (0.0, 0.0)])
def test_clip_with_zero_within_its_limits_keeps_it(
    opset: int, low: float | None, high: float | None
) -> None:
    graph, layer, value = clipped(opset, low, high)
    cut = graph.cut(graph.b.total(value, 2))
    assert_close(cut.y, np.clip(cut.steps(layer), low, high).sum(2))


@pytest.mark.parametrize("opset", [10, 17])
@pytest.mark.parametrize(("low", "high"), [(0.05, 1.0), (-1.0, -0.05)])
def test_clip_with_zero_outside_its_limits_does_not(opset: int, low: float, high: float) -> None:
    graph, layer, value = clipped(opset, low, high)
    output, matrix = graph.matmul(value)
    cut = graph.cut(output)
    expected = np.clip(cut.steps(layer), low, high)
    assert_close(cut.y, expected @ cut.rows(matrix, cut.mask(layer)))
    graph, _, value = clipped(opset, low, high)
    assert SUMS_NONZERO in graph.reasons(graph.b.total(value, 2))[0]


def test_clip_by_a_limit_of_the_caller_may_lose_zero() -> None:
    graph = UnitsGraph()
    limit = graph.b.input("limit", np.array(0.05, np.float32), [])
    value = graph.b.node("Clip", [graph.layer().steps, limit])
    assert SUMS_NONZERO in graph.reasons(graph.b.total(value, 2))[0]


BINARY: dict[str, Callable[[Values, Values], Values]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Sum": np.add,
    "Mean": lambda a, b: (a + b) / 2,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
}


@pytest.mark.parametrize("operator", BINARY)
def test_units_of_two_layers_that_meet_are_one_axis(operator: str) -> None:
    graph = UnitsGraph()
    one, other = graph.layer(), graph.layer()
    cut = graph.cut(graph.b.total(graph.b.node(operator, [one.steps, other.steps]), 2))
    assert len(cut.keep) == 1
    assert_close(cut.y, BINARY[operator](cut.steps(one), cut.steps(other)).sum(2))


@pytest.mark.parametrize("operator", BINARY)
@pytest.mark.parametrize("shape", [(UNITS,), (1, 1, UNITS), (BATCH, UNITS)])
def test_constant_is_indexed_by_the_units_that_it_meets(
    operator: str, shape: tuple[int, ...]
) -> None:
    graph = UnitsGraph()
    layer, constant = graph.layer(), graph.floats(*shape)
    cut = graph.cut(graph.b.total(graph.b.node(operator, [constant, layer.steps]), 2))
    # At removed units a constant counts as zero: nothing is left of it either.
    held = cut.constant(constant) * cut.mask(layer)
    assert_close(cut.y, BINARY[operator](held, cut.steps(layer)).sum(2))


@pytest.mark.parametrize("operator", BINARY)
@pytest.mark.parametrize("shape", [(UNITS,), (BATCH, UNITS), (STEPS, BATCH, UNITS)])
def test_input_of_the_caller_is_let_through_in_part(operator: str, shape: tuple[int, ...]) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    other = graph.b.floats("other", shape, list(shape))
    output, matrix = graph.matmul(graph.b.node(operator, [layer.steps, other]))
    cut = graph.cut(output)
    met = BINARY[operator](cut.steps(layer), graph.b.feeds["other"])
    assert_close(cut.y, met @ cut.rows(matrix, cut.mask(layer)))


@pytest.mark.parametrize("operator", ["Add", "Sub", "Sum", "Mean"])
def test_one_number_for_all_units_is_no_zero(operator: str) -> None:
    graph = UnitsGraph()
    value = graph.b.node(operator, [graph.layer().steps, graph.b.constant(0.5, np.float32)])
    assert SUMS_NONZERO in graph.reasons(graph.b.total(value, 2))[0]


def test_product_with_one_number_is_zero_at_removed_units() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    value = graph.b.node("Mul", [graph.b.constant(0.5, np.float32), layer.steps])
    cut = graph.cut(graph.b.total(value, 2))
    assert_close(cut.y, (0.5 * cut.steps(layer)).sum(2))


def test_gated_input_of_the_caller_is_no_zero() -> None:
    graph = UnitsGraph()
    other = graph.b.floats("other", (STEPS, BATCH, UNITS), [STEPS, BATCH, UNITS])
    value = graph.b.node("Add", [graph.layer().steps, other])
    assert SUMS_NONZERO in graph.reasons(graph.b.total(value, 2))[0]


def test_input_of_unknown_size_is_refused() -> None:
    graph = UnitsGraph()
    other = graph.b.floats("other", (STEPS, BATCH, UNITS), [STEPS, BATCH, "N"])
    output, _ = graph.matmul(graph.b.node("Add", [graph.layer().steps, other]))
    assert OTHER_SIZE in graph.reasons(output)[0]


def test_matrix_behind_the_input_meets_units_in_a_skip_connection() -> None:
    graph = UnitsGraph()
    layer, skip = graph.layer(), graph.b.weights(WIDTH, UNITS)
    value = graph.b.node("Add", [layer.steps, graph.b.node("MatMul", [graph.x, skip])])
    cut = graph.cut(graph.b.total(value, 2))
    through = graph.b.feeds["x"] @ (cut.constant(skip) * cut.mask(layer))
    assert_close(cut.y, (cut.steps(layer) + through).sum(2))


def test_outputs_of_a_matrix_are_divided_where_they_meet_units_of_two_layers() -> None:
    graph = UnitsGraph()
    one, other, wide = graph.layer(), graph.layer(), graph.b.weights(WIDTH, 2 * UNITS)
    both = graph.b.node("Concat", [one.steps, other.steps], axis=2)
    value = graph.b.node("Add", [graph.b.node("MatMul", [graph.x, wide]), both])
    cut = graph.cut(graph.b.total(value, 2))
    assert len(cut.keep) == 2
    mask = np.concatenate([cut.mask(one), cut.mask(other)])
    steps = np.concatenate([cut.steps(one), cut.steps(other)], 2)
    assert_close(cut.y, (graph.b.feeds["x"] @ (cut.constant(wide) * mask) + steps).sum(2))


def test_units_that_lie_differently_do_not_meet() -> None:
    graph = UnitsGraph()
    one, two, wide = graph.layer(units=4), graph.layer(units=6), graph.layer(units=10)
    both = graph.b.node("Concat", [one.steps, two.steps], axis=2)
    output, _ = graph.matmul(graph.b.node("Add", [both, wide.steps]), 10)
    assert all(PARTS_DIFFER in reason for reason in graph.reasons(output))


def test_units_along_two_dimensions_meet_by_broadcasting() -> None:
    graph = UnitsGraph()
    layer, other = graph.layer(), graph.layer(units=4)
    rows, columns = graph.b.unsqueeze(layer.steps, 3), graph.b.unsqueeze(other.steps, 2)
    table = graph.b.total(graph.b.node("Mul", [rows, columns]), 3)
    cut = graph.cut(graph.b.total(table, 2))
    steps, others = cut.steps(layer), cut.steps(other)
    assert_close(cut.y, np.einsum("tbh,tbk->tb", steps, others))


COMPARED: dict[str, Callable[[Values, Values], Values]] = {
    "Equal": np.equal,
    "Less": np.less,
    "Greater": np.greater,
    "LessOrEqual": np.less_equal,
    "GreaterOrEqual": np.greater_equal,
    "Or": np.logical_or,
    "Xor": np.logical_xor,
    "And": np.logical_and,
}


def compared(operator: str) -> tuple[UnitsGraph, tuple, str]:
    graph = UnitsGraph()
    one, other = graph.layer(), graph.layer()
    values = [one.steps, other.steps]
    limit = graph.b.constant(0.02, np.float32)
    if operator in ("Or", "Xor", "And"):
        values = [graph.b.node("Greater", [value, limit]) for value in values]
    made = graph.b.node(operator, values)
    return graph, (one, other), graph.b.node("Cast", [made], to=TensorProto.FLOAT)


@pytest.mark.parametrize("operator", COMPARED)
def test_comparison_is_read_by_a_matrix(operator: str) -> None:
    graph, (one, other), value = compared(operator)
    output, matrix = graph.matmul(value)
    cut = graph.cut(output)
    values = [cut.steps(one), cut.steps(other)]
    if operator in ("Or", "Xor", "And"):
        values = [each > 0.02 for each in values]
    expected = COMPARED[operator](*values).astype(np.float32)
    assert_close(cut.y, expected @ cut.rows(matrix, cut.mask(one)))


@pytest.mark.parametrize("operator", COMPARED)
def test_comparison_is_not_summed_over_units(operator: str) -> None:
    graph, _, value = compared(operator)
    assert SUMS_NONZERO in graph.reasons(graph.b.total(value, 2))[0]


def test_and_with_a_constant_that_units_index_is_false_at_removed_ones() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    truths = graph.b.constant([True, False, True, True, True, False], np.bool_)
    above = graph.b.node("Greater", [layer.steps, graph.b.constant(0.02, np.float32)])
    both = graph.b.node("And", [above, truths])
    cut = graph.cut(graph.b.total(graph.b.node("Cast", [both], to=TensorProto.FLOAT), 2))
    expected = (cut.steps(layer) > 0.02) & cut.constant(truths) & cut.mask(layer)
    assert_close(cut.y, expected.sum(2).astype(np.float32))


def test_slope_below_zero_keeps_zero() -> None:
    graph = UnitsGraph()
    layer, slope = graph.layer(), graph.floats(UNITS)
    cut = graph.cut(graph.b.total(graph.b.node("PRelu", [layer.steps, slope]), 2))
    steps = cut.steps(layer)
    assert_close(cut.y, np.where(steps < 0, cut.constant(slope) * steps, steps).sum(2))


def test_slope_of_one_number_keeps_zero() -> None:
    graph = UnitsGraph()
    layer, slope = graph.layer(), graph.floats(1)
    cut = graph.cut(graph.b.total(graph.b.node("PRelu", [layer.steps, slope]), 2))
    steps = cut.steps(layer)
    assert_close(cut.y, np.where(steps < 0, cut.constant(slope) * steps, steps).sum(2))


def test_quotient_by_a_constant_is_zero_where_the_first_is() -> None:
    graph = UnitsGraph()
    layer, divisor = graph.layer(), graph.floats(UNITS, low=1, high=2)
    cut = graph.cut(graph.b.total(graph.b.node("Div", [layer.steps, divisor]), 2))
    assert_close(cut.y, (cut.steps(layer) / cut.constant(divisor)).sum(2))


def test_divisor_of_directions_of_different_sizes_does_not_vanish() -> None:
    graph = UnitsGraph()
    layer, divisor = graph.layer(direction="bidirectional"), graph.floats(UNITS, low=1, high=2)
    single = graph.b.split(layer.y, [1, 1], 1)[1]
    value = graph.b.node("Div", [graph.b.squeeze(single, 1), divisor])
    cut = graph.cut(graph.b.node("Add", [graph.b.total(value, 2), graph.b.total(layer.steps, 2)]))
    y = cut.run(layer)[0]
    expected = (y[:, 1] / cut.constant(divisor)).sum(2) + y[:, 0].sum(2)
    assert np.isfinite(cut.y).all()
    assert_close(cut.y, expected)


def test_quotient_by_units_is_refused_where_they_vanish_and_followed_where_not() -> None:
    graph = UnitsGraph()
    one, other = graph.layer(), graph.layer()
    output, _ = graph.matmul(graph.b.node("Div", [one.steps, other.steps]))
    assert DIVIDES_BY_ZERO in graph.reasons(output)[0]
    graph = UnitsGraph()
    one, other = graph.layer(), graph.layer()
    value = graph.b.node("Div", [one.steps, graph.b.node("Exp", [other.steps])])
    cut = graph.cut(graph.b.total(value, 2))
    assert_close(cut.y, (cut.steps(one) / np.exp(cut.steps(other))).sum(2))


@pytest.mark.parametrize("exponent", [2.0, 3.0])
def test_positive_power_keeps_zero(exponent: float) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    value = graph.b.node("Pow", [layer.steps, graph.b.constant([exponent], np.float32)])
    cut = graph.cut(graph.b.total(value, 2))
    assert_close(cut.y, (cut.steps(layer) ** exponent).sum(2))


def test_power_of_an_exponent_for_each_unit_is_read_by_a_matrix() -> None:
    graph = UnitsGraph()
    layer, exponent = graph.layer(), graph.b.constant([1, 2, 3, 1, 2, 3], np.float32)
    output, matrix = graph.matmul(graph.b.node("Pow", [layer.steps, exponent]))
    cut = graph.cut(output)
    expected = cut.steps(layer) ** cut.constant(exponent)
    assert_close(cut.y, expected @ cut.rows(matrix, cut.mask(layer)))


def test_power_of_zero_loses_zero() -> None:
    graph = UnitsGraph()
    value = graph.b.node("Pow", [graph.layer().steps, graph.b.constant([0.0], np.float32)])
    assert SUMS_NONZERO in graph.reasons(graph.b.total(value, 2))[0]


def test_exponent_that_vanishes_with_a_unit_is_refused() -> None:
    graph = UnitsGraph()
    one, other = graph.layer(), graph.layer()
    base = graph.b.node("Exp", [one.steps])
    output, _ = graph.matmul(graph.b.node("Pow", [base, other.steps]))
    assert DIVIDES_BY_ZERO in graph.reasons(output)[0]


def test_choice_between_two_layers_is_zero_where_both_are_whatever_decides() -> None:
    graph = UnitsGraph()
    one, other = graph.layer(), graph.layer()
    chosen = graph.b.input("chosen", np.array([[True], [False], [True]]), [BATCH, 1])
    value = graph.b.node("Where", [chosen, one.steps, other.steps])
    cut = graph.cut(graph.b.total(value, 2))
    expected = np.where(graph.b.feeds["chosen"], cut.steps(one), cut.steps(other))
    assert_close(cut.y, expected.sum(2))


def test_choice_by_the_units_themselves() -> None:
    graph = UnitsGraph()
    layer, constant = graph.layer(), graph.floats(UNITS)
    above = graph.b.node("Greater", [layer.steps, graph.b.constant(0.02, np.float32)])
    cut = graph.cut(graph.b.total(graph.b.node("Where", [above, layer.steps, constant]), 2))
    steps = cut.steps(layer)
    held = cut.constant(constant) * cut.mask(layer)
    assert_close(cut.y, np.where(steps > 0.02, steps, held).sum(2))


def test_choice_of_one_number_for_all_units_is_no_zero() -> None:
    graph = UnitsGraph()
    layer, number = graph.layer(), graph.b.constant(0.5, np.float32)
    above = graph.b.node("Greater", [layer.steps, number])
    value = graph.b.node("Where", [above, layer.steps, number])
    assert SUMS_NONZERO in graph.reasons(graph.b.total(value, 2))[0]


def test_operator_on_both_directions_at_once_leaves_each_its_units() -> None:
    graph = UnitsGraph()
    one, other = graph.layer(direction="bidirectional"), graph.layer(direction="bidirectional")
    half = graph.b.constant(0.5, np.float32)
    value = graph.b.node("Mul", [graph.b.node("Add", [one.y, other.y]), half])
    forward, backward = (graph.b.squeeze(each, 1) for each in graph.b.split(value, [1, 1], 1))
    sums = [graph.b.total(each, 2) for each in (forward, backward)]
    cut = graph.cut(graph.b.node("Sub", sums))
    assert len(cut.keep) == 2
    y = 0.5 * (cut.run(one)[0] + cut.run(other)[0])
    assert_close(cut.y, y[:, 0].sum(2) - y[:, 1].sum(2))


def test_directions_behind_a_function_that_loses_zero_are_not_summed() -> None:
    graph = UnitsGraph()
    value = graph.b.node("Sigmoid", [graph.layer(direction="bidirectional").y])
    doubled = graph.b.node("Add", [value, value])
    forward = graph.b.squeeze(graph.b.split(doubled, [1, 1], 1)[0], 1)
    assert SUMS_NONZERO in graph.reasons(graph.b.total(forward, 2))[0]


def test_one_constant_for_both_directions_makes_their_units_one_axis() -> None:
    graph = UnitsGraph()
    layer, constant = graph.layer(direction="bidirectional"), graph.floats(UNITS)
    value = graph.b.node("Add", [layer.y, constant])
    cut = graph.cut(graph.b.total(graph.b.total(value, 3), 1))
    assert len(cut.keep) == 1
    held = cut.constant(constant) * cut.mask(layer)
    assert_close(cut.y, (cut.run(layer)[0] + held).sum(3).sum(1))


def test_directions_that_meet_one_constant_are_one_axis_where_they_are_read_apart() -> None:
    graph = UnitsGraph()
    layer, constant = graph.layer(direction="bidirectional"), graph.floats(UNITS)
    value = graph.b.node("Mul", [layer.y, constant])
    sums = [graph.b.total(each, 3) for each in graph.b.split(value, [1, 1], 1)]
    cut = graph.cut(graph.b.node("Sub", sums))
    assert len(cut.keep) == 1
    y = cut.run(layer)[0] * cut.constant(constant)
    assert_close(cut.y, (y[:, :1] - y[:, 1:]).sum(3))


def test_every_operator_of_the_rules_is_tested_here() -> None:
    tested = {*KEEPS_ZERO, *LOSES_ZERO, *TRUTHS, *BINARY, *COMPARED}
    tested |= {"Clip", "PRelu", "Div", "Pow", "Where"}
    assert operators_of(elementwise) == tested

"""Shapes that are computed at run time behind layers of which units are removed.

Each computes a shape in a graph, lays a tensor out with it, and compares with the tensor that the
same numbers of the original, at full size, would give.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

from isslim.compress.onnx.trace.rules import shapes
from isslim.compress.onnx.trace.rules.obstacles import COUNTS_UNITS, SUMS_NONZERO
from isslim.compress.onnx.trace.rules.shape_arithmetic import NUMBER_RULES
from isslim.compress.onnx.trace.rules.shapes import COMPUTED_SIZE
from tests.compress.onnx.trace.rules.units import (
    BATCH,
    STEPS,
    UNITS,
    LayerOf,
    UnitsGraph,
    assert_close,
    operators_of,
)


def numbers(graph: UnitsGraph, *values: int) -> str:
    return graph.b.constant(list(values))


def whole(graph: UnitsGraph, layer: LayerOf) -> str:
    return graph.b.node("Shape", [layer.steps])


def test_tensor_of_the_shape_of_units_shrinks_with_them() -> None:
    graph = UnitsGraph(free=True)
    layer = graph.layer()
    zeros = graph.b.node("ConstantOfShape", [whole(graph, layer)])
    cut = graph.cut(graph.b.total(graph.b.node("Max", [layer.steps, zeros]), 2))
    assert_close(cut.y, np.maximum(cut.steps(layer), 0).sum(2))


def filled(graph: UnitsGraph, layer: LayerOf, number: float) -> str:
    tensor = numpy_helper.from_array(np.array([number], np.float32))
    made = graph.b.node("ConstantOfShape", [whole(graph, layer)], value=tensor)
    return graph.b.node("Add", [layer.steps, made])


def test_tensor_of_another_number_than_zero_is_read_by_a_matrix_and_not_summed() -> None:
    graph = UnitsGraph(free=True)
    layer = graph.layer()
    output, matrix = graph.matmul(filled(graph, layer, 0.5))
    cut = graph.cut(output)
    value = cut.steps(layer) + 0.5
    assert_close(cut.y, value @ cut.rows(matrix, cut.mask(layer)))
    graph = UnitsGraph(free=True)
    assert SUMS_NONZERO in graph.reasons(graph.b.total(filled(graph, graph.layer(), 0.5), 2))[0]


@pytest.mark.parametrize(("start", "end"), [(1, 3), (-1, 3), (0, -1)])
def test_part_of_a_shape(start: int, end: int) -> None:
    graph = UnitsGraph(17, free=True)
    layer = graph.layer()
    part = graph.b.node("Shape", [layer.steps], start=start, end=end)
    size = [STEPS, BATCH, UNITS][start:end]
    pieces = (
        [numbers(graph, *[1] * (3 - len(size))), part] if end == 3 else [part, numbers(graph, 1)]
    )
    target = graph.b.node("Concat", pieces, axis=0)
    wide = graph.b.node("Expand", [graph.b.constant([[[0.5]]], np.float32), target])
    output, matrix = graph.matmul(graph.b.node("Add", [layer.steps, wide]))
    cut = graph.cut(output)
    value = cut.steps(layer) + 0.5
    assert_close(cut.y, value @ cut.rows(matrix, cut.mask(layer)))


def merged(graph: UnitsGraph, layer: LayerOf, target: str) -> None:
    """Merges steps and sequences by a shape, and compares with numpy's reshape."""
    output, matrix = graph.matmul(graph.b.node("Reshape", [layer.steps, target]))
    cut = graph.cut(output)
    assert_close(cut.y, cut.steps(layer).reshape(-1, UNITS) @ cut.constant(matrix))


def rows_and_units(graph: UnitsGraph, layer: LayerOf) -> tuple[str, str]:
    """T B and H as tensors of one number, of a shape (T, B, H)."""
    steps, batch, units = (graph.number(layer.steps, i) for i in range(3))
    return graph.b.node("Mul", [steps, batch]), units


FORMS: dict[str, Callable[[UnitsGraph, LayerOf, str, str], str]] = {
    "Concat": lambda g, layer, rows, units: g.b.node("Concat", [rows, units], axis=0),
    "Identity": lambda g, layer, rows, units: g.b.node(
        "Concat", [rows, g.b.node("Identity", [units])], axis=0
    ),
    "Cast": lambda g, layer, rows, units: g.b.node(
        "Concat", [rows, g.b.node("Cast", [units], to=TensorProto.INT64)], axis=0
    ),
    "Squeeze": lambda g, layer, rows, units: g.b.node(
        "Concat", [rows, g.b.unsqueeze(g.b.squeeze(units, 0), 0)], axis=0
    ),
    "Unsqueeze": lambda g, layer, rows, units: g.b.node(
        "Concat", [rows, g.b.unsqueeze(g.b.squeeze(units, 0), 0)], axis=0
    ),
    "Reshape": lambda g, layer, rows, units: g.b.node(
        "Concat", [rows, g.b.node("Reshape", [units, numbers(g, -1)])], axis=0
    ),
    "Gather": lambda g, layer, rows, units: g.b.node(
        "Gather", [g.b.node("Concat", [units, rows], axis=0), numbers(g, 1, 0)], axis=0
    ),
    "Slice": lambda g, layer, rows, units: g.b.node(
        "Concat",
        [rows, g.b.node("Slice", [whole(g, layer), numbers(g, -1), numbers(g, 2**60)])],
        axis=0,
    ),
    "Slice by steps": lambda g, layer, rows, units: g.b.node(
        "Slice",
        [
            g.b.node("Concat", [rows, numbers(g, 7), units], axis=0),
            *(numbers(g, each) for each in (0, 9, 0, 2)),
        ],
    ),
    "Split": lambda g, layer, rows, units: g.b.node(
        "Concat", [rows, g.b.split(whole(g, layer), [2, 1], 0)[1]], axis=0
    ),
    "Mul": lambda g, layer, rows, units: g.b.node(
        "Concat", [rows, g.b.node("Mul", [numbers(g, 1), units])], axis=0
    ),
    "Mul by one": lambda g, layer, rows, units: g.b.node(
        "Concat", [rows, g.b.node("Mul", [units, numbers(g, 1)])], axis=0
    ),
    "Div": lambda g, layer, rows, units: g.b.node(
        "Concat", [rows, g.b.node("Div", [units, numbers(g, 1)])], axis=0
    ),
    "Quotient": lambda g, layer, rows, units: g.b.node(
        "Concat",
        [g.b.node("Div", [g.b.node("Mul", [rows, numbers(g, 6)]), numbers(g, 6)]), units],
        axis=0,
    ),
    "ReduceProd": lambda g, layer, rows, units: g.b.node(
        "Concat",
        [
            g.b.node("ReduceProd", [g.b.split(whole(g, layer), [2, 1], 0)[0]], axes=[0]),
            g.b.node("ReduceProd", [g.b.node("Concat", [numbers(g, 1), units], axis=0)], axes=[0]),
        ],
        axis=0,
    ),
    "Where": lambda g, layer, rows, units: chosen(g, rows, units),
    "Equal": lambda g, layer, rows, units: chosen(g, rows, units),
}
"""Ways to compute (T B, H), each with the operator by which it is called."""


def chosen(graph: UnitsGraph, rows: str, units: str) -> str:
    """As torch writes expand(-1, ...): a size is no -1, and then it stays."""
    target = graph.b.node("Concat", [rows, units], axis=0)
    left_out = graph.b.node("Equal", [target, numbers(graph, -1)])
    return graph.b.node("Where", [left_out, numbers(graph, 1, 1), target])


@pytest.mark.parametrize("name", FORMS)
def test_numbers_of_a_shape_are_followed(name: str) -> None:
    graph = UnitsGraph(free=True)
    layer = graph.layer()
    merged(graph, layer, FORMS[name](graph, layer, *rows_and_units(graph, layer)))


@pytest.mark.parametrize(("operator", "number"), [("Add", 10), ("Sub", -10)])
def test_sums_of_known_numbers_are_followed(operator: str, number: int) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    rows = graph.b.node(operator, [graph.number(layer.steps, 0), numbers(graph, number)])
    target = graph.b.node("Concat", [rows, graph.number(layer.steps, 2)], axis=0)
    merged(graph, layer, target)


@pytest.mark.parametrize("opset", [9, 11])
def test_numbers_of_a_shape_were_cut_and_divided_by_attributes_at_first(opset: int) -> None:
    graph = UnitsGraph(opset, free=True)
    layer = graph.layer()
    if opset < 10:
        units = graph.b.node("Slice", [whole(graph, layer)], starts=[2], ends=[3])
    else:
        units = graph.b.split(whole(graph, layer), [2, 1], 0)[1]
    merged(graph, layer, graph.b.node("Concat", [numbers(graph, -1), units], axis=0))


def test_shape_in_equal_parts() -> None:
    graph = UnitsGraph(free=True)
    layer = graph.layer()
    names = ["a", "b", "c"]
    graph.b.node("Split", [whole(graph, layer)], names, axis=0)
    rows = graph.b.node("Mul", ["a", "b"])
    merged(graph, layer, graph.b.node("Concat", [rows, "c"], axis=0))


@pytest.mark.parametrize(("operator", "number"), [("Add", 10), ("Sub", -1)])
def test_sums_of_known_numbers_are_the_right_ones(operator: str, number: int) -> None:
    graph = UnitsGraph()
    length = STEPS + number if operator == "Add" else STEPS - number
    one, other = graph.layer(units=length), graph.layer(units=3)
    both = graph.b.node("Concat", [one.steps, other.steps], axis=2)
    end = graph.b.node(operator, [graph.number(one.steps, 0), numbers(graph, number)])
    part = graph.b.node("Slice", [both, numbers(graph, 0), end, numbers(graph, 2)])
    counted = [graph.b.total(each, 2) for each in (part, other.steps)]
    # After a cut the bound lies elsewhere, though nothing in it counts units.
    cut = graph.cut(graph.b.node("Sub", counted))
    assert_close(cut.y, cut.steps(one).sum(2) - cut.steps(other).sum(2))


def test_product_of_one_size_and_of_ones_is_that_size() -> None:
    graph = UnitsGraph(free=True)
    layer = graph.layer()
    several = graph.b.node("Concat", [numbers(graph, 1), graph.number(layer.steps, 2)], axis=0)
    product = graph.b.node("ReduceProd", [several], axes=[0])
    zeros = graph.b.node("ConstantOfShape", [product])
    cut = graph.cut(graph.b.total(graph.b.node("Max", [layer.steps, zeros]), 2))
    assert_close(cut.y, np.maximum(cut.steps(layer), 0).sum(2))


@pytest.mark.parametrize("second", [True, False])
@pytest.mark.parametrize(("operator", "number"), [("Add", 2), ("Sub", 2), ("Mul", 2), ("Div", 1)])
def test_size_computed_from_the_number_of_units_is_refused(
    operator: str, number: int, second: bool
) -> None:
    graph = UnitsGraph(free=True)
    layer = graph.layer()
    operands = [graph.number(layer.steps, 2), numbers(graph, number)]
    if operator == "Div" and not second:
        operands[1] = numbers(graph, 2)
    size = graph.b.node(operator, operands[::-1] if second else operands)
    target = graph.b.node("Concat", [numbers(graph, 1, 1), size], axis=0)
    graph.b.output(graph.b.node("ConstantOfShape", [target]), "made")
    assert COMPUTED_SIZE in graph.reasons(graph.x)[0]


def test_number_of_units_in_arithmetic_is_refused() -> None:
    graph = UnitsGraph(free=True)
    layer = graph.layer()
    count = graph.b.node("Cast", [graph.number(layer.steps, 2)], to=TensorProto.FLOAT)
    scale = graph.b.node("Sqrt", [count])
    output, _ = graph.matmul(graph.b.node("Div", [layer.steps, scale]))
    assert COUNTS_UNITS in graph.reasons(output)[0]


def test_number_of_units_that_is_given_out_is_refused() -> None:
    graph = UnitsGraph(free=True)
    layer = graph.layer()
    graph.b.output(graph.number(layer.steps, 2), "count", [1], TensorProto.INT64)
    output, _ = graph.matmul(layer.steps)
    assert "it reaches the graph's output 'count'" in graph.reasons(output)[0]


def test_number_of_steps_goes_anywhere() -> None:
    graph = UnitsGraph(free=True)
    layer = graph.layer()
    count = graph.b.node("Cast", [graph.number(layer.steps, 0)], to=TensorProto.FLOAT)
    cut = graph.cut(graph.b.total(graph.b.node("Div", [layer.steps, count]), 2))
    assert_close(cut.y, (cut.steps(layer) / STEPS).sum(2))


def test_size_of_both_directions_lays_nothing_out() -> None:
    graph = UnitsGraph(free=True)
    layer = graph.layer(direction="bidirectional")
    graph.b.output(graph.b.node("ConstantOfShape", [graph.number(layer.y, 3)]), "made")
    assert COMPUTED_SIZE in graph.reasons(graph.x)[0]


def test_shape_by_indices_of_the_data_is_refused() -> None:
    graph = UnitsGraph(free=True)
    layer = graph.layer()
    index = graph.b.input("index", np.array([2]), [1])
    picked = graph.b.node("Gather", [whole(graph, layer), index], axis=0)
    graph.b.output(graph.b.node("ConstantOfShape", [picked]), "made")
    assert COUNTS_UNITS in graph.reasons(graph.x)[0]


def test_every_operator_of_the_rules_is_tested_here() -> None:
    assert operators_of(shapes) == {"Shape", "ConstantOfShape"}
    assert NUMBER_RULES.keys() - {name.partition(" ")[0] for name in FORMS} == {"Add", "Sub"}

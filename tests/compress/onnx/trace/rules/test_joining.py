"""Concat behind layers of which units are removed: along the units, and along other dimensions."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.onnx.trace.context import OTHER_SIZE
from isslim.compress.onnx.trace.rules import joining
from isslim.compress.onnx.trace.rules.joining import SEVERAL_DIMENSIONS, UNKNOWN_SIZE
from isslim.compress.onnx.trace.rules.obstacles import SUMS_NONZERO
from tests.compress.onnx.trace.rules.units import (
    BATCH,
    STEPS,
    UNITS,
    WIDTH,
    UnitsGraph,
    assert_close,
    operators_of,
)


def test_units_behind_and_before_numbers_that_stay() -> None:
    graph = UnitsGraph()
    layer, more = graph.layer(), graph.floats(STEPS, BATCH, 2)
    joined = graph.b.node("Concat", [graph.x, layer.steps, more], axis=2)
    output, matrix = graph.matmul(joined, WIDTH + UNITS + 2)
    cut = graph.cut(output)
    value = [graph.b.feeds["x"], cut.steps(layer), cut.constant(more)]
    assert_close(cut.y, np.concatenate(value, 2) @ cut.constant(matrix))


@pytest.mark.parametrize("axis", [2, -1])
def test_units_of_two_layers_one_behind_the_other(axis: int) -> None:
    graph = UnitsGraph()
    one, other = graph.layer(), graph.layer(units=9)
    joined = graph.b.node("Concat", [one.steps, other.steps, one.steps], axis=axis)
    output, matrix = graph.matmul(joined, 2 * UNITS + 9)
    cut = graph.cut(output)
    assert len(cut.keep) == 2
    first, second = cut.steps(one), cut.steps(other)
    assert_close(cut.y, np.concatenate([first, second, first], 2) @ cut.constant(matrix))


def test_units_of_both_directions_stay_apart_where_layers_are_joined() -> None:
    graph = UnitsGraph()
    one = graph.layer(direction="bidirectional")
    other = graph.layer(direction="bidirectional", units=4)
    joined = graph.b.node("Concat", [one.y, other.y], axis=3)
    forward, backward = (graph.b.squeeze(each, 1) for each in graph.b.split(joined, [1, 1], 1))
    reads = [graph.matmul(each, UNITS + 4) for each in (forward, backward)]
    cut = graph.cut(graph.b.node("Add", [made for made, _ in reads]))
    assert len(cut.keep) == 4
    y = np.concatenate([cut.run(one)[0], cut.run(other)[0]], 3)
    expected = y[:, 0] @ cut.constant(reads[0][1]) + y[:, 1] @ cut.constant(reads[1][1])
    assert_close(cut.y, expected)


def test_directions_beside_a_tensor_without_any_become_one_axis() -> None:
    graph = UnitsGraph()
    layer, more = graph.layer(direction="bidirectional"), graph.floats(STEPS, 2, BATCH, 3)
    output, matrix = graph.matmul(graph.b.node("Concat", [layer.y, more], axis=3), UNITS + 3)
    cut = graph.cut(output)
    assert len(cut.keep) == 1
    y = np.concatenate([cut.run(layer)[0], cut.constant(more)], 3)
    assert_close(cut.y, y @ cut.constant(matrix))


def stacked_states(graph: UnitsGraph, layers: list) -> str:
    return graph.b.node("Concat", [layer.h for layer in layers], axis=0)


def test_states_of_layers_side_by_side_share_a_size_and_have_units_of_their_own() -> None:
    graph = UnitsGraph()
    layers = [graph.layer() for _ in range(3)]
    stack = stacked_states(graph, layers)
    picked = [graph.b.squeeze(each, 0) for each in graph.b.split(stack, [1, 1, 1], 0)]
    reads = [graph.matmul(each) for each in picked]
    cut = graph.cut(graph.b.node("Sum", [made for made, _ in reads]))
    assert len(cut.keep) == 3
    assert len({len(kept) for kept in cut.keep.values()}) > 1
    expected = sum(
        cut.run(layer)[1][0] @ cut.constant(matrix)
        for layer, (_, matrix) in zip(layers, reads, strict=True)
    )
    assert_close(cut.y, np.asarray(expected))


def test_stack_continues_a_stack() -> None:
    graph = UnitsGraph()
    both, one = graph.layer(direction="bidirectional"), graph.layer()
    stack = stacked_states(graph, [both, one])
    picked = [graph.b.squeeze(each, 0) for each in graph.b.split(stack, [1, 1, 1], 0)]
    reads = [graph.matmul(each) for each in picked]
    cut = graph.cut(graph.b.node("Sum", [made for made, _ in reads]))
    assert len(cut.keep) == 3
    states = np.concatenate([cut.run(both)[1], cut.run(one)[1]])
    products = [states[i] @ cut.constant(matrix) for i, (_, matrix) in enumerate(reads)]
    assert_close(cut.y, np.sum(products, 0))


def test_directions_joined_along_steps_become_one_axis() -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    output, matrix = graph.matmul(graph.b.node("Concat", [layer.y, layer.y], axis=0))
    cut = graph.cut(output)
    assert len(cut.keep) == 1
    y = cut.run(layer)[0]
    assert_close(cut.y, np.concatenate([y, y]) @ cut.constant(matrix))


def test_directions_joined_along_steps_have_the_same_units_at_every_step() -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    few = graph.b.split(layer.y, [1, STEPS - 1], 0)[0]
    first = graph.b.split(graph.b.node("Concat", [few, few], axis=0), [1, 1], 0)[0]
    output, matrix = graph.matmul(first)
    cut = graph.cut(output)
    assert len(cut.keep) == 1
    assert_close(cut.y, cut.run(layer)[0][:1] @ cut.constant(matrix))


@pytest.mark.parametrize(("count", "axes"), [(8, 2), (9, 1)])
def test_more_tensors_side_by_side_than_sixteen_share_one_axis(count: int, axes: int) -> None:
    graph = UnitsGraph()
    one, other = graph.layer(), graph.layer()
    stack = stacked_states(graph, [one, other] * count)
    first, _, last = graph.b.split(stack, [1, 2 * count - 2, 1], 0)
    reads = [graph.matmul(graph.b.squeeze(each, 0)) for each in (first, last)]
    cut = graph.cut(graph.b.node("Sub", [made for made, _ in reads]))
    assert len(cut.keep) == axes
    expected = cut.run(one)[1][0] @ cut.constant(reads[0][1])
    assert_close(cut.y, expected - cut.run(other)[1][0] @ cut.constant(reads[1][1]))


def test_steps_of_unknown_number_share_one_axis() -> None:
    graph = UnitsGraph(free=True)
    one, other = graph.layer(), graph.layer()
    output, matrix = graph.matmul(graph.b.node("Concat", [one.steps, other.steps], axis=0))
    cut = graph.cut(output)
    assert len(cut.keep) == 1
    assert_close(cut.y, np.concatenate([cut.steps(one), cut.steps(other)]) @ cut.constant(matrix))


def test_constant_beside_units_shrinks_with_them_and_is_zero_at_removed_ones() -> None:
    graph = UnitsGraph()
    layer, first = graph.layer(), graph.floats(1, BATCH, UNITS)
    cut = graph.cut(graph.b.total(graph.b.node("Concat", [first, layer.steps], axis=0), 2))
    held = cut.constant(first) * cut.mask(layer)
    assert_close(cut.y, np.concatenate([held, cut.steps(layer)]).sum(2))


def test_input_of_the_caller_beside_units_is_let_through_in_part() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    first = graph.b.floats("first", (1, BATCH, UNITS), [1, BATCH, UNITS])
    output, matrix = graph.matmul(graph.b.node("Concat", [first, layer.steps], axis=0))
    cut = graph.cut(output)
    value = np.concatenate([graph.b.feeds["first"], cut.steps(layer)])
    assert_close(cut.y, value @ cut.rows(matrix, cut.mask(layer)))


def test_input_of_the_caller_beside_units_is_no_zero() -> None:
    graph = UnitsGraph()
    first = graph.b.floats("first", (1, BATCH, UNITS), [1, BATCH, UNITS])
    value = graph.b.node("Concat", [first, graph.layer().steps], axis=0)
    assert SUMS_NONZERO in graph.reasons(graph.b.total(value, 2))[0]


def test_zero_in_one_part_alone_is_no_zero() -> None:
    graph = UnitsGraph(free=True)
    layer = graph.layer()
    both = graph.b.node("Concat", [layer.steps, graph.b.node("Exp", [layer.steps])], axis=0)
    assert SUMS_NONZERO in graph.reasons(graph.b.total(both, 2))[0]


def test_neighbour_of_unknown_size_is_refused() -> None:
    graph = UnitsGraph()
    more = graph.b.floats("more", (STEPS, BATCH, 2), [STEPS, BATCH, "N"])
    graph.b.output(graph.b.node("Concat", [graph.layer().steps, more], axis=2), "joined")
    report = graph.reasons(graph.x)
    assert UNKNOWN_SIZE in report[0]


def test_neighbour_across_of_unknown_size_is_refused() -> None:
    graph = UnitsGraph()
    first = graph.b.floats("first", (1, BATCH, UNITS), [1, BATCH, "N"])
    output, _ = graph.matmul(graph.b.node("Concat", [first, graph.layer().steps], axis=0))
    assert OTHER_SIZE in graph.reasons(output)[0]


def test_units_in_several_dimensions_are_refused() -> None:
    graph = UnitsGraph()
    one, other = graph.layer(), graph.layer(units=4)
    rows, columns = graph.b.unsqueeze(one.steps, 3), graph.b.unsqueeze(other.steps, 2)
    table = graph.b.node("Mul", [rows, columns])
    output, _ = graph.matmul(graph.b.node("Concat", [table, table], axis=0), 4)
    assert all(SEVERAL_DIMENSIONS in reason for reason in graph.reasons(output))


def test_every_operator_of_the_rules_is_tested_here() -> None:
    assert operators_of(joining) == {"Concat"}

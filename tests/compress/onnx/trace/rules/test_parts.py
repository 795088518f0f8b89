"""Slice, Split, Gather and its kin behind layers of which units are removed."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from isslim.compress.onnx.trace.context import OTHER_SIZE
from isslim.compress.onnx.trace.rules import parts
from isslim.compress.onnx.trace.rules.obstacles import (
    COUNTS_UNITS,
    LOOKS_UP_BY_UNITS,
    SINGLE_UNITS,
)
from isslim.compress.onnx.trace.rules.parts import (
    COUNT_BY_DATA,
    DIMENSION_BY_DATA,
    DIVIDES_AXIS,
    DIVISION_BY_DATA,
    LOOKS_UP_BY_NUMBER,
    RANGE_BY_DATA,
    RANGE_WITHIN_AXIS,
)
from tests.compress.onnx.trace.rules.units import (
    BATCH,
    STEPS,
    UNITS,
    WIDTH,
    LayerOf,
    UnitsGraph,
    assert_close,
    operators_of,
)

END = 2**60


def sliced(graph: UnitsGraph, value: str, start: int, stop: int, axis: int, step: int = 1) -> str:
    """A Slice, in the form of the graph's opset."""
    if graph.b.opset < 10:
        return graph.b.node("Slice", [value], starts=[start], ends=[stop], axes=[axis])
    numbers = [graph.b.constant([each]) for each in (start, stop, axis, step)]
    return graph.b.node("Slice", [value, *numbers])


RANGES = [(0, 2, 1), (1, END, 1), (-1, END, 1), (-END, -2, 1)]


@pytest.mark.parametrize(
    ("opset", "start", "stop", "step"),
    [
        *((9, *each) for each in RANGES),
        *((17, *each) for each in [*RANGES, (-1, -END, -2), (0, END, 3)]),
    ],
)
def test_range_of_steps(opset: int, start: int, stop: int, step: int) -> None:
    graph = UnitsGraph(opset)
    layer = graph.layer()
    cut = graph.cut(graph.b.total(sliced(graph, layer.steps, start, stop, 0, step), 2))
    assert_close(cut.y, cut.steps(layer)[start:stop:step].sum(2))


@pytest.mark.parametrize("opset", [9, 17])
@pytest.mark.parametrize("axes", [True, False])
def test_ranges_of_several_dimensions_at_once(opset: int, axes: bool) -> None:
    graph = UnitsGraph(opset)
    layer = graph.layer()
    where = [2, 0, -2] if axes else [0, 1, 2]
    starts, stops = ([0, 1, -2], [END, 3, END]) if axes else ([1, -2, 0], [3, END, END])
    if opset < 10:
        named = {"axes": where} if axes else {}
        value = graph.b.node("Slice", [layer.steps], starts=starts, ends=stops, **named)
    else:
        numbers = [graph.b.constant(each) for each in (starts, stops)]
        value = graph.b.node(
            "Slice", [layer.steps, *numbers, *([graph.b.constant(where)] if axes else [])]
        )
    cut = graph.cut(graph.b.total(value, 2))
    assert_close(cut.y, cut.steps(layer)[1:3, -2:].sum(2))


@pytest.mark.parametrize(
    ("start", "stop"), [(0, UNITS), (UNITS, END), (-4, END), (UNITS, UNITS + 4), (-END, -4)]
)
def test_range_of_units_ends_between_layers(start: int, stop: int) -> None:
    graph = UnitsGraph()
    one, other = graph.layer(), graph.layer(units=4)
    both = graph.b.node("Concat", [one.steps, other.steps], axis=2)
    part = graph.b.total(sliced(graph, both, start, stop, 2), 2)
    whole = graph.b.total(both, 2)
    cut = graph.cut(graph.b.node("Sub", [part, whole]))
    steps = np.concatenate([cut.steps(one), cut.steps(other)], 2)
    assert_close(cut.y, steps[:, :, start:stop].sum(2) - steps.sum(2))


def test_range_of_units_beside_numbers_that_stay() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    both = graph.b.node("Concat", [graph.x, layer.steps], axis=2)
    output, matrix = graph.matmul(sliced(graph, both, 2, WIDTH + UNITS, 2), 2 + UNITS)
    cut = graph.cut(output)
    value = np.concatenate([graph.b.feeds["x"], cut.steps(layer)], 2)[:, :, 2:]
    assert_close(cut.y, value @ cut.constant(matrix))


@pytest.mark.parametrize(("start", "stop", "step"), [(0, 3, 1), (2, END, 1), (1, 5, 1)])
def test_range_that_ends_between_units_of_one_axis_is_refused(
    start: int, stop: int, step: int
) -> None:
    graph = UnitsGraph()
    graph.b.output(sliced(graph, graph.layer().steps, start, stop, 2, step), "part")
    assert RANGE_WITHIN_AXIS in graph.reasons(graph.x)[0]


@pytest.mark.parametrize(("start", "stop", "step"), [(0, END, 2), (-1, -END, -1)])
def test_every_other_unit_is_refused(start: int, stop: int, step: int) -> None:
    graph = UnitsGraph()
    graph.b.output(sliced(graph, graph.layer().steps, start, stop, 2, step), "part")
    assert RANGE_BY_DATA in graph.reasons(graph.x)[0]


def test_range_of_units_by_the_data_is_refused() -> None:
    graph = UnitsGraph()
    stop = graph.b.input("stop", np.array([6]), [1])
    bounds = [graph.b.constant([0]), stop, graph.b.constant([2])]
    graph.b.output(graph.b.node("Slice", [graph.layer().steps, *bounds]), "part")
    assert RANGE_BY_DATA in graph.reasons(graph.x)[0]


def test_range_of_steps_by_the_data_is_followed() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    stop = graph.b.input("stop", np.array([3]), [1])
    bounds = [graph.b.constant([1]), stop, graph.b.constant([0])]
    cut = graph.cut(graph.b.total(graph.b.node("Slice", [layer.steps, *bounds]), 2))
    assert_close(cut.y, cut.steps(layer)[1:3].sum(2))


def test_dimensions_of_a_range_by_the_data_are_refused() -> None:
    graph = UnitsGraph()
    axes = graph.b.input("axes", np.array([0]), [1])
    bounds = [graph.b.constant([1]), graph.b.constant([3]), axes]
    graph.b.output(graph.b.node("Slice", [graph.layer().steps, *bounds]), "part")
    assert DIMENSION_BY_DATA in graph.reasons(graph.x)[0]


def test_unknown_number_of_ranges_is_refused() -> None:
    graph = UnitsGraph()
    bounds = [graph.b.input(name, np.array([1]), ["N"]) for name in ("start", "stop")]
    graph.b.output(graph.b.node("Slice", [graph.layer().steps, *bounds]), "part")
    assert COUNT_BY_DATA in graph.reasons(graph.x)[0]


def test_range_by_the_number_of_units_shrinks_with_them() -> None:
    graph = UnitsGraph(free=True)
    one, other = graph.layer(), graph.layer(units=4)
    both = graph.b.node("Concat", [one.steps, other.steps], axis=2)
    middle = graph.number(one.steps, 2)
    axis = graph.b.constant([2])
    first = graph.b.node("Slice", [both, graph.b.constant([0]), middle, axis])
    cut = graph.cut(graph.b.node("Sub", [graph.b.total(first, 2), graph.b.total(both, 2)]))
    assert_close(cut.y, -cut.steps(other).sum(2))


@pytest.mark.parametrize("seed", range(3))
def test_range_by_the_number_of_units_of_another_layer_takes_all_that_are_left(seed: int) -> None:
    graph = UnitsGraph()
    one, other = graph.layer(), graph.layer()
    bounds = [graph.b.constant([0]), graph.number(other.steps, 2), graph.b.constant([2])]
    part = graph.b.total(graph.b.node("Slice", [one.steps, *bounds]), 2)
    output = graph.b.node("Sub", [part, graph.b.total(other.steps, 2)])
    cut = graph.cut(output, seed=seed)
    assert_close(cut.y, cut.steps(one).sum(2) - cut.steps(other).sum(2))


def test_range_of_steps_by_the_number_of_units_is_refused() -> None:
    graph = UnitsGraph(free=True)
    layer = graph.layer(units=3)
    count, axis = graph.number(layer.steps, 2), graph.b.constant([0])
    first = graph.b.node("Slice", [layer.steps, graph.b.constant([0]), count, axis])
    graph.b.output(first, "part")
    assert COUNTS_UNITS in graph.reasons(graph.x)[0]


def both_directions(graph: UnitsGraph, part: str, layer: LayerOf) -> None:
    """Reads the backward direction alone, and sums the forward one."""
    output, matrix = graph.matmul(graph.b.squeeze(part, 1))
    cut = graph.cut(graph.b.node("Add", [output, graph.b.unsqueeze(sum_of(graph, layer), 2)]))
    assert len(cut.keep) == 2
    y = cut.run(layer)[0]
    expected = y[:, 1] @ cut.constant(matrix) + y[:, 0].sum(2)[:, :, None]
    assert_close(cut.y, expected)


def sum_of(graph: UnitsGraph, layer: LayerOf) -> str:
    return graph.b.total(layer.steps, 2)


@pytest.mark.parametrize("start", [1, -1])
def test_range_of_directions_has_their_units(start: int) -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    both_directions(graph, sliced(graph, layer.y, start, END, 1), layer)


@pytest.mark.parametrize("index", [1, -1])
@pytest.mark.parametrize("rank", [0, 1])
def test_picked_direction_has_its_units(index: int, rank: int) -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    chosen = graph.b.constant([index] if rank else index)
    part = graph.b.node("Gather", [layer.y, chosen], axis=1)
    both_directions(graph, part if rank else graph.b.unsqueeze(part, 1), layer)


@pytest.mark.parametrize("rank", [0, 1])
def test_picked_direction_is_counted_from_the_end(rank: int) -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    chosen = graph.b.constant([-2] if rank else -2)
    forward = graph.b.node("Gather", [layer.y, chosen], axis=1)
    last = graph.b.split(layer.y, [1, 1], 1)[1]
    wide = forward if rank else graph.b.unsqueeze(forward, 1)
    cut = graph.cut(graph.b.node("Sub", [graph.b.total(each, 3) for each in (wide, last)]))
    assert len(cut.keep) == 2
    y = cut.run(layer)[0].sum(3)
    assert_close(cut.y, y[:, :1] - y[:, 1:])


def test_directions_in_the_opposite_order() -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    turned = graph.b.node("Gather", [layer.y, graph.b.constant([1, 0])], axis=1)
    both_directions(graph, graph.b.split(turned, [1, 1], 1)[0], layer)


def test_directions_that_the_data_picks_share_one_axis() -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    chosen = graph.b.input("chosen", np.array([1, 0, 1]), [3])
    output, matrix = graph.matmul(graph.b.node("Gather", [layer.y, chosen], axis=1))
    cut = graph.cut(output)
    assert len(cut.keep) == 1
    assert_close(cut.y, cut.run(layer)[0][:, [1, 0, 1]] @ cut.constant(matrix))


def test_directions_in_a_range_of_the_data_share_one_axis() -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    start = graph.b.input("start", np.array([1]), [1])
    bounds = [start, graph.b.constant([END]), graph.b.constant([1])]
    output, matrix = graph.matmul(graph.b.node("Slice", [layer.y, *bounds]))
    cut = graph.cut(output)
    assert len(cut.keep) == 1
    assert_close(cut.y, cut.run(layer)[0][:, 1:] @ cut.constant(matrix))


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("sizes", [[2, 3], [5], None])
def test_steps_are_divided(opset: int, sizes: list[int] | None) -> None:
    graph = UnitsGraph(opset)
    layer = graph.layer()
    if sizes is None:  # as equal as can be; five in two are three and two since opset 18 only
        graph = UnitsGraph(18)
        layer = graph.layer()
        graph.b.node("Split", [layer.steps], ["first", "last"], axis=0, num_outputs=2)
        names, sizes = ["first", "last"], [3, 2]
    else:
        names = graph.b.split(layer.steps, sizes, 0)
    cut = graph.cut(graph.b.total(names[-1], 2))
    assert_close(cut.y, cut.steps(layer)[-sizes[-1] :].sum(2))


@pytest.mark.parametrize("given_sizes", [True, False])
def test_units_are_divided_between_layers(given_sizes: bool) -> None:
    graph = UnitsGraph()
    one, other = graph.layer(), graph.layer(units=UNITS)
    both = graph.b.node("Concat", [one.steps, other.steps], axis=2)
    if given_sizes:
        names = graph.b.split(both, [UNITS, UNITS], -1)
    else:
        graph.b.node("Split", [both], ["first", "second"], axis=-1)
        names = ["first", "second"]
    cut = graph.cut(graph.b.node("Sub", [graph.b.total(name, 2) for name in names]))
    assert len(cut.keep) == 2
    assert_close(cut.y, cut.steps(one).sum(2) - cut.steps(other).sum(2))


def test_units_divided_as_equally_as_can_be_with_the_last_part_shorter() -> None:
    graph = UnitsGraph(18)
    one, other = graph.layer(units=4), graph.layer(units=3)
    both = graph.b.node("Concat", [one.steps, other.steps], axis=2)
    graph.b.node("Split", [both], ["first", "second"], axis=2, num_outputs=2)
    cut = graph.cut(graph.b.node("Sub", [graph.b.total(each, 2) for each in ("first", "second")]))
    assert_close(cut.y, cut.steps(one).sum(2) - cut.steps(other).sum(2))


def test_units_divided_within_one_axis_are_refused() -> None:
    graph = UnitsGraph()
    names = graph.b.split(graph.layer().steps, [2, 4], 2)
    graph.b.output(names[0], "part")
    assert DIVIDES_AXIS in graph.reasons(graph.x)[0]


def test_division_by_the_data_is_refused() -> None:
    graph = UnitsGraph()
    sizes = graph.b.input("sizes", np.array([2, 3]), [2])
    graph.b.node("Split", [graph.layer().steps, sizes], ["a", "b"], axis=0)
    graph.b.output("a", "part")
    assert DIVISION_BY_DATA in graph.reasons(graph.x)[0]


def test_directions_are_divided() -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    both_directions(graph, graph.b.split(layer.y, [1, 1], 1)[1], layer)


@pytest.mark.parametrize("chosen", [[4, 0, 4], -1, [[0, 1], [2, -1]]])
def test_steps_are_picked(chosen: object) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    value = graph.b.node("Gather", [layer.steps, graph.b.constant(chosen)], axis=0)
    cut = graph.cut(graph.b.total(value, -1))
    assert_close(cut.y, cut.steps(layer)[np.array(chosen)].sum(-1))


def test_sequences_that_the_data_picks() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    chosen = graph.b.input("chosen", np.array([[2, 0], [1, 1]]), [2, 2])
    cut = graph.cut(graph.b.total(graph.b.node("Gather", [layer.steps, chosen], axis=1), -1))
    assert_close(cut.y, cut.steps(layer)[:, graph.b.feeds["chosen"]].sum(-1))


def test_single_units_that_are_picked_are_refused() -> None:
    graph = UnitsGraph()
    value = graph.b.node("Gather", [graph.layer().steps, graph.b.constant([0, 3])], axis=2)
    graph.b.output(value, "part")
    assert SINGLE_UNITS in graph.reasons(graph.x)[0]


def places(graph: UnitsGraph, layer: LayerOf) -> str:
    """A whole number for each unit: 1 where it is above zero."""
    above = graph.b.node("Greater", [layer.steps, graph.b.constant(0, np.float32)])
    return graph.b.node("Cast", [above], to=helper.np_dtype_to_tensor_dtype(np.dtype(np.int64)))


def test_lookup_by_units_is_refused() -> None:
    graph = UnitsGraph()
    table = graph.floats(2, 3)
    graph.b.output(graph.b.node("Gather", [table, places(graph, graph.layer())]), "found")
    assert LOOKS_UP_BY_UNITS in graph.reasons(graph.x)[0]


def test_columns_of_an_embedding_shrink_with_the_units_that_they_meet() -> None:
    graph = UnitsGraph()
    layer, table = graph.layer(), graph.floats(7, UNITS)
    ids = graph.b.input("ids", graph.b.rng.integers(0, 7, (STEPS, BATCH)), [STEPS, BATCH])
    met = graph.b.node("Add", [layer.steps, graph.b.node("Gather", [table, ids])])
    cut = graph.cut(graph.b.total(met, 2))
    held = cut.constant(table) * cut.mask(layer)
    assert_close(cut.y, (cut.steps(layer) + held[graph.b.feeds["ids"]]).sum(2))


def test_picked_column_of_a_constant_is_no_axis() -> None:
    graph = UnitsGraph()
    layer, table = graph.layer(), graph.floats(UNITS, 7)
    ids = graph.b.input("ids", np.array(3), [])
    column = graph.b.node("Gather", [table, ids], axis=1)
    output, matrix = graph.matmul(graph.b.node("Add", [layer.steps, column]))
    cut = graph.cut(output)
    value = cut.steps(layer) + cut.constant(table)[:, 3]
    assert_close(cut.y, value @ cut.rows(matrix, cut.mask(layer)))


@pytest.mark.parametrize("shape", [(1, BATCH, UNITS), (2, BATCH, UNITS)])
def test_element_for_each_unit_by_indices_of_the_caller(shape: tuple[int, ...]) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    chosen = graph.b.input("chosen", graph.b.rng.integers(0, STEPS, shape), list(shape))
    output, matrix = graph.matmul(graph.b.node("GatherElements", [layer.steps, chosen], axis=0))
    cut = graph.cut(output)
    found = np.take_along_axis(cut.steps(layer), graph.b.feeds["chosen"], 0)
    assert_close(cut.y, found @ cut.constant(matrix))


def test_element_for_each_unit_by_indices_of_units() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    output, matrix = graph.matmul(
        graph.b.node("GatherElements", [layer.steps, places(graph, layer)], axis=0)
    )
    cut = graph.cut(output)
    steps = cut.steps(layer)
    found = np.take_along_axis(steps, (steps > 0).astype(np.int64), 0)
    assert_close(cut.y, found @ cut.constant(matrix))


def test_elements_among_the_units_are_refused() -> None:
    graph = UnitsGraph()
    shape = (STEPS, BATCH, 2)
    chosen = graph.b.constant(graph.b.rng.integers(0, UNITS, shape))
    value = graph.b.node("GatherElements", [graph.layer().steps, chosen], axis=2)
    graph.b.output(value, "found")
    assert SINGLE_UNITS in graph.reasons(graph.x)[0]


def test_elements_by_units_of_what_has_none_are_refused() -> None:
    graph = UnitsGraph()
    value = graph.b.floats("value", (STEPS, BATCH, UNITS), [STEPS, BATCH, UNITS])
    found = graph.b.node("GatherElements", [value, places(graph, graph.layer())], axis=0)
    graph.b.output(found, "found")
    assert LOOKS_UP_BY_UNITS in graph.reasons(graph.x)[0]


def test_elements_by_fewer_indices_than_units_are_refused() -> None:
    graph = UnitsGraph()
    chosen = graph.b.constant(np.zeros((1, BATCH, 2)))
    found = graph.b.node("GatherElements", [graph.layer().steps, chosen], axis=0)
    graph.b.output(found, "found")
    assert OTHER_SIZE in graph.reasons(graph.x)[0]


def test_entries_by_several_indices_at_once() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    chosen = graph.b.input("chosen", np.array([[4, 0], [1, 2]]), [2, 2])
    cut = graph.cut(graph.b.total(graph.b.node("GatherND", [layer.steps, chosen]), 1))
    assert_close(cut.y, cut.steps(layer)[[4, 1], [0, 2]].sum(1))


def test_entries_of_each_of_a_batch() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    chosen = graph.b.input("chosen", np.array([[0], [2], [1], [1], [0]]), [STEPS, 1])
    found = graph.b.node("GatherND", [layer.steps, chosen], batch_dims=1)
    cut = graph.cut(graph.b.total(found, 1))
    assert_close(cut.y, cut.steps(layer)[np.arange(STEPS), [0, 2, 1, 1, 0]].sum(1))


def test_entries_among_the_units_are_refused() -> None:
    graph = UnitsGraph()
    chosen = graph.b.constant([[4, 0, 1]])
    graph.b.output(graph.b.node("GatherND", [graph.layer().steps, chosen]), "found")
    assert SINGLE_UNITS in graph.reasons(graph.x)[0]


def test_entries_by_an_unknown_number_of_indices_are_refused() -> None:
    graph = UnitsGraph()
    chosen = graph.b.input("chosen", np.array([[4, 0], [1, 2]]), [2, "N"])
    graph.b.output(graph.b.node("GatherND", [graph.layer().steps, chosen]), "found")
    assert LOOKS_UP_BY_NUMBER in graph.reasons(graph.x)[0]


def test_every_operator_of_the_rules_is_tested_here() -> None:
    assert operators_of(parts) == {"Slice", "Split", "Gather", "GatherElements", "GatherND"}

"""Operators that only move values, behind layers of which units are removed."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from isslim.compress.onnx.trace.rules import moving
from isslim.compress.onnx.trace.rules.moving import (
    ADDED_BY_DATA,
    DIMENSIONS_BY_DATA,
    LEFT_OUT_BY_DATA,
    REPEATS_UNITS,
)
from isslim.compress.onnx.trace.rules.obstacles import SHAPE_NOT_FOLLOWED, SUMS_NONZERO
from isslim.compress.onnx.trace.rules.regrouping import DIMENSION_BETWEEN, SPREADS, UNFIXED_SIZE
from tests.compress.onnx.proving import run
from tests.compress.onnx.trace.rules.units import (
    BATCH,
    STEPS,
    UNITS,
    UnitsGraph,
    assert_close,
    operators_of,
)


@pytest.mark.parametrize(
    ("operator", "attributes"), [("Identity", {}), ("Cast", {"to": TensorProto.FLOAT})]
)
def test_values_stay_what_they_are(operator: str, attributes: dict[str, int]) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    cut = graph.cut(graph.b.total(graph.b.node(operator, [layer.steps], **attributes), 2))
    assert_close(cut.y, cut.steps(layer).sum(2))


def test_dropout_is_nothing_where_nothing_is_trained() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    cut = graph.cut(graph.b.total(graph.b.node("Dropout", [layer.steps]), 2))
    assert_close(cut.y, cut.steps(layer).sum(2))


def dropped(graph: UnitsGraph) -> str:
    """The mask of a Dropout, as numbers."""
    value = graph.layer().steps
    graph.b.node("Dropout", [value], ["dropped", "mask"])
    return graph.b.node("Cast", ["mask"], to=TensorProto.FLOAT)


def test_mask_of_a_dropout_is_true_at_removed_units_too() -> None:
    graph = UnitsGraph()
    assert SUMS_NONZERO in graph.reasons(graph.b.total(dropped(graph), 2))[0]
    graph = UnitsGraph()
    output, matrix = graph.matmul(dropped(graph))
    cut = graph.cut(output)
    kept = next(iter(cut.keep.values()))
    expected = np.broadcast_to(cut.constant(matrix)[kept].sum(0), cut.y.shape)
    assert_close(cut.y, expected)


@pytest.mark.parametrize("order", [[1, 0, 2], [2, 1, 0], [0, 2, 1]])
def test_dimensions_in_another_order(order: list[int]) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    value = graph.b.node("Transpose", [layer.steps], perm=order)
    cut = graph.cut(graph.b.total(value, order.index(2)))
    assert_close(cut.y, cut.steps(layer).transpose(order).sum(order.index(2)))


def test_dimensions_in_the_opposite_order_where_none_is_given() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    cut = graph.cut(graph.b.total(graph.b.node("Transpose", [layer.steps]), 0))
    assert_close(cut.y, cut.steps(layer).transpose(2, 1, 0).sum(0))


def test_directions_move_with_their_units() -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    turned = graph.b.node("Transpose", [layer.y], perm=[3, 2, 1, 0])  # (H, B, D, T)
    forward, backward = (graph.b.squeeze(each, 2) for each in graph.b.split(turned, [1, 1], 2))
    sums = [graph.b.total(each, 0) for each in (forward, backward)]
    cut = graph.cut(graph.b.node("Sub", sums))
    assert len(cut.keep) == 2
    y = cut.run(layer)[0].sum(3).transpose(1, 2, 0)  # (D, B, T)
    assert_close(cut.y, y[0] - y[1])


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("axis", [1, -3])
def test_dimensions_of_one_are_left_out_and_put_in(opset: int, axis: int) -> None:
    graph = UnitsGraph(opset)
    layer = graph.layer()
    wide = graph.b.unsqueeze(graph.b.squeeze(layer.y, axis), axis)  # (T, 1, B, H) again
    cut = graph.cut(graph.b.total(wide, 3))
    assert_close(cut.y, cut.run(layer)[0].sum(3))


@pytest.mark.parametrize("opset", [11, 17])
def test_several_dimensions_of_one_at_once(opset: int) -> None:
    graph = UnitsGraph(opset)
    layer = graph.layer()
    if opset < 13:
        wide = graph.b.node("Unsqueeze", [layer.steps], axes=[0, -1])
        narrow = graph.b.node("Squeeze", [wide], axes=[-1, 0])
    else:
        wide = graph.b.node("Unsqueeze", [layer.steps, graph.b.constant([0, -1])])
        narrow = graph.b.node("Squeeze", [wide, graph.b.constant([-1, 0])])
    sums = [graph.b.total(wide, 3), graph.b.total(narrow, 2)]
    cut = graph.cut(graph.b.node("Add", [graph.b.squeeze(graph.b.squeeze(sums[0], 3), 0), sums[1]]))
    assert_close(cut.y, 2 * cut.steps(layer).sum(2))


def test_all_dimensions_of_one_are_left_out_where_none_is_named() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    cut = graph.cut(graph.b.total(graph.b.node("Squeeze", [layer.y]), 2))
    assert_close(cut.y, cut.steps(layer).sum(2))


def test_which_dimensions_are_of_one_is_not_known_of_free_ones() -> None:
    graph = UnitsGraph(free=True)
    output, _ = graph.matmul(graph.b.node("Squeeze", [graph.layer().y]))
    assert LEFT_OUT_BY_DATA in graph.reasons(output)[0]


@pytest.mark.parametrize("operator", ["Squeeze", "Unsqueeze"])
def test_dimensions_that_the_caller_names_are_refused(operator: str) -> None:
    graph = UnitsGraph()
    axes = graph.b.input("axes", np.array([1]), [1])
    output, _ = graph.matmul(graph.b.node(operator, [graph.layer().y, axes]))
    assert DIMENSIONS_BY_DATA in graph.reasons(output)[0]


def test_dimensions_that_are_put_in_nowhere_are_refused() -> None:
    graph = UnitsGraph(11)
    output, _ = graph.matmul(graph.b.node("Unsqueeze", [graph.layer().y]))
    assert ADDED_BY_DATA in graph.reasons(output)[0]


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_flattened_units_are_read_as_often_as_they_stand_there(axis: int) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    flat = graph.b.node("Flatten", [layer.steps], axis=axis)
    lengths = {0: (1, 90), 1: (5, 18), 2: (15, 6), 3: (90, 1), -1: (15, 6)}[axis]
    if axis == 3:  # the units lie in the first dimension then, among steps and sequences
        flat = graph.b.node("Transpose", [flat], perm=[1, 0])
        lengths = (1, 90)
    output, matrix = graph.matmul(flat, lengths[1])
    cut = graph.cut(output)
    assert_close(cut.y, cut.steps(layer).reshape(lengths) @ cut.constant(matrix))


def test_flattened_free_dimensions_with_units_are_refused() -> None:
    graph = UnitsGraph(free=True)
    flat = graph.b.node("Flatten", [graph.layer().steps], axis=0)
    graph.b.output(flat, "flat")
    assert UNFIXED_SIZE in graph.reasons(graph.x)[0]


@pytest.mark.parametrize(
    ("shape", "units"),
    [
        ([STEPS * BATCH, UNITS], 1),
        ([-1, UNITS], 1),
        ([0, 0, -1], 2),
        ([0, -1, UNITS], 2),
        ([STEPS, 1, BATCH, UNITS], 3),
        ([1, 0, BATCH, -1], None),
        ([STEPS, BATCH, UNITS, 1], 2),
    ],
)
def test_units_keep_a_dimension_of_their_own(shape: list[int], units: int | None) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    if units is None:  # a zero copies the size at its own position
        shape, units = [1, STEPS, BATCH, -1], 3
    made = graph.b.node("Reshape", [layer.steps, graph.b.constant(shape)])
    cut = graph.cut(graph.b.total(made, units))
    whole = [STEPS if n == 0 and i == 0 else BATCH if n == 0 else n for i, n in enumerate(shape)]
    assert_close(cut.y, cut.steps(layer).reshape(whole).sum(units))


def test_zero_in_a_shape_is_a_size_where_zero_is_allowed() -> None:
    graph = UnitsGraph()
    made = graph.b.node("Reshape", [graph.layer().steps, graph.b.constant([0, 3])], allowzero=1)
    graph.b.output(made, "made")
    assert "Reshape" in graph.reasons(graph.x)[0]


@pytest.mark.parametrize("shape", [[STEPS, BATCH * UNITS], [STEPS, -1], [1, STEPS * BATCH * UNITS]])
def test_what_lies_before_units_repeats_them(shape: list[int]) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    length = STEPS * BATCH * UNITS if shape[0] == 1 else BATCH * UNITS
    made = graph.b.node("Reshape", [layer.steps, graph.b.constant(shape)])
    output, matrix = graph.matmul(made, length)
    cut = graph.cut(output)
    assert_close(cut.y, cut.steps(layer).reshape(-1, length) @ cut.constant(matrix))


def test_both_directions_become_one_dimension() -> None:
    graph = UnitsGraph(free=True)
    layer = graph.layer(direction="bidirectional")
    turned = graph.b.node("Transpose", [layer.y], perm=[0, 2, 1, 3])
    output, matrix = graph.matmul(
        graph.b.node("Reshape", [turned, graph.b.constant([0, 0, -1])]), 2 * UNITS
    )
    cut = graph.cut(output)
    assert len(cut.keep) == 2
    y = cut.run(layer)[0].transpose(0, 2, 1, 3).reshape(STEPS, BATCH, 2 * UNITS)
    assert_close(cut.y, y @ cut.constant(matrix))


def test_directions_move_with_their_units_when_a_dimension_is_put_before_them() -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    wide = graph.b.node("Reshape", [layer.y, graph.b.constant([1, STEPS, 2, BATCH, UNITS])])
    sums = [graph.b.total(each, 4) for each in graph.b.split(wide, [1, 1], 2)]
    cut = graph.cut(graph.b.node("Sub", sums))
    assert len(cut.keep) == 2
    y = cut.run(layer)[0].sum(3)[None]
    assert_close(cut.y, y[:, :, :1] - y[:, :, 1:])


def test_one_dimension_becomes_both_directions() -> None:
    graph = UnitsGraph()
    one, other = graph.layer(), graph.layer()
    both = graph.b.node("Concat", [one.steps, other.steps], axis=2)
    rows = graph.b.node("Reshape", [both, graph.b.constant([0, 0, 2, UNITS])])
    first, second = (graph.b.squeeze(each, 2) for each in graph.b.split(rows, [1, 1], 2))
    cut = graph.cut(graph.b.node("Sub", [graph.b.total(first, 2), graph.b.total(second, 2)]))
    assert len(cut.keep) == 2
    assert_close(cut.y, cut.steps(one).sum(2) - cut.steps(other).sum(2))


@pytest.mark.parametrize("shape", [[0, 0, -1, UNITS], [0, 0, 2, -1]])
def test_rows_may_be_given_by_their_number_or_by_their_length(shape: list[int]) -> None:
    graph = UnitsGraph(free=True)
    one, other = graph.layer(), graph.layer()
    both = graph.b.node("Concat", [one.steps, other.steps], axis=2)
    rows = graph.b.node("Reshape", [both, graph.b.constant(shape)])
    cut = graph.cut(graph.b.total(graph.b.total(rows, 3), 2))
    assert_close(cut.y, cut.steps(one).sum(2) + cut.steps(other).sum(2))


def test_steps_side_by_side_hold_the_units_several_times() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    turned = graph.b.node("Transpose", [layer.steps], perm=[1, 0, 2])  # (B, T, H)
    target = graph.b.node(
        "Concat", [graph.number(turned, 0), graph.b.constant([1, STEPS * UNITS])], axis=0
    )
    output, matrix = graph.matmul(graph.b.node("Reshape", [turned, target]), STEPS * UNITS)
    cut = graph.cut(output)
    steps = cut.steps(layer).transpose(1, 0, 2).reshape(BATCH, 1, STEPS * UNITS)
    assert_close(cut.y, steps @ cut.constant(matrix))


@pytest.mark.parametrize(
    "shape", [[STEPS, BATCH, 2, 3], [STEPS, BATCH, 3, 2], [STEPS * BATCH * 2, 3], [10, 9]]
)
def test_units_of_one_axis_over_several_dimensions_are_refused(shape: list[int]) -> None:
    graph = UnitsGraph()
    made = graph.b.node("Reshape", [graph.layer().steps, graph.b.constant(shape)])
    output, _ = graph.matmul(made, shape[-1])
    assert SPREADS in graph.reasons(output)[0]


@pytest.mark.parametrize("units", [(4, 8), (8, 4), (4, 8, 6)])
def test_rows_that_end_within_units_are_refused(units: tuple[int, ...]) -> None:
    graph = UnitsGraph()
    layers = [graph.layer(units=each) for each in units]
    both = graph.b.node("Concat", [layer.steps for layer in layers], axis=2)
    rows = graph.b.node("Reshape", [both, graph.b.constant([0, 0, -1, UNITS])])
    output, _ = graph.matmul(rows)
    assert SPREADS in graph.reasons(output)[0]


def test_dimension_behind_units_is_refused() -> None:
    graph = UnitsGraph()
    turned = graph.b.node("Transpose", [graph.layer().steps], perm=[0, 2, 1])  # (T, H, B)
    made = graph.b.node("Reshape", [turned, graph.b.constant([STEPS, UNITS * BATCH])])
    output, _ = graph.matmul(made, UNITS * BATCH)
    assert UNFIXED_SIZE in graph.reasons(output)[0]


def test_dimension_between_directions_and_their_units_is_refused() -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")  # (T, D, B, H)
    made = graph.b.node("Reshape", [layer.y, graph.b.constant([STEPS, -1])])
    output, _ = graph.matmul(made, 2 * BATCH * UNITS)
    assert DIMENSION_BETWEEN in graph.reasons(output)[0]


def test_directions_behind_their_units_become_one_axis_and_are_refused() -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    turned = graph.b.node("Transpose", [layer.y], perm=[0, 2, 3, 1])  # (T, B, H, D)
    made = graph.b.node("Reshape", [turned, graph.b.constant([0, 0, -1])])
    output, _ = graph.matmul(made, 2 * UNITS)
    assert UNFIXED_SIZE in graph.reasons(output)[0]


@pytest.mark.parametrize("operator", ["Reshape", "Expand"])
def test_shape_of_the_caller_is_refused(operator: str) -> None:
    graph = UnitsGraph()
    shape = graph.b.input("shape", np.array([STEPS, BATCH, UNITS]), [3])
    output, _ = graph.matmul(graph.b.node(operator, [graph.layer().steps, shape]))
    assert SHAPE_NOT_FOLLOWED in graph.reasons(output)[0]


def test_shape_of_the_caller_without_units_is_nothing_of_theirs() -> None:
    graph = UnitsGraph()
    shape = graph.b.input("shape", np.array([STEPS, BATCH, 4]), [3])
    layer = graph.layer(graph.b.node("Reshape", [graph.x, shape]))
    output, matrix = graph.matmul(layer.steps)
    cut = graph.cut(output)
    assert_close(cut.y, cut.steps(layer) @ cut.constant(matrix))


@pytest.mark.parametrize(
    "shape", [[STEPS, BATCH, UNITS], [1, BATCH, 1], [1], [2, 1, 1, UNITS], [2, STEPS, 1, 1]]
)
def test_dimensions_before_units_are_repeated(shape: list[int]) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    state = graph.b.node("Transpose", [layer.h], perm=[1, 0, 2])  # (B, 1, H)
    narrow = graph.b.unsqueeze(graph.b.squeeze(state, 1), 0)  # (1, B, H)
    value = graph.b.node("Expand", [narrow, graph.b.constant(shape)])
    cut = graph.cut(graph.b.total(value, -1))
    plain = [n if n != UNITS else 1 for n in shape]
    assert_close(cut.y, (cut.run(layer)[1] * np.ones(plain)).sum(-1))


def test_expanded_tensor_is_as_wide_as_the_units_that_its_shape_counts() -> None:
    graph = UnitsGraph(free=True)
    layer, narrow = graph.layer(), graph.b.node("ReduceSum", [graph.x, graph.b.constant([2])])
    wide = graph.b.node("Expand", [narrow, graph.b.node("Shape", [layer.steps])])
    output, matrix = graph.matmul(graph.b.node("Add", [layer.steps, wide]))
    cut = graph.cut(output)
    value = cut.steps(layer) + graph.b.feeds["x"].sum(2, keepdims=True)
    assert_close(cut.y, value @ cut.rows(matrix, cut.mask(layer)))


def test_what_is_expanded_over_units_is_no_zero() -> None:
    graph = UnitsGraph(free=True)
    layer, narrow = graph.layer(), graph.b.node("ReduceSum", [graph.x, graph.b.constant([2])])
    wide = graph.b.node("Expand", [narrow, graph.b.node("Shape", [layer.steps])])
    met = graph.b.node("Add", [layer.steps, wide])
    assert SUMS_NONZERO in graph.reasons(graph.b.total(met, 2))[0]


def test_units_repeated_an_unknown_number_of_times_are_refused() -> None:
    graph = UnitsGraph(free=True)
    other = graph.b.floats("other", (STEPS, BATCH, UNITS), ["T", "B", "N"])
    value = graph.b.node("Expand", [graph.layer().steps, graph.b.node("Shape", [other])])
    output, _ = graph.matmul(value)
    assert REPEATS_UNITS in graph.reasons(output)[0]


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_state_of_the_caller_is_of_full_size_with_zeros_at_removed_units(direction: str) -> None:
    graph = UnitsGraph()
    shape = (2 if direction == "bidirectional" else 1, BATCH, UNITS)
    states = [graph.b.floats(name, shape, list(shape)) for name in ("before_h", "before_c")]
    layer = graph.layer(initial=states, direction=direction)
    graph.b.output(layer.h, "after_h", list(shape))
    graph.b.output(layer.c, "after_c", list(shape))
    output, matrix = graph.matmul(layer.steps)
    if direction == "bidirectional":
        backward = graph.b.squeeze(graph.b.split(layer.y, [1, 1], 1)[1], 1)
        graph.b.output(graph.matmul(backward)[0], "other")
    cut = graph.cut(output)
    before = (graph.b.feeds["before_h"], graph.b.feeds["before_c"])
    y, h, c = cut.run(layer, states=before)
    assert_close(cut.y, y[:, 0] @ cut.constant(matrix))
    made = run(cut.written, graph.b.feeds)
    assert_close(made["after_h"], h)
    assert_close(made["after_c"], c)


def test_every_operator_of_the_rules_is_tested_here() -> None:
    tested = {"Identity", "Cast", "Dropout", "Transpose", "Squeeze", "Unsqueeze", "Flatten"}
    assert operators_of(moving) == {*tested, "Reshape", "Expand"}

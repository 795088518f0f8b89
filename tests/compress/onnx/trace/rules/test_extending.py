"""Tile, Resize, ReverseSequence and Pad behind layers of which units are removed."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.onnx.trace.rules import extending
from isslim.compress.onnx.trace.rules.extending import (
    MARGIN_ON_UNITS,
    MARGINS_BY_DATA,
    REPEATS_BY_DATA,
    REPEATS_BY_UNITS,
    STRETCH_NOT_FOLLOWED,
    STRETCHES_UNITS,
    TURNS_UNITS,
)
from isslim.compress.onnx.trace.rules.obstacles import SUMS_NONZERO
from tests.compress.onnx.trace.rules.units import (
    BATCH,
    STEPS,
    UNITS,
    LayerOf,
    UnitsGraph,
    assert_close,
    operators_of,
)


@pytest.mark.parametrize("times", [[2, 1, 1], [1, 1, 3], [3, 2, 2]])
def test_dimensions_are_repeated(times: list[int]) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    value = graph.b.node("Tile", [layer.steps, graph.b.constant(times)])
    output, matrix = graph.matmul(value, times[2] * UNITS)
    cut = graph.cut(output)
    assert_close(cut.y, np.tile(cut.steps(layer), times) @ cut.constant(matrix))


def test_tensor_repeated_as_often_as_there_are_units_is_indexed_by_them() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    narrow = graph.b.node("ReduceSum", [graph.x, graph.b.constant([2])])
    ones = graph.b.constant([1, 1])
    times = graph.b.node("Concat", [ones, graph.number(layer.steps, 2)], axis=0)
    met = graph.b.node("Add", [layer.steps, graph.b.node("Tile", [narrow, times])])
    output, matrix = graph.matmul(met)
    cut = graph.cut(output)
    value = cut.steps(layer) + graph.b.feeds["x"].sum(2, keepdims=True)
    assert_close(cut.y, value @ cut.rows(matrix, cut.mask(layer)))


def test_directions_are_repeated_as_one_axis() -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    value = graph.b.node("Tile", [layer.y, graph.b.constant([1, 2, 1, 1])])
    output, matrix = graph.matmul(value)
    cut = graph.cut(output)
    assert len(cut.keep) == 1
    assert_close(cut.y, np.tile(cut.run(layer)[0], [1, 2, 1, 1]) @ cut.constant(matrix))


def test_repeats_by_the_data_are_refused() -> None:
    graph = UnitsGraph()
    times = graph.b.input("times", np.array([1, 1, 2]), [3])
    graph.b.output(graph.b.node("Tile", [graph.layer().steps, times]), "tiled")
    assert REPEATS_BY_DATA in graph.reasons(graph.x)[0]


@pytest.mark.parametrize("position", [0, 2])
def test_steps_or_units_repeated_as_often_as_there_are_units_are_refused(position: int) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    pieces = [graph.b.constant([1])] * 3
    pieces[position] = graph.number(layer.steps, 2)
    times = graph.b.node("Concat", pieces, axis=0)
    graph.b.output(graph.b.node("Tile", [layer.steps, times]), "tiled")
    assert REPEATS_BY_UNITS in graph.reasons(graph.x)[0]


def channels(graph: UnitsGraph, layer: LayerOf) -> str:
    """The steps as (B, H, T), in the form that images have."""
    return graph.b.node("Transpose", [layer.steps], perm=[1, 2, 0])


def nearest(value: np.ndarray, length: int) -> np.ndarray:
    """Numbers at the nearest places before, of a longer last dimension."""
    old = value.shape[-1]
    return value[..., [min(int(i * old / length), old - 1) for i in range(length)]]


FORM = {
    "mode": "nearest",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
}


@pytest.mark.parametrize("by", ["scales", "sizes"])
def test_steps_are_stretched(by: str) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    sizes = graph.b.constant([BATCH, UNITS, 2 * STEPS])
    scales = graph.b.constant([1, 1, 2], np.float32)
    inputs = ["", scales] if by == "scales" else ["", "", sizes]
    value = graph.b.node("Resize", [channels(graph, layer), *inputs], **FORM)
    cut = graph.cut(graph.b.total(value, 1))
    steps = cut.steps(layer).transpose(1, 2, 0)
    assert_close(cut.y, nearest(steps, 2 * STEPS).sum(1))


def test_steps_were_stretched_by_scales_alone_at_first() -> None:
    graph = UnitsGraph(10)
    layer = graph.layer()
    scales = graph.b.constant([1, 1, 2], np.float32)
    value = graph.b.node("Resize", [channels(graph, layer), scales], mode="nearest")
    cut = graph.cut(graph.b.total(value, 1))
    assert_close(cut.y, nearest(cut.steps(layer).transpose(1, 2, 0), 2 * STEPS).sum(1))


@pytest.mark.parametrize("by", ["scales", "sizes", "data"])
def test_stretched_units_are_refused(by: str) -> None:
    graph = UnitsGraph()
    sizes = graph.b.constant([BATCH, 2 * UNITS, STEPS])
    if by == "data":
        sizes = graph.b.input("sizes", np.array([BATCH, UNITS, STEPS]), [3])
    scales = graph.b.constant([1, 2, 1], np.float32)
    inputs = ["", scales] if by == "scales" else ["", "", sizes]
    value = graph.b.node("Resize", [channels(graph, graph.layer()), *inputs], **FORM)
    graph.b.output(value, "stretched")
    assert STRETCHES_UNITS in graph.reasons(graph.x)[0]


def test_stretched_part_of_a_tensor_is_refused() -> None:
    graph = UnitsGraph()
    region = graph.b.constant([0, 0, 0, 1, 1, 1], np.float32)
    inputs = [region, "", graph.b.constant([BATCH, UNITS, STEPS])]
    form = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}
    value = graph.b.node("Resize", [channels(graph, graph.layer()), *inputs], **form)
    graph.b.output(value, "stretched")
    assert STRETCH_NOT_FOLLOWED in graph.reasons(graph.x)[0]


def turned(value: np.ndarray, lengths: list[int]) -> np.ndarray:
    """The first steps of every sequence in the opposite order, of (T, ..., B, H)."""
    made = value.copy()
    for sequence, length in enumerate(lengths):
        made[:length, ..., sequence, :] = value[:length, ..., sequence, :][::-1]
    return made


def test_steps_in_the_opposite_order_keep_their_units() -> None:
    graph = UnitsGraph()
    layer, lengths = graph.layer(), graph.b.constant([5, 3, 1])
    value = graph.b.node("ReverseSequence", [layer.steps, lengths], time_axis=0, batch_axis=1)
    cut = graph.cut(graph.b.total(value, 2))
    assert_close(cut.y, turned(cut.steps(layer), [5, 3, 1]).sum(2))


def test_units_in_the_opposite_order_are_refused() -> None:
    graph = UnitsGraph()
    swapped = graph.b.node("Transpose", [graph.layer().steps], perm=[2, 1, 0])
    lengths = graph.b.constant([5, 3, 1])
    value = graph.b.node("ReverseSequence", [swapped, lengths], time_axis=0, batch_axis=1)
    graph.b.output(value, "turned")
    assert TURNS_UNITS in graph.reasons(graph.x)[0]


def test_directions_in_the_opposite_order_share_one_axis() -> None:
    graph = UnitsGraph()
    layer, lengths = graph.layer(direction="bidirectional"), graph.b.constant([2, 1, 2])
    swapped = graph.b.node("Transpose", [layer.y], perm=[1, 2, 0, 3])  # (D, B, T, H)
    value = graph.b.node("ReverseSequence", [swapped, lengths], time_axis=0, batch_axis=1)
    output, matrix = graph.matmul(value)
    cut = graph.cut(output)
    assert len(cut.keep) == 1
    y = cut.run(layer)[0].transpose(1, 2, 0, 3)  # (D, B, T, H)
    moved = turned(y.transpose(0, 2, 1, 3), [2, 1, 2]).transpose(0, 2, 1, 3)
    assert_close(cut.y, moved @ cut.constant(matrix))


@pytest.mark.parametrize("opset", [10, 17])
def test_steps_get_a_margin(opset: int) -> None:
    graph = UnitsGraph(opset)
    layer, pads = graph.layer(), [1, 0, 0, 2, 0, 0]
    if opset < 11:
        value = graph.b.node("Pad", [layer.steps], pads=pads, value=0.5)
    else:
        numbers = [graph.b.constant(pads), graph.b.constant(0.5, np.float32)]
        value = graph.b.node("Pad", [layer.steps, *numbers])
    output, matrix = graph.matmul(value)
    cut = graph.cut(output)
    widths = [(1, 2), (0, 0), (0, 0)]
    padded = np.pad(cut.steps(layer), widths, constant_values=0.5)
    assert_close(cut.y, padded @ cut.rows(matrix, cut.mask(layer)))


def test_margin_is_no_zero() -> None:
    graph = UnitsGraph()
    value = graph.b.node("Pad", [graph.layer().steps, graph.b.constant([1, 0, 0, 0, 0, 0])])
    assert SUMS_NONZERO in graph.reasons(graph.b.total(value, 2))[0]


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_margin_on_units_or_their_directions_is_refused(direction: str) -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction=direction)
    pads = [0, 1, 0, 0, 0, 0, 0, 0] if direction == "bidirectional" else [0, 0, 0, 1, 0, 0, 0, 0]
    graph.b.output(graph.b.node("Pad", [layer.y, graph.b.constant(pads)]), "padded")
    assert MARGIN_ON_UNITS in graph.reasons(graph.x)[0]


def test_margins_by_the_data_are_refused() -> None:
    graph = UnitsGraph()
    pads = graph.b.input("pads", np.array([1, 0, 0, 0, 0, 0]), [6])
    graph.b.output(graph.b.node("Pad", [graph.layer().steps, pads]), "padded")
    assert MARGINS_BY_DATA in graph.reasons(graph.x)[0]


def test_every_operator_of_the_rules_is_tested_here() -> None:
    assert operators_of(extending) == {"Resize", "Tile", "ReverseSequence", "Pad"}

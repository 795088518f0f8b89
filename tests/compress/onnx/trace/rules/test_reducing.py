"""Reductions, softmax, normalisations and pooling behind layers of which units are removed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from isslim.compress.onnx.trace.rules import reducing
from isslim.compress.onnx.trace.rules.obstacles import NORMALISES_UNITS, SUMS_NONZERO
from isslim.compress.onnx.trace.rules.reducing import (
    COMPARES_UNITS,
    POOLS_UNITS,
    REDUCES_BY_DATA,
    SCALE_NOT_CONSTANT,
    STATISTICS_OF_DATA,
    SUMS_BY_DATA,
    SUMS_UNITS,
    WEIGHS_UNITS,
)
from tests.compress.onnx.trace.rules.recurrences import Values
from tests.compress.onnx.trace.rules.units import (
    BATCH,
    STEPS,
    UNITS,
    LayerOf,
    UnitsGraph,
    assert_close,
    operators_of,
)

Reduce = Callable[[Values, int], Values]
SUMS: dict[str, Reduce] = {
    "ReduceSum": lambda x, axis: x.sum(axis),
    "ReduceL1": lambda x, axis: np.abs(x).sum(axis),
    "ReduceL2": lambda x, axis: np.sqrt((x**2).sum(axis)),
    "ReduceSumSquare": lambda x, axis: (x**2).sum(axis),
}
KEEPS_ZERO: dict[str, Reduce] = {
    **SUMS,
    "ReduceMean": lambda x, axis: x.mean(axis),
    "ReduceMax": lambda x, axis: x.max(axis),
    "ReduceMin": lambda x, axis: x.min(axis),
    "ReduceProd": lambda x, axis: x.prod(axis),
}
LOSES_ZERO: dict[str, Reduce] = {
    "ReduceLogSum": lambda x, axis: np.log(x.sum(axis)),
    "ReduceLogSumExp": lambda x, axis: np.log(np.exp(x).sum(axis)),
}


def reduced(graph: UnitsGraph, operator: str, value: str, axis: int, keepdims: int = 0) -> str:
    """A reduction along one dimension, in the form of the graph's opset."""
    if graph.b.opset >= (13 if operator == "ReduceSum" else 18):
        axes = graph.b.constant([axis])
        return graph.b.node(operator, [value, axes], keepdims=keepdims)
    return graph.b.node(operator, [value], axes=[axis], keepdims=keepdims)


def positive(graph: UnitsGraph, operator: str, layer: LayerOf) -> str:
    """What a logarithm of a sum is defined for."""
    return graph.b.node("Exp", [layer.steps]) if operator == "ReduceLogSum" else layer.steps


@pytest.mark.parametrize("opset", [11, 17, 18])
@pytest.mark.parametrize("operator", [*KEEPS_ZERO, *LOSES_ZERO])
def test_steps_are_reduced(operator: str, opset: int) -> None:
    graph = UnitsGraph(opset)
    layer = graph.layer()
    value = reduced(graph, operator, positive(graph, operator, layer), 0)
    output, matrix = graph.matmul(value)
    cut = graph.cut(output)
    steps = cut.steps(layer)
    steps = np.exp(steps) if operator == "ReduceLogSum" else steps
    expected = {**KEEPS_ZERO, **LOSES_ZERO}[operator](steps, 0)
    assert_close(cut.y, expected @ cut.rows(matrix, cut.mask(layer)))


@pytest.mark.parametrize("operator", KEEPS_ZERO)
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reduced_steps_of_a_unit_that_is_zero_are_zero(operator: str, keepdims: int) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    cut = graph.cut(graph.b.total(reduced(graph, operator, layer.steps, -3, keepdims), -1))
    expected = KEEPS_ZERO[operator](cut.steps(layer), 0).sum(-1)
    assert_close(cut.y, expected[None] if keepdims else expected)


@pytest.mark.parametrize("operator", LOSES_ZERO)
def test_logarithm_of_sums_loses_zero(operator: str) -> None:
    graph = UnitsGraph()
    value = reduced(graph, operator, positive(graph, operator, graph.layer()), 0)
    assert SUMS_NONZERO in graph.reasons(graph.b.total(value, -1))[0]


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("operator", SUMS)
@pytest.mark.parametrize("keepdims", [0, 1])
def test_units_are_summed(operator: str, keepdims: int, opset: int) -> None:
    graph = UnitsGraph(opset)
    layer = graph.layer()
    cut = graph.cut(reduced(graph, operator, layer.steps, 2, keepdims))
    expected = SUMS[operator](cut.steps(layer), 2)
    assert_close(cut.y, expected[..., None] if keepdims else expected)


@pytest.mark.parametrize("operator", sorted({*KEEPS_ZERO, *LOSES_ZERO} - {*SUMS}))
def test_units_are_compared_or_counted_by_no_graph_without_some(operator: str) -> None:
    graph = UnitsGraph()
    value = reduced(graph, operator, positive(graph, operator, graph.layer()), 2)
    assert COMPARES_UNITS in graph.reasons(value)[0]


@pytest.mark.parametrize("opset", [11, 18])
def test_all_dimensions_are_summed_where_none_is_named(opset: int) -> None:
    graph = UnitsGraph(opset)
    layer = graph.layer()
    cut = graph.cut(graph.b.node("ReduceSumSquare", [layer.steps], keepdims=0))
    assert_close(cut.y, (cut.steps(layer) ** 2).sum())


def test_none_may_be_meant_where_none_is_named() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    same = graph.b.node("ReduceSum", [layer.steps], noop_with_empty_axes=1)
    output, matrix = graph.matmul(same)
    cut = graph.cut(output)
    assert_close(cut.y, cut.steps(layer) @ cut.constant(matrix))


def test_dimensions_by_the_data_are_refused() -> None:
    graph = UnitsGraph()
    axes = graph.b.input("axes", np.array([0]), [1])
    value = graph.b.node("ReduceSum", [graph.layer().steps, axes])
    graph.b.output(value, "reduced")
    assert REDUCES_BY_DATA in graph.reasons(graph.x)[0]


def test_directions_that_are_summed_share_one_axis() -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    output, matrix = graph.matmul(graph.b.total(layer.y, 1))
    cut = graph.cut(output)
    assert len(cut.keep) == 1
    assert_close(cut.y, cut.run(layer)[0].sum(1) @ cut.constant(matrix))


def test_directions_keep_their_units_where_steps_are_summed() -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    value = graph.b.total(layer.y, 0)  # (D, B, H)
    sums = [graph.b.total(each, 2) for each in graph.b.split(value, [1, 1], 0)]
    cut = graph.cut(graph.b.node("Sub", sums))
    assert len(cut.keep) == 2
    y = cut.run(layer)[0].sum(0).sum(2)
    assert_close(cut.y, y[:1] - y[1:])


def test_state_of_the_caller_is_read_by_a_sum() -> None:
    graph = UnitsGraph()
    state = graph.b.floats("before", (1, BATCH, UNITS), [1, BATCH, UNITS])
    layer = graph.layer(kind="GRU", initial=[state])
    graph.b.output(layer.h, "after", [1, BATCH, UNITS])
    cut = graph.cut(graph.b.total(layer.steps, 2))
    states = (graph.b.feeds["before"], graph.b.feeds["before"])
    assert_close(cut.y, cut.run(layer, states=states)[0][:, 0].sum(2))


def softmax(value: Values, axes: tuple[int, ...]) -> Values:
    powers = np.exp(value - value.max(axes, keepdims=True))
    return powers / powers.sum(axes, keepdims=True)


def hardmax(value: Values, axes: tuple[int, ...]) -> Values:
    """1 at the first of the largest numbers along the last of `axes`."""
    (axis,) = axes
    first = np.expand_dims(value.argmax(axis), axis)
    return (np.indices(value.shape)[axis] == first).astype(np.float32)


WEIGHTS = {
    "Softmax": softmax,
    "LogSoftmax": lambda x, axes: np.log(softmax(x, axes)),
    "Hardmax": hardmax,
}


@pytest.mark.parametrize("operator", WEIGHTS)
def test_steps_are_weighed(operator: str) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    output, matrix = graph.matmul(graph.b.node(operator, [layer.steps], axis=0))
    cut = graph.cut(output)
    expected = WEIGHTS[operator](cut.steps(layer), (0,))
    assert_close(cut.y, expected @ cut.rows(matrix, cut.mask(layer)))


@pytest.mark.parametrize("operator", WEIGHTS)
@pytest.mark.parametrize(("opset", "axis"), [(17, 2), (17, None), (11, 2), (11, 1), (11, None)])
def test_weighed_units_are_refused(operator: str, opset: int, axis: int | None) -> None:
    graph = UnitsGraph(opset)
    form = {} if axis is None else {"axis": axis}
    value = graph.b.node(operator, [graph.layer().steps], **form)
    graph.b.output(value, "weighed")
    assert WEIGHS_UNITS in graph.reasons(graph.x)[0]


@pytest.mark.parametrize("operator", WEIGHTS)
def test_units_are_weighed_with_all_behind_dimension_one_at_first(operator: str) -> None:
    graph = UnitsGraph(11)
    turned = graph.b.node("Transpose", [graph.layer().steps], perm=[1, 2, 0])  # (B, H, T)
    graph.b.output(graph.b.node(operator, [turned]), "weighed")
    assert WEIGHS_UNITS in graph.reasons(graph.x)[0]


@pytest.mark.parametrize("operator", WEIGHTS)
def test_weighed_steps_are_no_zero(operator: str) -> None:
    graph = UnitsGraph()
    value = graph.b.node(operator, [graph.layer().steps], axis=0)
    assert SUMS_NONZERO in graph.reasons(graph.b.total(value, 2))[0]


def test_weights_over_several_dimensions_at_first() -> None:
    graph = UnitsGraph(11)
    layer = graph.layer()
    turned = graph.b.node("Transpose", [layer.steps], perm=[2, 0, 1])  # (H, T, B)
    value = graph.b.node("Softmax", [turned])
    back = graph.b.node("Transpose", [value], perm=[1, 2, 0])
    output, matrix = graph.matmul(back)
    cut = graph.cut(output)
    expected = softmax(cut.steps(layer).transpose(2, 0, 1), (1, 2)).transpose(1, 2, 0)
    assert_close(cut.y, expected @ cut.rows(matrix, cut.mask(layer)))


def test_directions_that_are_weighed_share_one_axis() -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    output, matrix = graph.matmul(graph.b.node("Softmax", [layer.y], axis=1))
    cut = graph.cut(output)
    assert len(cut.keep) == 1
    expected = softmax(cut.run(layer)[0], (1,))
    assert_close(cut.y, expected @ cut.rows(matrix, cut.mask(layer)))


def test_weighed_directions_share_one_axis_where_they_are_read_apart() -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    weighed = graph.b.node("Softmax", [layer.y], axis=1)
    reads = [graph.matmul(each) for each in graph.b.split(weighed, [1, 1], 1)]
    cut = graph.cut(graph.b.node("Sub", [made for made, _ in reads]))
    assert len(cut.keep) == 1
    value = softmax(cut.run(layer)[0], (1,))
    first, second = (cut.rows(matrix, cut.mask(layer)) for _, matrix in reads)
    assert_close(cut.y, value[:, :1] @ first - value[:, 1:] @ second)


def layer_norm(value: Values, scale: Values, shift: Values, axes: tuple[int, ...]) -> Values:
    centred = value - value.mean(axes, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axes, keepdims=True) + 1e-5) * scale + shift


@pytest.mark.parametrize("axis", [-1, 1])
def test_steps_of_each_unit_are_normalised(axis: int) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    turned = graph.b.node("Transpose", [layer.steps], perm=[2, 1, 0])  # (H, B, T)
    shape = (STEPS,) if axis == -1 else (BATCH, STEPS)
    names = [graph.floats(*shape), graph.floats(*shape)]
    value = graph.b.node("LayerNormalization", [turned, *names], axis=axis)
    back = graph.b.node("Transpose", [value], perm=[2, 1, 0])
    output, matrix = graph.matmul(back)
    cut = graph.cut(output)
    axes = (2,) if axis == -1 else (1, 2)
    scale, shift = (cut.constant(name) for name in names)
    expected = layer_norm(cut.steps(layer).transpose(2, 1, 0), scale, shift, axes)
    assert_close(cut.y, expected.transpose(2, 1, 0) @ cut.rows(matrix, cut.mask(layer)))


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize(
    ("operator", "opset"), [("LayerNormalization", 17), ("RMSNormalization", 23)]
)
def test_normalised_units_are_refused(operator: str, opset: int, axis: int) -> None:
    graph = UnitsGraph(opset)
    scale = graph.floats(UNITS) if axis == -1 else graph.floats(BATCH, UNITS)
    value = graph.b.node(operator, [graph.layer().steps, scale], axis=axis)
    graph.b.output(value, "normalised")
    assert NORMALISES_UNITS in graph.reasons(graph.x)[0]


def test_mean_square_of_the_steps_of_each_unit() -> None:
    graph = UnitsGraph(23)
    layer, scale = graph.layer(), graph.floats(STEPS)
    turned = graph.b.node("Transpose", [layer.steps], perm=[2, 1, 0])
    value = graph.b.node("RMSNormalization", [turned, scale], axis=-1)
    output, matrix = graph.matmul(graph.b.node("Transpose", [value], perm=[2, 1, 0]))
    cut = graph.cut(output)
    steps = cut.steps(layer).transpose(2, 1, 0)
    made = steps / np.sqrt((steps**2).mean(-1, keepdims=True) + 1e-5) * cut.constant(scale)
    assert_close(cut.y, made.transpose(2, 1, 0) @ cut.rows(matrix, cut.mask(layer)))


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("axis", [-1, 0])
def test_norm_is_exact_over_units_that_are_zero(power: int, axis: int) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    value = graph.b.node("LpNormalization", [layer.steps], axis=axis, p=power)
    cut = graph.cut(graph.b.total(graph.b.node("Mul", [value, layer.steps]), 2))
    steps = cut.steps(layer)
    norms = (np.abs(steps) ** power).sum(axis, keepdims=True) ** (1 / power)
    # A removed unit is divided by its own norm of zero where the norm is along the steps: it is
    # not there to be.
    divided = np.divide(steps, norms, out=np.zeros_like(steps), where=norms != 0)
    assert_close(cut.y, (divided * steps).sum(2))


def test_norm_of_units_that_are_no_zero_is_refused() -> None:
    graph = UnitsGraph()
    loud = graph.b.node("Exp", [graph.layer().steps])
    output, _ = graph.matmul(graph.b.node("LpNormalization", [loud], axis=-1))
    assert SUMS_NONZERO in graph.reasons(output)[0]


def channels(graph: UnitsGraph, layer: LayerOf) -> str:
    return graph.b.node("Transpose", [layer.steps], perm=[1, 2, 0])  # (B, H, T)


def test_stored_statistics_of_each_unit_go_with_it() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    names = [graph.floats(UNITS) for _ in range(3)] + [graph.floats(UNITS, low=0.5)]
    value = graph.b.node("BatchNormalization", [channels(graph, layer), *names])
    cut = graph.cut(graph.b.total(value, 1))
    scale, shift, mean, variance = (cut.constant(name)[:, None] for name in names)
    steps = cut.steps(layer).transpose(1, 2, 0)
    made = (steps - mean) / np.sqrt(variance + 1e-5) * scale + shift
    assert_close(cut.y, (made * cut.mask(layer)[:, None]).sum(1))


def test_stored_statistics_of_others_than_units_make_more_than_zero_of_it() -> None:
    def normalised(graph: UnitsGraph, layer: LayerOf) -> str:
        return graph.b.node("BatchNormalization", [layer.steps, *names_of(graph)])

    def names_of(graph: UnitsGraph) -> list[str]:
        return [graph.floats(BATCH, low=0.5) for _ in range(4)]

    graph = UnitsGraph()
    assert SUMS_NONZERO in graph.reasons(graph.b.total(normalised(graph, graph.layer()), 2))[0]
    graph = UnitsGraph()
    layer = graph.layer()
    value = normalised(graph, layer)
    names = list(graph.b.nodes[-1].input)[1:]
    output, matrix = graph.matmul(value)
    cut = graph.cut(output)
    scale, shift, mean, variance = (cut.constant(name)[:, None] for name in names)
    made = (cut.steps(layer) - mean) / np.sqrt(variance + 1e-5) * scale + shift
    assert_close(cut.y, made @ cut.rows(matrix, cut.mask(layer)))


def test_variances_of_directions_of_different_sizes_do_not_vanish() -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    names = [graph.floats(UNITS, low=0.5) for _ in range(4)]
    backward = graph.b.squeeze(graph.b.split(layer.y, [1, 1], 1)[1], 1)
    turned = graph.b.node("Transpose", [backward], perm=[1, 2, 0])
    value = graph.b.node("BatchNormalization", [turned, *names], epsilon=0.0)
    both = graph.b.node("Add", [graph.b.total(value, 1), graph.b.total(channels(graph, layer), 1)])
    cut = graph.cut(both)
    scale, shift, mean, variance = (cut.constant(name)[:, None] for name in names)
    y = cut.run(layer)[0].transpose(1, 2, 3, 0)  # (D, B, H, T)
    made = ((y[1] - mean) / np.sqrt(variance) * scale + shift) * cut.masks(layer)[1][:, None]
    assert_close(cut.y, made.sum(1) + y[0].sum(1))


def test_statistics_of_the_caller_are_refused() -> None:
    graph = UnitsGraph()
    names = [graph.floats(UNITS) for _ in range(3)]
    variance = graph.b.floats("variance", (UNITS,), [UNITS])
    value = graph.b.node("BatchNormalization", [channels(graph, graph.layer()), *names, variance])
    graph.b.output(value, "normalised")
    assert STATISTICS_OF_DATA in graph.reasons(graph.x)[0]


def test_steps_of_each_unit_are_normalised_with_its_scale() -> None:
    graph = UnitsGraph()
    layer, scale, shift = graph.layer(), graph.floats(UNITS), graph.floats(UNITS)
    value = graph.b.node("InstanceNormalization", [channels(graph, layer), scale, shift])
    cut = graph.cut(graph.b.total(value, 1))
    columns = [cut.constant(name)[:, None] * cut.mask(layer)[:, None] for name in (scale, shift)]
    made = layer_norm(cut.steps(layer).transpose(1, 2, 0), columns[0], columns[1], (2,))
    assert_close(cut.y, made.sum(1))


def test_units_that_are_normalised_over_are_refused() -> None:
    graph = UnitsGraph()
    names = [graph.floats(BATCH), graph.floats(BATCH)]
    value = graph.b.node("InstanceNormalization", [graph.layer().steps, *names])
    graph.b.output(value, "normalised")
    assert NORMALISES_UNITS in graph.reasons(graph.x)[0]


def test_scale_of_the_caller_is_refused() -> None:
    graph = UnitsGraph()
    scale = graph.b.floats("scale", (UNITS,), [UNITS])
    inputs = [channels(graph, graph.layer()), scale, graph.floats(UNITS)]
    graph.b.output(graph.b.node("InstanceNormalization", inputs), "normalised")
    assert SCALE_NOT_CONSTANT in graph.reasons(graph.x)[0]


def windows(value: Values) -> Values:
    """Pairs of neighbours along the last dimension."""
    return np.stack([value[..., :-1], value[..., 1:]], -1)


POOLS: dict[str, tuple[Callable[[Values], Values], dict[str, list[int]]]] = {
    "MaxPool": (lambda x: windows(x).max(-1), {"kernel_shape": [2]}),
    "AveragePool": (lambda x: windows(x).mean(-1), {"kernel_shape": [2]}),
    "GlobalMaxPool": (lambda x: x.max(-1, keepdims=True), {}),
    "GlobalAveragePool": (lambda x: x.mean(-1, keepdims=True), {}),
}


@pytest.mark.parametrize("operator", POOLS)
def test_steps_are_pooled(operator: str) -> None:
    function, form = POOLS[operator]
    graph = UnitsGraph()
    layer = graph.layer()
    cut = graph.cut(graph.b.total(graph.b.node(operator, [channels(graph, layer)], **form), 1))
    assert_close(cut.y, function(cut.steps(layer).transpose(1, 2, 0)).sum(1))


@pytest.mark.parametrize("operator", POOLS)
def test_pooled_units_are_refused(operator: str) -> None:
    graph = UnitsGraph()
    value = graph.b.node(operator, [graph.layer().steps], **POOLS[operator][1])
    graph.b.output(value, "pooled")
    assert POOLS_UNITS in graph.reasons(graph.x)[0]


@pytest.mark.parametrize("axis", [0, -3])
def test_running_sums_of_steps(axis: int) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    value = graph.b.node("CumSum", [layer.steps, graph.b.constant(axis)])
    cut = graph.cut(graph.b.total(value, 2))
    assert_close(cut.y, cut.steps(layer).cumsum(0).sum(2))


def test_running_sums_of_units_are_refused() -> None:
    graph = UnitsGraph()
    value = graph.b.node("CumSum", [graph.layer().steps, graph.b.constant(2)])
    graph.b.output(value, "summed")
    assert SUMS_UNITS in graph.reasons(graph.x)[0]


def test_running_sums_by_the_data_are_refused() -> None:
    graph = UnitsGraph()
    axis = graph.b.input("axis", np.array(0), [])
    graph.b.output(graph.b.node("CumSum", [graph.layer().steps, axis]), "summed")
    assert SUMS_BY_DATA in graph.reasons(graph.x)[0]


def test_every_operator_of_the_rules_is_tested_here() -> None:
    tested = {*KEEPS_ZERO, *LOSES_ZERO, *WEIGHTS, *POOLS, "LayerNormalization"}
    tested |= {"RMSNormalization", "LpNormalization", "BatchNormalization"}
    assert operators_of(reducing) == {*tested, "InstanceNormalization", "CumSum"}

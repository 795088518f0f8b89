"""Conv behind layers of which units are removed, against sums written out place by place."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.onnx.trace.rules import convolution
from isslim.compress.onnx.trace.rules.convolution import (
    GROUPS_OF_UNITS,
    KERNEL_NOT_CONSTANT,
    SLIDES_OVER_UNITS,
)
from isslim.compress.onnx.trace.rules.obstacles import BIAS_NOT_CONSTANT
from isslim.compress.pruning.axes import Segment
from tests.compress.onnx.trace.rules.recurrences import Values
from tests.compress.onnx.trace.rules.units import (
    BATCH,
    UNITS,
    WIDTH,
    LayerOf,
    UnitsGraph,
    assert_close,
    operators_of,
)


def channels(graph: UnitsGraph, layer: LayerOf) -> str:
    """The steps as (B, H, T)."""
    return graph.b.node("Transpose", [layer.steps], perm=[1, 2, 0])


def convolved(value: Values, kernel: Values, bias: Values, pad: int = 0, group: int = 1) -> Values:
    """Y[n, m, t] = b[m] + sum over c, k of W[m, c, k] X[n, c of m's group, t + k - pad]."""
    wide = np.pad(value, [(0, 0), (0, 0), (pad, pad)])
    count, window = kernel.shape[0], kernel.shape[2]
    made = np.zeros((len(value), count, wide.shape[2] - window + 1))
    for m in range(count):
        first = m // (count // group) * kernel.shape[1]
        own = wide[:, first : first + kernel.shape[1]]
        for t in range(made.shape[2]):
            made[:, m, t] = (own[:, :, t : t + window] * kernel[m]).sum((1, 2)) + bias[m]
    return made


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_kernel_reads_units(window: int, bias: bool) -> None:
    graph = UnitsGraph()
    layer, kernel = graph.layer(), graph.b.weights(2, UNITS, window)
    added = [graph.floats(2)] if bias else []
    value = graph.b.node("Conv", [channels(graph, layer), kernel, *added], kernel_shape=[window])
    cut = graph.cut(value)
    numbers = cut.constant(added[0]) if bias else np.zeros(2)
    steps = cut.steps(layer).transpose(1, 2, 0)
    assert_close(cut.y, convolved(steps, cut.constant(kernel), numbers))


@pytest.mark.parametrize("window", [1, 3])
def test_kernel_is_a_matrix_for_each_place_of_its_window_with_one_bias(window: int) -> None:
    graph = UnitsGraph()
    layer, kernel, bias = graph.layer(), graph.b.weights(2, UNITS, window), graph.floats(2)
    value = graph.b.node("Conv", [channels(graph, layer), kernel, bias], kernel_shape=[window])
    network = graph.cut(value).network
    assert {site.name: site.bias for site in network.declaration().sites}[kernel] == bias
    (rows, columns) = network.declaration().dimensions[kernel]
    assert rows == (Segment(None, 2),) * window
    assert columns == (Segment(f"units:{layer.node.name}.forward", UNITS),)
    places = np.split(network.arrays()[kernel], window)
    for place, matrix in enumerate(places):
        np.testing.assert_array_equal(matrix, graph.b.constants[kernel][..., place])


def test_outputs_of_a_kernel_meet_units() -> None:
    graph = UnitsGraph()
    layer, kernel, bias = graph.layer(), graph.b.weights(UNITS, WIDTH, 3), graph.floats(UNITS)
    skip = graph.b.node("Transpose", [graph.x], perm=[1, 2, 0])
    made = graph.b.node("Conv", [skip, kernel, bias], kernel_shape=[3], pads=[1, 1])
    met = graph.b.node("Add", [channels(graph, layer), made])
    cut = graph.cut(graph.b.total(met, 1))
    mask = cut.mask(layer)
    held = cut.constant(kernel) * mask[:, None, None]
    through = convolved(
        graph.b.feeds["x"].transpose(1, 2, 0), held, cut.constant(bias) * mask, pad=1
    )
    assert_close(cut.y, (cut.steps(layer).transpose(1, 2, 0) + through).sum(1))


@pytest.mark.parametrize("bias", [True, False])
def test_kernel_of_each_unit_by_itself_goes_with_it(bias: bool) -> None:
    graph = UnitsGraph()
    layer, kernel = graph.layer(), graph.b.weights(UNITS, 1, 3)
    added = [graph.floats(UNITS)] if bias else []
    form = {"kernel_shape": [3], "pads": [1, 1], "group": UNITS}
    value = graph.b.node("Conv", [channels(graph, layer), kernel, *added], **form)
    cut = graph.cut(graph.b.total(value, 1))
    numbers = (cut.constant(added[0]) if bias else np.zeros(UNITS)) * cut.mask(layer)
    steps = cut.steps(layer).transpose(1, 2, 0)
    made = convolved(steps, cut.constant(kernel), numbers, pad=1, group=UNITS)
    assert_close(cut.y, made.sum(1))


def test_groups_of_what_has_no_units_are_followed_as_they_are() -> None:
    graph = UnitsGraph()
    kernel = graph.b.weights(WIDTH, 2, 1)
    turned = graph.b.node("Transpose", [graph.x], perm=[1, 2, 0])
    made = graph.b.node("Conv", [turned, kernel], kernel_shape=[1], group=2)
    layer = graph.layer(graph.b.node("Transpose", [made], perm=[2, 0, 1]))
    output, matrix = graph.matmul(layer.steps)
    cut = graph.cut(output)
    x = graph.b.feeds["x"].transpose(1, 2, 0)
    below = convolved(x, cut.constant(kernel), np.zeros(WIDTH), group=2).transpose(2, 0, 1)
    assert_close(cut.y, cut.steps(layer, below) @ cut.constant(matrix))


@pytest.mark.parametrize("shape", [(UNITS, 2, 1), (2 * UNITS, 1, 1)])
def test_groups_of_several_units_are_refused(shape: tuple[int, ...]) -> None:
    graph = UnitsGraph()
    kernel = graph.b.weights(*shape)
    group = 3 if shape[1] == 2 else UNITS
    value = graph.b.node("Conv", [channels(graph, graph.layer()), kernel], group=group)
    graph.b.output(value, "seen")
    assert GROUPS_OF_UNITS in graph.reasons(graph.x)[0]


def test_window_that_slides_over_units_is_refused() -> None:
    graph = UnitsGraph()
    turned = graph.b.node("Transpose", [graph.layer().steps], perm=[0, 1, 2])
    graph.b.output(graph.b.node("Conv", [turned, graph.b.weights(2, BATCH, 3)]), "seen")
    assert SLIDES_OVER_UNITS in graph.reasons(graph.x)[0]


def test_kernel_of_the_caller_is_refused() -> None:
    graph = UnitsGraph()
    kernel = graph.b.floats("kernel", (2, UNITS, 1), [2, UNITS, 1])
    value = graph.b.node("Conv", [channels(graph, graph.layer()), kernel], kernel_shape=[1])
    graph.b.output(value, "seen")
    assert KERNEL_NOT_CONSTANT in graph.reasons(graph.x)[0]


@pytest.mark.parametrize("group", [1, UNITS])
def test_bias_of_the_caller_is_refused(group: int) -> None:
    graph = UnitsGraph()
    bias = graph.b.floats("bias", (UNITS,), [UNITS])
    kernel = graph.b.weights(UNITS, UNITS // group, 1)
    inputs = [channels(graph, graph.layer()), kernel, bias]
    graph.b.output(graph.b.node("Conv", inputs, group=group), "seen")
    assert BIAS_NOT_CONSTANT in graph.reasons(graph.x)[0]


def test_every_operator_of_the_rules_is_tested_here() -> None:
    assert operators_of(convolution) == {"Conv"}

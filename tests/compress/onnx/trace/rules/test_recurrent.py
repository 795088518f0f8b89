"""LSTM, GRU and RNN of which units are removed, against their equations step by step."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.trace.alignment import PARTS_DIFFER
from isslim.compress.onnx.trace.context import OTHER_SIZE
from isslim.compress.onnx.trace.rules import recurrent
from isslim.compress.onnx.trace.rules.recurrent import (
    INPUT_RANK,
    STATE_LIES_OTHERWISE,
    WEIGHTS_DO_NOT_FIT,
    WEIGHTS_NOT_CONSTANT,
)
from tests.compress.onnx.proving import cut as cut_network
from tests.compress.onnx.proving import run, some
from tests.compress.onnx.trace.rules.units import (
    BATCH,
    STEPS,
    UNITS,
    WIDTH,
    Cut,
    UnitsGraph,
    assert_close,
    operators_of,
)

KINDS = ["LSTM", "GRU", "RNN"]
DIRECTIONS = ["forward", "reverse", "bidirectional"]


def apart(graph: UnitsGraph, value: str, count: int, axis: int) -> list[str]:
    """What lies at each index of a dimension, that dimension left out."""
    parts = graph.b.split(value, [1] * count, axis) if count > 1 else [value]
    return [graph.b.squeeze(part, axis) for part in parts]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", [*KINDS, "GRU, reset behind"])
def test_every_output_of_a_layer(kind: str, direction: str) -> None:
    graph = UnitsGraph()
    more = {"linear_before_reset": 1} if "behind" in kind else {}
    kind = kind[:4].strip(",")
    layer = graph.layer(kind=kind, direction=direction, **more)
    count = len(layer.directions)
    steps = apart(graph, layer.y, count, 1)
    states = apart(graph, layer.h, count, 0)
    cells = apart(graph, layer.c, count, 0) if layer.c else []
    reads = [graph.matmul(each) for each in (*steps, *states, *cells)]
    cut = graph.cut(graph.b.node("Sum", [made for made, _ in reads]))
    assert len(cut.keep) == count
    y, h, c = cut.run(layer)
    values = [*y.transpose(1, 0, 2, 3), *h, *(c if layer.c else [])]
    products = [
        np.broadcast_to(value @ cut.constant(matrix), cut.y.shape)
        for value, (_, matrix) in zip(values, reads, strict=True)
    ]
    assert_close(cut.y, np.sum(products, 0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
def test_units_of_one_layer_are_read_by_the_next(kind: str, bias: bool) -> None:
    graph = UnitsGraph()
    below = graph.layer(kind=kind, bias=bias)
    above = graph.layer(below.steps, UNITS, kind=kind, units=4, bias=bias)
    output, matrix = graph.matmul(above.steps, 4)
    cut = graph.cut(output)
    assert len(cut.keep) == 2
    assert_close(cut.y, cut.steps(above, cut.steps(below)) @ cut.constant(matrix))


def test_units_that_are_no_zero_are_read_by_the_next_layer_only_where_they_are_left() -> None:
    graph = UnitsGraph()
    below = graph.layer()
    above = graph.layer(graph.b.node("Exp", [below.steps]), UNITS)
    output, matrix = graph.matmul(above.steps)
    cut = graph.cut(output)
    held = np.exp(cut.steps(below)) * cut.mask(below)
    assert_close(cut.y, cut.steps(above, held) @ cut.constant(matrix))


def test_peepholes_go_with_their_units() -> None:
    graph = UnitsGraph()
    layer = graph.layer(peephole=True)
    output, matrix = graph.matmul(layer.steps)
    cut = graph.cut(output)
    assert_close(cut.y, cut.steps(layer) @ cut.constant(matrix))


def states(graph: UnitsGraph, form: str, count: int) -> list[str]:
    """Two initial states (D, B, H)."""
    shape = (count, BATCH, UNITS)
    if form == "constant":
        return [graph.floats(*shape) for _ in range(2)]
    return [graph.b.floats(f"state{i}", shape, list(shape)) for i in range(2)]


@pytest.mark.parametrize("form", ["constant", "input"])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("kind", KINDS)
def test_initial_state_is_read_where_units_are_left(kind: str, direction: str, form: str) -> None:
    graph = UnitsGraph()
    count = 2 if direction == "bidirectional" else 1
    initial = states(graph, form, count)
    layer = graph.layer(
        kind=kind, direction=direction, initial=initial[: 2 if kind == "LSTM" else 1]
    )
    reads = [graph.matmul(each) for each in apart(graph, layer.y, count, 1)]
    cut = graph.cut(graph.b.node("Sum", [made for made, _ in reads]))
    assert len(cut.keep) == count
    values = graph.b.feeds if form == "input" else graph.b.constants
    y = cut.run(layer, states=(values[initial[0]], values[initial[1]]))[0]
    products = [y[:, i] @ cut.constant(matrix) for i, (_, matrix) in enumerate(reads)]
    assert_close(cut.y, np.sum(products, 0))


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_state_of_another_layer_is_of_the_same_units(direction: str) -> None:
    graph = UnitsGraph()
    encoder = graph.layer(direction=direction)
    decoder = graph.layer(direction=direction, initial=[encoder.h, encoder.c])
    count = len(encoder.directions)
    reads = [graph.matmul(each) for each in apart(graph, decoder.y, count, 1)]
    cut = graph.cut(graph.b.node("Sum", [made for made, _ in reads]))
    assert len(cut.keep) == count
    y = cut.run(decoder, states=cut.run(encoder)[1:])[0]
    products = [y[:, i] @ cut.constant(matrix) for i, (_, matrix) in enumerate(reads)]
    assert_close(cut.y, np.sum(products, 0))


def test_one_state_for_both_directions_makes_their_units_one_axis() -> None:
    graph = UnitsGraph()
    encoder = graph.layer(kind="GRU")
    both = graph.b.node("Expand", [encoder.h, graph.b.constant([2, 1, 1])])
    decoder = graph.layer(kind="GRU", direction="bidirectional", initial=[both])
    output, matrix = graph.matmul(decoder.y)
    cut = graph.cut(output)
    assert len(cut.keep) == 1
    h = np.tile(cut.run(encoder)[1], [2, 1, 1])
    assert_close(cut.y, cut.run(decoder, states=(h, h))[0] @ cut.constant(matrix))


def test_layer_without_a_matrix_of_its_own_behind_another_shares_a_reader() -> None:
    graph = UnitsGraph()
    one, other = graph.layer(kind="GRU"), graph.layer(kind="RNN")
    met = graph.b.node("Add", [one.steps, other.steps])
    above = graph.layer(met, UNITS)
    output, matrix = graph.matmul(above.steps)
    cut = graph.cut(output)
    assert len(cut.keep) == 2
    below = cut.steps(one) + cut.steps(other)
    assert_close(cut.y, cut.steps(above, below) @ cut.constant(matrix))


def test_single_unit_stays() -> None:
    graph = UnitsGraph()
    narrow, layer = graph.layer(units=1), graph.layer()
    reads = [graph.matmul(narrow.steps, 1), graph.matmul(layer.steps)]
    report = graph_report(graph, graph.b.node("Add", [made for made, _ in reads]))
    assert [reasons for _, reasons in report] == [("it has a single unit",), ()]


def graph_report(graph: UnitsGraph, output: str) -> list[tuple[str, tuple[str, ...]]]:
    report = GraphNetwork.from_model(graph.model(output)).report()
    return [(axis.name, axis.reasons) for axis in report]


@pytest.mark.parametrize(
    ("kind", "activations"),
    [
        ("LSTM", ["Sigmoid", "Sigmoid", "Tanh"]),
        ("LSTM", ["Sigmoid", "Tanh", "Sigmoid"]),
        ("GRU", ["Sigmoid", "HardSigmoid"]),
        ("RNN", ["Softplus"]),
    ],
)
def test_activation_that_loses_zero_leaves_units_alone(kind: str, activations: list[str]) -> None:
    graph = UnitsGraph()
    output, _ = graph.matmul(graph.layer(kind=kind, activations=activations).steps)
    assert "gives more than zero at zero" in graph.reasons(output)[0]


def test_weights_of_the_caller_leave_units_alone() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    weight = graph.b.floats("W", (1, 4 * UNITS, WIDTH), [1, 4 * UNITS, WIDTH])
    layer.node.input[1] = weight
    output, _ = graph.matmul(layer.steps)
    assert WEIGHTS_NOT_CONSTANT in graph.reasons(output)[0]


@pytest.mark.parametrize(("index", "shape"), [(1, (1, 20, WIDTH)), (2, (1, 24, 5)), (3, (1, 47))])
def test_weights_of_other_shapes_leave_units_alone(index: int, shape: tuple[int, ...]) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    layer.node.input[index] = graph.b.weights(*shape)
    output, _ = graph.matmul(layer.steps)
    assert WEIGHTS_DO_NOT_FIT in graph.reasons(output)[0]


def test_input_of_other_dimensions_leaves_units_alone() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    layer.node.input[0] = graph.b.floats("flat", (STEPS, WIDTH), [STEPS, WIDTH])
    output, _ = graph.matmul(layer.steps)
    assert INPUT_RANK in graph.reasons(output)[0]


def test_units_as_steps_of_the_next_layer_are_left_alone() -> None:
    graph = UnitsGraph()
    below = graph.layer()
    turned = graph.b.node("Transpose", [below.steps], perm=[2, 1, 0])  # (H, B, T)
    above = graph.layer(turned, STEPS, units=4)
    output, _ = graph.matmul(above.steps, 4)
    (_, reasons), (_, free) = graph_report(graph, output)
    assert "the dimension of steps or sequences" in reasons[0]
    assert free == ()


def test_state_with_units_elsewhere_is_refused() -> None:
    graph = UnitsGraph()
    encoder = graph.layer(units=BATCH)
    turned = graph.b.node("Transpose", [encoder.h], perm=[0, 2, 1])
    wide = graph.b.node("Tile", [turned, graph.b.constant([1, 1, 2])])  # (1, BATCH, UNITS)
    decoder = graph.layer(kind="GRU", initial=[wide])
    output, _ = graph.matmul(decoder.steps)
    assert any(STATE_LIES_OTHERWISE in reason for reason in graph.reasons(output))


def test_state_whose_parts_lie_differently_is_refused() -> None:
    graph = UnitsGraph()
    one, two = graph.layer(units=2), graph.layer(units=4)
    both = graph.b.node("Concat", [one.h, two.h], axis=2)
    decoder = graph.layer(kind="GRU", initial=[both])
    output, _ = graph.matmul(decoder.steps)
    assert all(PARTS_DIFFER in reason for reason in graph.reasons(output))


def test_state_of_unknown_size_is_refused() -> None:
    graph = UnitsGraph()
    state = graph.b.floats("state", (1, BATCH, UNITS), [1, BATCH, "N"])
    output, _ = graph.matmul(graph.layer(kind="GRU", initial=[state]).steps)
    assert OTHER_SIZE in graph.reasons(output)[0]


def test_layer_whose_batch_comes_first_is_read_as_one_whose_steps_do() -> None:
    graph = UnitsGraph()
    turned = graph.b.node("Transpose", [graph.x], perm=[1, 0, 2])
    layer = graph.layer(turned)
    layer.node.attribute.append(helper.make_attribute("layout", 1))
    squeeze = graph.b.nodes[-1]
    squeeze.input[1] = graph.b.constant([2])  # (B, T, D, H)
    output, matrix = graph.matmul(layer.steps)
    # ONNX Runtime does not run layout=1, so only the cut graph is run, in which there is none.
    network = GraphNetwork.from_model(graph.model(output))
    keep = some(network, 0)
    written = cut_network(network, keep).model()
    cut = Cut(graph, network, keep, run(written, graph.b.feeds)["y"], written)
    expected = cut.steps(layer) @ cut.constant(matrix)
    assert_close(cut.y, expected.transpose(1, 0, 2))


def test_every_operator_of_the_rules_is_tested_here() -> None:
    assert operators_of(recurrent) == {*KINDS}

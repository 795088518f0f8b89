"""MatMul and Gemm behind layers of which units are removed."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.trace.alignment import PARTS_DIFFER
from isslim.compress.onnx.trace.context import OTHER_SIZE
from isslim.compress.onnx.trace.rules import products
from isslim.compress.onnx.trace.rules.obstacles import STACK_OF_MATRICES, SUMS_NONZERO
from isslim.compress.onnx.trace.rules.products import ADDED_NOT_CONSTANT, MATRIX_NOT_CONSTANT
from tests.compress.onnx.proving import run
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


def test_matrix_reads_units() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    output, matrix = graph.matmul(layer.steps)
    cut = graph.cut(output)
    assert_close(cut.y, cut.steps(layer) @ cut.constant(matrix))


def test_vector_of_units_times_a_matrix() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    row = graph.b.node("Gather", [graph.b.squeeze(layer.h, 0), graph.b.constant(1)], axis=0)
    output, matrix = graph.matmul(row)
    cut = graph.cut(output)
    assert_close(cut.y, cut.run(layer)[1][0, 1] @ cut.constant(matrix))


def test_matrix_times_units() -> None:
    graph = UnitsGraph()
    layer, matrix = graph.layer(), graph.b.weights(2, UNITS)
    turned = graph.b.node("Transpose", [layer.steps], perm=[0, 2, 1])
    cut = graph.cut(graph.b.node("MatMul", [matrix, turned]))
    assert_close(cut.y, cut.constant(matrix) @ cut.steps(layer).transpose(0, 2, 1))


def test_matrix_times_a_vector_of_units() -> None:
    graph = UnitsGraph()
    layer, matrix = graph.layer(), graph.b.weights(2, UNITS)
    row = graph.b.node("Gather", [graph.b.squeeze(layer.h, 0), graph.b.constant(1)], axis=0)
    cut = graph.cut(graph.b.node("MatMul", [matrix, row]))
    assert_close(cut.y, cut.constant(matrix) @ cut.run(layer)[1][0, 1])


def test_outputs_of_a_matrix_on_the_left_meet_units() -> None:
    graph = UnitsGraph()
    layer, matrix = graph.layer(), graph.b.weights(UNITS, WIDTH)
    turned = graph.b.node("Transpose", [graph.x], perm=[0, 2, 1])
    skip = graph.b.node("MatMul", [matrix, turned])
    units = graph.b.node("Transpose", [layer.steps], perm=[0, 2, 1])
    cut = graph.cut(graph.b.total(graph.b.node("Add", [units, skip]), 1))
    held = cut.constant(matrix) * cut.mask(layer)[:, None]
    through = held @ graph.b.feeds["x"].transpose(0, 2, 1)
    assert_close(cut.y, (cut.steps(layer).transpose(0, 2, 1) + through).sum(1))


def test_matrix_reads_directions_as_one_axis() -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    output, matrix = graph.matmul(layer.y)
    cut = graph.cut(output)
    assert len(cut.keep) == 1
    assert_close(cut.y, cut.run(layer)[0] @ cut.constant(matrix))


def test_matrix_over_steps_leaves_directions_their_units() -> None:
    graph = UnitsGraph()
    layer, matrix = graph.layer(direction="bidirectional"), graph.b.weights(STEPS, 2)
    turned = graph.b.node("Transpose", [layer.y], perm=[1, 3, 2, 0])  # (D, H, B, T)
    mixed = graph.b.node("MatMul", [turned, matrix])
    sums = [graph.b.total(each, 1) for each in graph.b.split(mixed, [1, 1], 0)]
    cut = graph.cut(graph.b.node("Sub", sums))
    assert len(cut.keep) == 2
    y = cut.run(layer)[0].transpose(1, 3, 2, 0) @ cut.constant(matrix)
    assert_close(cut.y, (y[:1] - y[1:]).sum(1))


def test_stack_of_matrices_over_the_steps_reads_units() -> None:
    graph = UnitsGraph()
    layer, stack = graph.layer(), graph.b.weights(STEPS, UNITS, 2)
    cut = graph.cut(graph.b.node("MatMul", [layer.steps, stack]))
    assert_close(cut.y, np.einsum("tbh,tho->tbo", cut.steps(layer), cut.constant(stack)))


def test_stack_of_matrices_reads_directions_as_one_axis() -> None:
    graph = UnitsGraph()
    layer, stack = graph.layer(direction="bidirectional"), graph.b.weights(2, UNITS, 2)
    cut = graph.cut(graph.b.node("MatMul", [layer.y, stack]))
    assert len(cut.keep) == 1
    assert_close(cut.y, np.einsum("tdbh,dho->tdbo", cut.run(layer)[0], cut.constant(stack)))


def test_matrix_for_each_unit_is_refused() -> None:
    graph = UnitsGraph()
    turned = graph.b.node("Transpose", [graph.layer().steps], perm=[2, 0, 1])  # (H, T, B)
    output = graph.b.node("MatMul", [turned, graph.b.weights(UNITS, BATCH, 2)])
    assert STACK_OF_MATRICES in graph.reasons(output)[0]


def test_stack_on_the_left_is_refused() -> None:
    graph = UnitsGraph()
    turned = graph.b.node("Transpose", [graph.layer().steps], perm=[0, 2, 1])
    output = graph.b.node("MatMul", [graph.b.weights(STEPS, 2, UNITS), turned])
    assert STACK_OF_MATRICES in graph.reasons(output)[0]


def test_units_contracted_with_units_of_another_layer_are_one_axis() -> None:
    graph = UnitsGraph()
    one, other = graph.layer(), graph.layer()
    rows = graph.b.node("Transpose", [one.steps], perm=[1, 0, 2])
    columns = graph.b.node("Transpose", [other.steps], perm=[1, 2, 0])
    cut = graph.cut(graph.b.node("MatMul", [rows, columns]))
    assert len(cut.keep) == 1
    assert_close(cut.y, np.einsum("tbh,sbh->bts", cut.steps(one), cut.steps(other)))


@pytest.mark.parametrize("loud", [0, 1])
def test_one_side_that_is_zero_makes_the_term_zero(loud: int) -> None:
    graph = UnitsGraph()
    one, other = graph.layer(), graph.layer()
    sides = [one.steps, other.steps]
    sides[loud] = graph.b.node("Exp", [sides[loud]])
    rows = graph.b.node("Transpose", [sides[0]], perm=[1, 0, 2])
    columns = graph.b.node("Transpose", [sides[1]], perm=[1, 2, 0])
    cut = graph.cut(graph.b.node("MatMul", [rows, columns]))
    values = [cut.steps(one), cut.steps(other)]
    values[loud] = np.exp(values[loud])
    assert_close(cut.y, np.einsum("tbh,sbh->bts", *values))


def test_sides_neither_of_which_is_zero_are_refused() -> None:
    graph = UnitsGraph()
    loud = graph.b.node("Exp", [graph.layer().steps])
    rows = graph.b.node("Transpose", [loud], perm=[1, 0, 2])
    columns = graph.b.node("Transpose", [loud], perm=[1, 2, 0])
    assert SUMS_NONZERO in graph.reasons(graph.b.node("MatMul", [rows, columns]))[0]


def test_units_contracted_with_a_vector_that_shrinks() -> None:
    graph = UnitsGraph()
    layer, vector = graph.layer(), graph.floats(UNITS)
    cut = graph.cut(graph.b.node("MatMul", [layer.steps, vector]))
    assert_close(cut.y, cut.steps(layer) @ cut.constant(vector))


def test_units_contracted_with_an_input_of_the_caller() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    query = graph.b.floats("query", (UNITS, 2), [UNITS, 2])
    cut = graph.cut(graph.b.node("MatMul", [layer.steps, query]))
    assert_close(cut.y, cut.steps(layer) @ graph.b.feeds["query"])


def test_input_of_the_caller_on_the_left_contracted_with_units() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    query = graph.b.floats("query", (2, UNITS), [2, UNITS])
    turned = graph.b.node("Transpose", [layer.steps], perm=[0, 2, 1])
    cut = graph.cut(graph.b.node("MatMul", [query, turned]))
    assert_close(cut.y, graph.b.feeds["query"] @ cut.steps(layer).transpose(0, 2, 1))


def test_caller_of_unknown_size_is_refused() -> None:
    graph = UnitsGraph()
    query = graph.b.floats("query", (UNITS, 2), ["N", 2])
    assert OTHER_SIZE in graph.reasons(graph.b.node("MatMul", [graph.layer().steps, query]))[0]


def test_contracted_units_that_lie_differently_are_refused() -> None:
    graph = UnitsGraph()
    one, two, wide = graph.layer(units=4), graph.layer(units=6), graph.layer(units=10)
    both = graph.b.node("Concat", [one.steps, two.steps], axis=2)
    turned = graph.b.node("Transpose", [wide.steps], perm=[0, 2, 1])
    output = graph.b.node("MatMul", [both, turned])
    assert all(PARTS_DIFFER in reason for reason in graph.reasons(output))


@pytest.mark.parametrize("left", [True, False])
def test_units_as_rows_and_columns_of_a_product_stay_zero(left: bool) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    weights = graph.b.floats("weights", (STEPS, BATCH, BATCH), [STEPS, BATCH, BATCH])
    if left:
        turned = graph.b.node("Transpose", [layer.steps], perm=[0, 2, 1])  # (T, H, B)
        cut = graph.cut(graph.b.total(graph.b.node("MatMul", [turned, weights]), 1))
        expected = cut.steps(layer).transpose(0, 2, 1) @ graph.b.feeds["weights"]
        assert_close(cut.y, expected.sum(1))
    else:
        cut = graph.cut(graph.b.total(graph.b.node("MatMul", [weights, layer.steps]), 2))
        assert_close(cut.y, (graph.b.feeds["weights"] @ cut.steps(layer)).sum(2))


def test_units_in_front_of_two_products_are_one_axis() -> None:
    graph = UnitsGraph()
    one, other = graph.layer(), graph.layer()
    rows = graph.b.node("Transpose", [one.steps], perm=[2, 0, 1])  # (H, T, B)
    columns = graph.b.node("Transpose", [other.steps], perm=[2, 1, 0])  # (H, B, T)
    cut = graph.cut(graph.b.total(graph.b.node("MatMul", [rows, columns]), 0))
    assert len(cut.keep) == 1
    expected = np.einsum("tbh,sbh->hts", cut.steps(one), cut.steps(other)).sum(0)
    assert_close(cut.y, expected)


def test_units_in_front_of_a_product_with_one_matrix_for_all() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    rows = graph.b.node("Transpose", [layer.steps], perm=[2, 0, 1])  # (H, T, B)
    weights = graph.b.floats("weights", (1, BATCH, 2), [1, BATCH, 2])
    cut = graph.cut(graph.b.total(graph.b.node("MatMul", [rows, weights]), 0))
    expected = cut.steps(layer).transpose(2, 0, 1) @ graph.b.feeds["weights"]
    assert_close(cut.y, expected.sum(0))


def test_units_in_front_of_a_product_with_a_matrix_for_each_are_refused() -> None:
    graph = UnitsGraph()
    rows = graph.b.node("Transpose", [graph.layer().steps], perm=[2, 0, 1])
    weights = graph.b.floats("weights", (UNITS, BATCH, 2), [UNITS, BATCH, 2])
    assert STACK_OF_MATRICES in graph.reasons(graph.b.node("MatMul", [rows, weights]))[0]


def test_product_without_units_is_followed_as_it_is() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    turned = graph.b.node("Transpose", [graph.x], perm=[0, 2, 1])
    squares = graph.b.node("MatMul", [graph.x, turned])
    mean = graph.b.node("ReduceMean", [squares], keepdims=0)
    output, matrix = graph.matmul(layer.steps)
    cut = graph.cut(graph.b.node("Mul", [output, mean]))
    x = graph.b.feeds["x"]
    scale = (x @ x.transpose(0, 2, 1)).mean()
    assert_close(cut.y, cut.steps(layer) @ cut.constant(matrix) * scale)


@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("flipped", [0, 1])
@pytest.mark.parametrize("bias", ["none", "each", "row", "one", "rows"])
def test_gemm_reads_units(turned: int, flipped: int, bias: str) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    rows = graph.b.squeeze(layer.h, 0)  # (B, H)
    if turned:
        rows = graph.b.node("Transpose", [rows], perm=[1, 0])
    matrix = graph.b.weights(*((2, UNITS) if flipped else (UNITS, 2)))
    shapes = {"each": (2,), "row": (1, 2), "one": (1,), "rows": (BATCH, 2)}
    added = [graph.floats(*shapes[bias])] if bias in shapes else []
    attributes = {"alpha": 0.5, "beta": 2.0, "transA": turned, "transB": flipped}
    cut = graph.cut(graph.b.node("Gemm", [rows, matrix, *added], **attributes))
    product = cut.constant(matrix).T if flipped else cut.constant(matrix)
    expected = 0.5 * cut.run(layer)[1][0] @ product
    assert_close(cut.y, expected + (2 * cut.constant(added[0]) if added else 0))


@pytest.mark.parametrize("bias", ["each", "one"])
def test_outputs_of_a_gemm_meet_units(bias: str) -> None:
    graph = UnitsGraph()
    layer, matrix = graph.layer(), graph.b.weights(WIDTH, UNITS)
    row = graph.b.node("Gather", [graph.x, graph.b.constant(0)], axis=0)  # (B, I)
    added = graph.floats(UNITS if bias == "each" else 1, low=0.5)
    skip = graph.b.node("Gemm", [row, matrix, added])
    met = graph.b.node("Add", [skip, graph.b.squeeze(layer.h, 0)])
    output, reader = graph.matmul(met)
    cut = graph.cut(output)
    expected = graph.b.feeds["x"][0] @ cut.constant(matrix) + cut.constant(added)
    expected = expected + cut.run(layer)[1][0]
    assert_close(cut.y, expected @ cut.rows(reader, cut.mask(layer)))


def test_outputs_of_a_gemm_with_a_bias_for_each_are_zero_at_removed_units() -> None:
    graph = UnitsGraph()
    layer, matrix, added = graph.layer(), graph.b.weights(WIDTH, UNITS), graph.floats(UNITS)
    row = graph.b.node("Gather", [graph.x, graph.b.constant(0)], axis=0)
    skip = graph.b.node("Gemm", [row, matrix, added])
    met = graph.b.node("Add", [skip, graph.b.squeeze(layer.h, 0)])
    cut = graph.cut(graph.b.total(met, 1))
    through = graph.b.feeds["x"][0] @ cut.constant(matrix) + cut.constant(added)
    assert_close(cut.y, (through * cut.mask(layer) + cut.run(layer)[1][0]).sum(1))


def test_outputs_of_a_gemm_with_one_number_for_all_are_no_zero() -> None:
    graph = UnitsGraph()
    row = graph.b.node("Gather", [graph.x, graph.b.constant(0)], axis=0)
    one = graph.b.constant([0.5], np.float32)
    skip = graph.b.node("Gemm", [row, graph.b.weights(WIDTH, UNITS), one])
    met = graph.b.node("Add", [skip, graph.b.squeeze(graph.layer().h, 0)])
    assert SUMS_NONZERO in graph.reasons(graph.b.total(met, 1))[0]


def test_gemm_by_a_matrix_of_the_caller_is_refused() -> None:
    graph = UnitsGraph()
    matrix = graph.b.floats("matrix", (UNITS, 2), [UNITS, 2])
    output = graph.b.node("Gemm", [graph.b.squeeze(graph.layer().h, 0), matrix])
    assert MATRIX_NOT_CONSTANT in graph.reasons(output)[0]


def test_gemm_that_adds_what_the_caller_gives_is_refused() -> None:
    graph = UnitsGraph()
    added = graph.b.floats("added", (2,), [2])
    rows = graph.b.squeeze(graph.layer().h, 0)
    output = graph.b.node("Gemm", [rows, graph.b.weights(UNITS, 2), added])
    assert ADDED_NOT_CONSTANT in graph.reasons(output)[0]


@pytest.mark.parametrize("shared", [True, False])
def test_bias_behind_a_matrix_is_its_own_unless_another_node_reads_it(shared: bool) -> None:
    graph = UnitsGraph()
    layer, bias = graph.layer(), graph.floats(2)
    output, matrix = graph.matmul(layer.steps)
    made = graph.b.node("Add", [output, bias])
    if shared:
        made = graph.b.node("Mul", [made, bias])
    cut = graph.cut(made)
    (site,) = [each for each in cut.network.declaration().sites if each.name == matrix]
    assert site.bias == (None if shared else bias)
    expected = cut.steps(layer) @ cut.constant(matrix) + cut.constant(bias)
    assert_close(cut.y, expected * cut.constant(bias) if shared else expected)


def test_bias_of_a_gemm_is_what_beta_and_alpha_make_of_it() -> None:
    graph = UnitsGraph()
    rows, matrix = graph.b.squeeze(graph.layer().h, 0), graph.b.weights(UNITS, 2)
    bias = graph.floats(2)
    cut = graph.cut(graph.b.node("Gemm", [rows, matrix, bias], alpha=0.5, beta=2.0))
    assert cut.network.meaning.biases == {bias: 4.0}


def test_bias_of_a_gemm_that_another_node_reads_too_is_not_its_own() -> None:
    graph = UnitsGraph()
    layer, matrix, bias = graph.layer(), graph.b.weights(UNITS, 2), graph.floats(2)
    made = graph.b.node("Gemm", [graph.b.squeeze(layer.h, 0), matrix, bias])
    cut = graph.cut(graph.b.node("Mul", [made, bias]))
    assert cut.network.meaning.biases == {}
    expected = cut.run(layer)[1][0] @ cut.constant(matrix) + cut.constant(bias)
    assert_close(cut.y, expected * cut.constant(bias))


def test_state_of_the_caller_is_read_by_a_contraction() -> None:
    graph = UnitsGraph()
    state = graph.b.floats("before", (1, BATCH, UNITS), [1, BATCH, UNITS])
    layer = graph.layer(kind="GRU", initial=[state])
    graph.b.output(layer.h, "after", [1, BATCH, UNITS])
    turned = graph.b.node("Transpose", [layer.steps], perm=[0, 2, 1])
    cut = graph.cut(graph.b.node("MatMul", [layer.steps, turned]))
    states = (graph.b.feeds["before"], graph.b.feeds["before"])
    steps = cut.run(layer, states=states)[0][:, 0]
    assert_close(cut.y, np.einsum("tbh,tch->tbc", steps, steps))


def behind(graph: UnitsGraph, form: str, state: str, matrix: str) -> str:
    """A matrix behind a state (B, H), in one of the ways that read it."""
    turned = graph.b.node("Transpose", [state], perm=[1, 0])
    if form == "matmul":
        return graph.b.node("MatMul", [state, matrix])
    if form == "gemm":
        return graph.b.node("Gemm", [state, matrix])
    if form == "gemm, turned":
        return graph.b.node("Gemm", [turned, matrix], transA=1)
    return graph.b.node("MatMul", [matrix, turned])


@pytest.mark.parametrize("form", ["matmul", "gemm", "gemm, turned", "left"])
def test_what_a_matrix_reads_is_shown(form: str) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    matrix = graph.b.weights(*((2, UNITS) if form == "left" else (UNITS, 2)))
    value = behind(graph, form, graph.b.squeeze(layer.h, 0), matrix)
    network = GraphNetwork.from_model(graph.model(value))
    observer = network.observer()
    rows = observer.rows(run(observer.model, graph.b.feeds))
    whole = Cut(graph, network, {"units:lstm_0.forward": np.arange(UNITS)}, value, observer.model)
    assert_close(rows[matrix], whole.run(layer)[1][0])


def test_every_operator_of_the_rules_is_tested_here() -> None:
    assert operators_of(products) == {"MatMul", "Gemm"}

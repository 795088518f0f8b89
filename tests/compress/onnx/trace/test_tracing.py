"""The walk: what it does where rules cannot go on, and what is known when it is done."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from onnx import TensorProto, helper

from isslim.compress.onnx.inference import infer
from isslim.compress.onnx.model.split_model import split_constants
from isslim.compress.onnx.normalise.normal_form import normal_form
from isslim.compress.onnx.trace.context import UNKNOWN_RANK
from isslim.compress.onnx.trace.edits import Select
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.compress.onnx.trace.tracing import OTHER_OUTPUT
from isslim.compress.onnx.trace.types import Entry
from tests.compress.onnx.trace.rules.units import (
    BATCH,
    STEPS,
    UNITS,
    WIDTH,
    UnitsGraph,
    assert_close,
)


def facts_of(graph: UnitsGraph, output: str) -> AxisFacts:
    return infer(normal_form(split_constants(graph.model(output))))


def test_units_that_reach_an_unknown_operator_stay_and_the_path_leads_there() -> None:
    graph = UnitsGraph()
    value = graph.b.node("Tanh", [graph.layer().steps])
    output, _ = graph.matmul(graph.b.node("Det", [graph.b.node("Neg", [value])]))
    (reason,) = graph.reasons(output)
    assert "at Det 'det_4': the operator Det is not followed" in reason
    assert reason.endswith(
        "(LSTM 'lstm_0' -> Squeeze 'squeeze_1' -> Tanh 'tanh_2' -> Neg 'neg_3' -> Det 'det_4')"
    )


def test_operator_of_another_domain_is_not_taken_for_the_standard_one() -> None:
    graph = UnitsGraph()
    value = graph.b.node("Relu", [graph.layer().steps], domain="com.example")
    model = graph.model(value)
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    facts = infer(normal_form(split_constants(model)))
    (reason,) = facts.pool.reasons(0)
    assert "the operator Relu is not followed" in reason.text


def test_operator_that_draws_numbers_says_what_to_do() -> None:
    graph = UnitsGraph()
    value = graph.b.node("RandomNormalLike", [graph.layer().steps])
    output, _ = graph.matmul(value)
    assert "it draws new random numbers at every run" in graph.reasons(output)[0]


def test_layers_behind_an_obstacle_are_followed() -> None:
    graph = UnitsGraph()
    below = graph.layer()
    weighed = graph.b.node("Softmax", [below.steps], axis=2)
    above = graph.layer(weighed, UNITS, units=4)
    facts = facts_of(graph, graph.matmul(above.steps, 4)[0])
    assert [facts.pool.is_prunable(axis) for axis in range(2)] == [False, True]


def test_node_whose_attributes_contradict_its_inputs_is_an_obstacle() -> None:
    graph = UnitsGraph()
    value = graph.b.node("Transpose", [graph.layer().steps], perm=[0, 1, 7])
    facts = facts_of(graph, value)
    assert "at Transpose 'transpose_2'" in facts.pool.reasons(0)[0].text


def pooled(graph: UnitsGraph) -> str:
    """The largest of neighbouring steps, and as `places` where in the tensor they are."""
    channels = graph.b.node("Transpose", [graph.layer().steps], perm=[1, 2, 0])
    graph.b.node("MaxPool", [channels], ["largest", "places"], kernel_shape=[2])
    return graph.matmul(graph.b.node("Transpose", ["largest"], perm=[0, 2, 1]))[0]


def test_further_output_that_no_rule_follows_leaves_units_alone_if_it_is_read() -> None:
    graph = UnitsGraph()
    output = pooled(graph)
    assert facts_of(graph, output).pool.is_prunable(0)
    graph = UnitsGraph()
    output = pooled(graph)
    graph.b.output("places", "places_read", None, TensorProto.INT64)
    assert OTHER_OUTPUT in graph.reasons(output)[0]


def test_input_of_unknown_rank_is_refused() -> None:
    graph = UnitsGraph()
    other = graph.b.node("NonZero", [graph.x])
    shape = graph.b.node("Squeeze", [graph.b.node("Slice", [other, *bounds(graph)])])
    free = graph.b.node("Reshape", [graph.x, shape])
    output, _ = graph.matmul(graph.b.node("Concat", [graph.layer().steps, free], axis=2))
    assert UNKNOWN_RANK in graph.reasons(output)[0]


def bounds(graph: UnitsGraph) -> list[str]:
    return [graph.b.constant([0]), graph.b.constant([1]), graph.b.constant([1])]


def test_axis_of_a_matrix_gives_way_to_units_beside_it() -> None:
    graph = UnitsGraph(free=True)
    layer, matrix = graph.layer(), graph.b.weights(WIDTH, UNITS)
    # Softmax weighs the outputs of the matrix against one another: they stay, and so the units
    # may not meet them; those of the layer are read by a matrix.
    weights = graph.b.node("Softmax", [graph.b.node("MatMul", [graph.x, matrix])], axis=2)
    turned = graph.b.node("Transpose", [weights], perm=[0, 2, 1])  # (T, 6, B)
    mixed = graph.b.node("MatMul", [turned, layer.steps])  # (T, 6, H)
    output, reader = graph.matmul(mixed)
    cut = graph.cut(output)
    scores = graph.b.feeds["x"] @ cut.constant(matrix)
    shares = np.exp(scores) / np.exp(scores).sum(2, keepdims=True)
    value = shares.transpose(0, 2, 1) @ cut.steps(layer)
    assert_close(cut.y, value @ cut.constant(reader))


def test_what_a_rule_noted_before_it_gave_up_is_forgotten_when_it_begins_anew() -> None:
    graph = UnitsGraph()
    layer, matrix = graph.layer(), graph.b.weights(WIDTH, 5)
    made = graph.b.node("Exp", [graph.b.node("MatMul", [graph.x, matrix])])
    columns = graph.b.unsqueeze(made, 2)  # (T, B, 1, 5)
    table = graph.b.node("Mul", [graph.b.unsqueeze(layer.steps, 3), columns])  # (T, B, H, 5)
    shape = (STEPS, BATCH, UNITS, 5)
    other = graph.b.floats("other", shape, [STEPS, BATCH, UNITS, "N"])
    # At the units the other tensor is gated; behind them the outputs of the matrix meet a size that
    # is not known, and the rule begins anew without them.
    met = graph.b.node("Add", [table, other])
    output, reader = graph.matmul(graph.b.node("Transpose", [met], perm=[0, 1, 3, 2]))
    cut = graph.cut(output)
    gates = [edit for edit in cut.network.trace.edits if isinstance(edit, Select)]
    assert len(gates) == 1
    weights = np.exp(graph.b.feeds["x"] @ cut.constant(matrix))
    value = cut.steps(layer)[..., None] * weights[:, :, None] + graph.b.feeds["other"]
    expected = value.transpose(0, 1, 3, 2) @ cut.rows(reader, cut.mask(layer))
    assert_close(cut.y, expected)


def test_layer_behind_a_reshape_of_unknown_rank_is_followed_by_the_shape_that_is_asked_for() -> (
    None
):
    graph = UnitsGraph(free=True)
    below = graph.layer()
    batch = graph.number(graph.x, 1)
    target = graph.b.node("Concat", [graph.b.constant([-1]), batch, graph.b.constant([3])], axis=0)
    # Units over several steps are an obstacle, not to the layer that reads what they become.
    spread = graph.b.node("Reshape", [below.steps, target])
    above = graph.layer(spread, 3, units=4)
    facts = facts_of(graph, graph.matmul(above.steps, 4)[0])
    assert [facts.pool.is_prunable(axis) for axis in range(2)] == [False, True]


def test_constant_that_is_read_otherwise_too_keeps_its_size_and_so_do_the_units() -> None:
    graph = UnitsGraph()
    layer, shared = graph.layer(), graph.floats(UNITS)
    output, _ = graph.matmul(graph.b.node("Add", [layer.steps, shared]))
    graph.b.output(graph.b.node("Tile", [shared, graph.b.constant([2])]), "other")
    reasons = graph.reasons(output)
    assert f"the constant '{shared}' is also read in a way that does not shrink" in reasons[0]


def test_divisor_that_is_a_summand_too_keeps_its_size() -> None:
    graph = UnitsGraph()
    layer, shared = graph.layer(), graph.floats(UNITS, low=1, high=2)
    added = graph.b.node("Add", [layer.steps, shared])
    output, _ = graph.matmul(graph.b.node("Div", [added, shared]))
    assert "is also read in a way that does not shrink" in graph.reasons(output)[0]


def test_constant_that_two_layers_share_makes_their_units_one() -> None:
    graph = UnitsGraph()
    one, other, shared = graph.layer(), graph.layer(), graph.floats(UNITS)
    sums = [graph.b.node("Add", [each.steps, shared]) for each in (one, other)]
    reads = [graph.matmul(each) for each in sums]
    cut = graph.cut(graph.b.node("Sub", [made for made, _ in reads]))
    assert len(cut.keep) == 1
    first, second = (
        (cut.steps(layer) + cut.constant(shared)) @ cut.rows(matrix, cut.mask(layer))
        for layer, (_, matrix) in zip((one, other), reads, strict=True)
    )
    assert_close(cut.y, first - second)


@pytest.mark.parametrize("alike", [True, False])
def test_layers_with_the_same_weights_are_one_if_all_of_them_are_the_same(alike: bool) -> None:
    graph = UnitsGraph()
    one = graph.layer()
    other = graph.layer(graph.b.node("Neg", [graph.x]))
    last = 4 if alike else 3
    for index in range(1, last):
        other.node.input[index] = one.node.input[index]
    reads = [graph.matmul(layer.steps) for layer in (one, other)]
    output = graph.b.node("Sub", [made for made, _ in reads])
    if not alike:
        assert "are also read by another node" in graph.reasons(output)[0]
        return
    cut = graph.cut(output)
    assert len(cut.keep) == 1
    first = cut.steps(one) @ cut.constant(reads[0][1])
    second = cut.steps(other, -graph.b.feeds["x"]) @ cut.constant(reads[1][1])
    assert_close(cut.y, first - second)


def test_layer_whose_matrix_another_node_reads_is_left_alone() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    graph.b.output(graph.b.node("Neg", [layer.node.input[2]]), "recurrence")
    output, _ = graph.matmul(layer.steps)
    text = "weights of 'lstm_0' are also read by another node"
    assert any(text in reason for reason in graph.reasons(output))


def test_state_that_only_the_caller_reads_stays_what_it_is() -> None:
    graph = UnitsGraph()
    state = graph.b.floats("before", (1, BATCH, UNITS), [1, BATCH, UNITS])
    layer = graph.layer(kind="GRU", initial=[state])
    graph.b.output(layer.h, "after", [1, BATCH, UNITS])
    reasons = graph.reasons(graph.b.node("Neg", [graph.x]))
    assert "as a state that the caller carries" in reasons[0]


def test_facts_give_layouts_entries_and_readers_and_cannot_be_changed() -> None:
    graph = UnitsGraph(free=True)
    layer = graph.layer()
    shape = graph.b.node("Shape", [layer.steps])
    zeros = graph.b.node("ConstantOfShape", [shape])
    output, matrix = graph.matmul(graph.b.node("Max", [layer.steps, zeros]))
    facts = facts_of(graph, output)
    layout = facts.layout(layer.steps)
    assert layout is not None
    assert layout.labelled() == [2]
    assert facts.layout(matrix) == facts.graph.default(matrix)
    entries = facts.entries(shape)
    assert entries is not None
    assert [bool(entry.axes) for entry in entries] == [False, False, True]
    assert facts.readers[layer.steps] == 2
    assert [node.op_type for node in facts.consumers[layer.steps]] == ["Shape", "Max"]
    assert facts.readers["nowhere"] == 0
    assert facts.readers["y"] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        facts.edits = ()  # type: ignore[misc]


def test_entries_are_those_of_short_whole_constants_of_one_dimension() -> None:
    graph = UnitsGraph()
    names = {
        "shape": graph.b.constant([1, -1]),
        "number": graph.b.constant(7),
        "empty": graph.b.constant([]),
        "reals": graph.b.constant([1.0], np.float32),
        "table": graph.b.constant([[1]]),
        "long": graph.b.constant(list(range(65))),
    }
    for name in names.values():
        graph.b.output(graph.b.node("Identity", [name]), f"{name}_out")
    facts = facts_of(graph, graph.matmul(graph.layer().steps)[0])
    assert facts.entries(names["shape"]) == (Entry(1), Entry(-1))
    assert facts.entries(names["number"]) == (Entry(7),)
    assert facts.entries(names["empty"]) == ()
    assert [facts.entries(names[each]) for each in ("reals", "table", "long")] == [None] * 3


def test_direction_beside_one_that_stays_stays_too() -> None:
    graph = UnitsGraph()
    layer = graph.layer(direction="bidirectional")
    backward = graph.b.squeeze(graph.b.split(layer.y, [1, 1], 1)[1], 1)
    weighed = graph.b.node("Softmax", [layer.steps], axis=2)
    reads = [graph.matmul(each)[0] for each in (weighed, backward)]
    first, second = graph.reasons(graph.b.node("Add", reads))
    assert "weighs the units" in first
    assert (
        second == f"it shares its size with 'units:{layer.node.name}.forward', which stays as it is"
    )

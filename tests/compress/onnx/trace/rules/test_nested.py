"""If, Loop and Scan around and behind layers of which units are removed."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import GraphProto, TensorProto, helper

from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.trace.alignment import PARTS_DIFFER
from isslim.compress.onnx.trace.rules import nested
from isslim.compress.onnx.trace.rules.nested import OTHER_RANKS, UNITS_IN_ONE_BRANCH
from isslim.compress.onnx.trace.rules.obstacles import COUNTS_UNITS, SUMS_NONZERO
from isslim.compress.onnx.trace.rules.regrouping import UNFIXED_SIZE
from tests.compress.onnx.trace.rules.units import (
    BATCH,
    STEPS,
    UNITS,
    UnitsGraph,
    assert_close,
    operators_of,
)

FLOAT, TRUTH, COUNT = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT64


def port(name: str, kind: int = FLOAT, shape: list | None = None) -> object:
    return helper.make_tensor_value_info(name, kind, shape)


def branch(name: str, operator: str, value: str, kind: int = FLOAT) -> GraphProto:
    """One node that reads a value of the outer graph."""
    node = helper.make_node(operator, [value], [f"{name}_end"], name=f"{name}_node")
    return helper.make_graph([node], name, [], [port(f"{name}_end", kind)])


def chosen(graph: UnitsGraph, then: GraphProto, other: GraphProto, flag: bool = True) -> str:
    condition = graph.b.input("flag", np.array(flag), [])
    return graph.b.node("If", [condition], then_branch=then, else_branch=other)


@pytest.mark.parametrize("flag", [True, False])
def test_units_pass_through_both_branches(flag: bool) -> None:
    graph = UnitsGraph()
    one, other = graph.layer(), graph.layer()
    branches = branch("then", "Tanh", one.steps), branch("else", "Neg", other.steps)
    cut = graph.cut(graph.b.total(chosen(graph, *branches, flag=flag), 2))
    assert len(cut.keep) == 1
    expected = np.tanh(cut.steps(one)) if flag else -cut.steps(other)
    assert_close(cut.y, expected.sum(2))


@pytest.mark.parametrize("flag", [True, False])
def test_directions_keep_their_units_through_both_branches(flag: bool) -> None:
    graph = UnitsGraph()
    one, other = (graph.layer(direction="bidirectional") for _ in range(2))
    branches = branch("then", "Tanh", one.y), branch("else", "Neg", other.y)
    either = chosen(graph, *branches, flag=flag)
    forward, backward = graph.b.split(either, [1, 1], 1)
    cut = graph.cut(graph.b.node("Sub", [graph.b.total(forward, 3), graph.b.total(backward, 3)]))
    assert len(cut.keep) == 2
    y = np.tanh(cut.run(one)[0]) if flag else -cut.run(other)[0]
    assert_close(cut.y, (y[:, :1] - y[:, 1:]).sum(3))


@pytest.mark.parametrize("operators", [("Tanh", "Exp"), ("Exp", "Tanh")])
def test_what_is_no_zero_in_one_branch_is_none(operators: tuple[str, str]) -> None:
    graph = UnitsGraph()
    steps = graph.layer().steps
    then, other = (branch(name, name, steps) for name in operators)
    either = chosen(graph, then, other)
    assert SUMS_NONZERO in graph.reasons(graph.b.total(either, 2))[0]


@pytest.mark.parametrize("flag", [True, False])
def test_steps_of_branches_may_be_of_different_numbers(flag: bool) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    bounds = [graph.b.constant([each]) for each in (0, 2, 0)]
    node = helper.make_node("Slice", [layer.steps, *bounds], ["few"], name="few_node")
    few = helper.make_graph([node], "few_branch", [], [port("few")])
    either = chosen(graph, few, branch("else", "Neg", layer.steps), flag=flag)
    output, matrix = graph.matmul(either)
    cut = graph.cut(output)
    steps = cut.steps(layer)
    assert_close(cut.y, (steps[:2] if flag else -steps) @ cut.constant(matrix))


def test_steps_that_depend_on_the_branch_are_not_merged_with_units() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    bounds = [graph.b.constant([each]) for each in (0, 2, 0)]
    node = helper.make_node("Slice", [layer.steps, *bounds], ["few"], name="few_node")
    few = helper.make_graph([node], "few_branch", [], [port("few")])
    either = chosen(graph, few, branch("else", "Neg", layer.steps))
    graph.b.output(graph.b.node("Flatten", [either], axis=0), "flat")
    assert UNFIXED_SIZE in graph.reasons(graph.x)[0]


def test_units_that_come_out_of_a_body_are_left_alone() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    lstm, squeeze = graph.b.nodes.pop(-2), graph.b.nodes.pop(-1)
    first = helper.make_node("Add", [graph.x, "row"], ["shifted"])
    lstm.input[0] = "shifted"
    last = helper.make_node("Neg", [layer.steps], ["shown"])
    ports = [port("row", FLOAT, [BATCH, 4])], [port("shown", FLOAT, [STEPS, BATCH, UNITS])]
    body = helper.make_graph([first, lstm, squeeze, last], "body", *ports)
    rows = graph.b.floats("rows", (2, BATCH, 4), [2, BATCH, 4])
    graph.b.node("Scan", [rows], ["all"], body=body, num_scan_inputs=1)
    output, _ = graph.matmul("all")
    assert "into or out of the body of" in graph.reasons(output)[0]


def test_units_in_one_branch_alone_are_refused() -> None:
    graph = UnitsGraph()
    other = graph.b.floats("other", (STEPS, BATCH, UNITS), [STEPS, BATCH, UNITS])
    branches = branch("then", "Tanh", graph.layer().steps), branch("else", "Neg", other)
    output, _ = graph.matmul(chosen(graph, *branches))
    assert UNITS_IN_ONE_BRANCH in graph.reasons(output)[0]


def test_branches_of_different_numbers_of_dimensions_are_refused() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    branches = branch("then", "Tanh", layer.steps), branch("else", "Neg", layer.y)
    output, _ = graph.matmul(chosen(graph, *branches))
    assert OTHER_RANKS in graph.reasons(output)[0]


def test_branches_whose_parts_lie_differently_are_refused() -> None:
    graph = UnitsGraph()
    one, two, wide = graph.layer(units=4), graph.layer(units=6), graph.layer(units=10)
    both = graph.b.node("Concat", [one.steps, two.steps], axis=2)
    branches = branch("then", "Tanh", both), branch("else", "Neg", wide.steps)
    output, _ = graph.matmul(chosen(graph, *branches), 10)
    assert all(PARTS_DIFFER in reason for reason in graph.reasons(output))


def test_number_of_units_from_a_branch_is_refused() -> None:
    graph = UnitsGraph(free=True)
    steps = graph.layer().steps
    branches = (branch(name, "Shape", steps, COUNT) for name in ("then", "else"))
    either = chosen(graph, *branches)
    graph.b.output(graph.b.node("ConstantOfShape", [either]), "made")
    assert COUNTS_UNITS in graph.reasons(graph.x)[0]


def test_other_outputs_of_an_if_are_followed() -> None:
    graph = UnitsGraph()
    layer, extra = graph.layer(), graph.layer(units=4)
    graphs = []
    for name in ("then", "else"):
        nodes = [helper.make_node("Neg", [layer.steps], [f"{name}_units"])]
        inner = extra.steps if name == "then" else extra.y
        nodes.append(helper.make_node("Neg", [inner], [f"{name}_ranks"]))
        ports = [port(f"{name}_units"), port(f"{name}_ranks")]
        graphs.append(helper.make_graph(nodes, name, [], ports))
    condition = graph.b.input("flag", np.array(True), [])
    branches = {"then_branch": graphs[0], "else_branch": graphs[1]}
    graph.b.node("If", [condition], ["units", "ranks"], **branches)
    first, second = graph.matmul("units")[0], graph.matmul("ranks", 4)[0]
    graph.b.output(second, "second")
    report = GraphNetwork.from_model(graph.model(first)).report()
    assert report[0].reasons == ()
    assert OTHER_RANKS in report[1].reasons[0]


def doubled_rows(graph: UnitsGraph, carried: str, operator: str) -> str:
    """A body that is run over the steps and doubles what it carries (B, H)."""
    if operator == "Scan":
        nodes = [
            helper.make_node("Add", ["before", "row"], ["after"]),
            helper.make_node("Identity", ["after"], ["shown"]),
        ]
        ports = [port("before", FLOAT, [BATCH, UNITS]), port("row", FLOAT, [BATCH, UNITS])]
        body = helper.make_graph(nodes, "body", ports, [port("after"), port("shown")])
        rows = graph.b.floats("rows", (STEPS, BATCH, UNITS), [STEPS, BATCH, UNITS])
        inputs, form = [carried, rows], {"num_scan_inputs": 1}
        graph.b.node("Scan", inputs, ["last", "all"], body=body, **form)
    else:
        nodes = [
            helper.make_node("Add", ["before", "before"], ["after"]),
            helper.make_node("Identity", ["going"], ["still"]),
        ]
        ports = [port("number", COUNT, []), port("going", TRUTH, []), port("before")]
        body = helper.make_graph(nodes, "body", ports, [port("still", TRUTH, []), port("after")])
        times = graph.b.constant(STEPS)
        graph.b.node("Loop", [times, "", carried], ["last"], body=body)
    return "last"


@pytest.mark.parametrize("operator", ["Loop", "Scan"])
def test_units_that_go_into_a_body_are_left_alone(operator: str) -> None:
    graph = UnitsGraph()
    state = graph.b.squeeze(graph.layer().h, 0)
    output, _ = graph.matmul(doubled_rows(graph, state, operator))
    assert f"into or out of the body of {operator}" in graph.reasons(output)[0]


@pytest.mark.parametrize("operator", ["Loop", "Scan"])
def test_layers_beside_a_body_are_cut(operator: str) -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    outer = graph.b.floats("outer", (BATCH, UNITS), [BATCH, UNITS])
    inner = graph.b.node("ReduceMean", [doubled_rows(graph, outer, operator)], keepdims=0)
    output, matrix = graph.matmul(layer.steps)
    cut = graph.cut(graph.b.node("Mul", [output, inner]))
    feeds = graph.b.feeds
    last = (
        feeds["outer"] * 2**STEPS if operator == "Loop" else feeds["outer"] + feeds["rows"].sum(0)
    )
    assert_close(cut.y, cut.steps(layer) @ cut.constant(matrix) * last.mean())


def test_layer_in_a_body_is_cut_where_it_ends_in_a_matrix_there() -> None:
    graph = UnitsGraph()
    layer = graph.layer()
    lstm, squeeze = graph.b.nodes.pop(-2), graph.b.nodes.pop(-1)
    matrix = graph.b.weights(UNITS, 2)
    nodes = [
        helper.make_node("Add", [graph.x, "row"], ["shifted"]),
        *(lstm, squeeze),
        helper.make_node("MatMul", [layer.steps, matrix], ["scores"]),
    ]
    nodes[1].input[0] = "shifted"
    body = helper.make_graph(
        nodes, "body", [port("row", FLOAT, [BATCH, 4])], [port("scores", FLOAT, [STEPS, BATCH, 2])]
    )
    rows = graph.b.floats("rows", (2, BATCH, 4), [2, BATCH, 4])
    graph.b.node("Scan", [rows], ["all"], body=body, num_scan_inputs=1)
    cut = graph.cut("all")
    shifted = [graph.b.feeds["x"] + row for row in graph.b.feeds["rows"]]
    expected = [cut.steps(layer, x) @ cut.constant(matrix) for x in shifted]
    assert_close(cut.y, np.stack(expected))


def test_every_operator_of_the_rules_is_tested_here() -> None:
    assert operators_of(nested) == {"If", "Loop", "Scan"}

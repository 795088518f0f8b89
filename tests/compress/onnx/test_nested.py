"""Layers in branches of an If and in bodies of a Loop or a Scan."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from tests.compress.onnx.drawing import BATCH, Builder
from tests.compress.onnx.proving import (
    Feeds,
    assert_cut_equals_masked,
    cut,
    run,
    some,
)

RNG = np.random.default_rng(5)
UNITS, WIDTH = 5, 3


def floats(name: str, shape: list | None) -> object:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def constant(name: str, *shape: int) -> object:
    value = numpy_helper.from_array(RNG.normal(0, 0.7, shape).astype(np.float32), name)
    return helper.make_node("Constant", [], [name], value=value)


def numbers(name: str, values: list[int]) -> object:
    return helper.make_node(
        "Constant", [], [name], value=numpy_helper.from_array(np.array(values, np.int64), name)
    )


def branch(prefix: str, *, matrix: bool) -> object:
    """A layer with its weights as Constant nodes, its state from outside, and what it gives."""
    p = prefix
    body = [
        constant(f"{p}W", 1, 4 * UNITS, WIDTH),
        constant(f"{p}R", 1, 4 * UNITS, UNITS),
        constant(f"{p}B", 1, 8 * UNITS),
        numbers(f"{p}zero", [0]),
        numbers(f"{p}first", [1]),
        helper.make_node("Gather", ["state", f"{p}zero"], [f"{p}h"], axis=0),
        helper.make_node("Gather", ["state", f"{p}first"], [f"{p}c"], axis=0),
        helper.make_node(
            "LSTM",
            ["x", f"{p}W", f"{p}R", f"{p}B", "", f"{p}h", f"{p}c"],
            [f"{p}a", f"{p}ah", f"{p}ac"],
            hidden_size=UNITS,
            name=f"{p}lstm",
        ),
        helper.make_node("Squeeze", [f"{p}a", f"{p}first"], [f"{p}s"]),
        constant(f"{p}M", UNITS, 2),
        helper.make_node("MatMul", [f"{p}s", f"{p}M"], [f"{p}y"]),
        helper.make_node("Concat", [f"{p}ah", f"{p}ac"], [f"{p}state"], axis=0),
    ]
    given = f"{p}y" if matrix else f"{p}s"
    return helper.make_graph(
        body, f"{p}branch", [], [floats(given, None), floats(f"{p}state", None)]
    )


def chosen(*, matrix: bool) -> tuple[ModelProto, Feeds]:
    """An If whose branches hold a layer each; the matrix is in the branches or behind the If."""
    b = Builder()
    b.floats("x", (4, BATCH, WIDTH), ["T", "B", WIDTH])
    b.floats("state", (2, BATCH, UNITS), [2, "B", UNITS])
    flag = b.input("flag", np.array(True), [])
    branches = {
        "then_branch": branch("t_", matrix=matrix),
        "else_branch": branch("e_", matrix=matrix),
    }
    b.node("If", [flag], ["given", "stateN"], **branches)
    b.output(
        "given" if matrix else b.node("MatMul", ["given", b.weights(UNITS, 2)]), "y", ["T", "B", 2]
    )
    b.outputs.append(floats("stateN", [2, "B", UNITS]))
    return simplified(b.model()), b.feeds


@pytest.mark.parametrize("flag", [True, False])
def test_each_branch_has_axes_of_its_own_that_end_in_it(flag: bool) -> None:
    model, feeds = chosen(matrix=True)
    network = assert_cut_equals_masked(model, {**feeds, "flag": np.array(flag)})
    assert network.declaration().axes == {
        "units:t_lstm.forward": UNITS,
        "units:e_lstm.forward": UNITS,
    }


@pytest.mark.parametrize("flag", [True, False])
def test_units_that_leave_an_if_are_the_same_in_both_branches(flag: bool) -> None:
    model, feeds = chosen(matrix=False)
    network = assert_cut_equals_masked(model, {**feeds, "flag": np.array(flag)})
    (axis,) = network.report()
    assert set(axis.layers) == {"units:t_lstm.forward", "units:e_lstm.forward"}
    assert not axis.reasons


@pytest.mark.parametrize("flag", [True, False])
def test_what_a_branch_reads_is_seen_when_it_runs(flag: bool) -> None:
    model, feeds = chosen(matrix=True)
    observer = GraphNetwork.from_model(model).observer()
    rows = observer.rows(run(observer.model, {**feeds, "flag": np.array(flag)}))
    ran, idle = ("t_", "e_") if flag else ("e_", "t_")
    assert rows[f"{ran}lstm.forward"].shape == (4 * BATCH, WIDTH + UNITS)
    assert rows[f"{idle}lstm.forward"].shape == (0, WIDTH + UNITS)
    np.testing.assert_array_equal(rows[f"{ran}lstm.forward"][:BATCH, WIDTH:], feeds["state"][0])


def looped(operator: str) -> tuple[ModelProto, Feeds]:
    """A layer that runs once for every entry of a sequence, its state carried from run to run."""
    inner = [
        helper.make_node(
            "LSTM",
            ["piece", "W", "R", "", "", "h", "c"],
            ["a", "hn", "cn"],
            hidden_size=UNITS,
            name="lstm",
        ),
        helper.make_node("Squeeze", ["hn", "zero"], ["s"]),
        helper.make_node("MatMul", ["s", "M"], ["shown"]),
    ]
    b = Builder()
    b.constants |= {
        "W": RNG.normal(0, 0.7, (1, 4 * UNITS, WIDTH)).astype(np.float32),
        "R": RNG.normal(0, 0.7, (1, 4 * UNITS, UNITS)).astype(np.float32),
        "M": RNG.normal(0, 0.7, (UNITS, 2)).astype(np.float32),
        "zero": np.array([0]), "count": np.array(3), "go": np.array(True),
    }  # fmt: skip
    x = b.floats("x", (3, 4, BATCH, WIDTH), ["N", "T", "B", WIDTH])
    start = [b.floats(name, (1, BATCH, UNITS), [1, "B", UNITS]) for name in ("h0", "c0")]
    states = [floats("h", [1, BATCH, UNITS]), floats("c", [1, BATCH, UNITS])]
    ends = [
        floats("hn", [1, BATCH, UNITS]),
        floats("cn", [1, BATCH, UNITS]),
        floats("shown", [BATCH, 2]),
    ]
    if operator == "Scan":
        body = helper.make_graph(inner, "body", [*states, floats("piece", [4, BATCH, WIDTH])], ends)
        b.node("Scan", [*start, x], ["h_end", "c_end", "all"], body=body, num_scan_inputs=1)
    else:
        port = helper.make_tensor_value_info
        pick = helper.make_node("Gather", ["x", "index"], ["piece"], axis=0)
        same = helper.make_node("Identity", ["before"], ["after"])
        ports = [
            port("index", TensorProto.INT64, []),
            port("before", TensorProto.BOOL, []),
            *states,
        ]
        body = helper.make_graph(
            [pick, same, *inner], "body", ports, [port("after", TensorProto.BOOL, []), *ends]
        )
        b.node("Loop", ["count", "go", *start], ["h_end", "c_end", "all"], body=body)
    b.output("all", "y", ["N", "B", 2])
    b.output("h_end", "h_last", [1, "B", UNITS])
    return simplified(b.model()), b.feeds


@pytest.mark.parametrize("operator", ["Loop", "Scan"])
def test_a_layer_in_a_body_is_cut_and_its_state_carried_on(operator: str) -> None:
    model, feeds = looped(operator)
    network = assert_cut_equals_masked(model, feeds)
    assert network.declaration().axes == {"units:lstm.forward": UNITS}


@pytest.mark.parametrize("operator", ["Loop", "Scan"])
def test_what_a_body_reads_is_seen_in_every_run(operator: str) -> None:
    model, feeds = looped(operator)
    network = GraphNetwork.from_model(model)
    observer = network.observer()
    rows = observer.rows(run(observer.model, feeds))
    assert rows["lstm.forward"].shape == (3 * 4 * BATCH, WIDTH + UNITS)
    np.testing.assert_array_equal(rows["lstm.forward"][:, :WIDTH], feeds["x"].reshape(-1, WIDTH))
    np.testing.assert_array_equal(rows["lstm.forward"][:BATCH, WIDTH:], feeds["h0"][0])
    assert rows["M"].shape == (3 * BATCH, UNITS)
    # The second run begins with the state after the first, which its matrix read.
    np.testing.assert_allclose(
        rows["lstm.forward"][4 * BATCH : 5 * BATCH, WIDTH:], rows["M"][:BATCH], rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize(
    ("attribute", "value"), [("scan_output_directions", 1), ("scan_output_axes", 1)]
)
def test_what_a_scan_reads_is_seen_however_it_stacks_its_outputs(
    attribute: str, value: int
) -> None:
    plain, feeds = looped("Scan")
    model = ModelProto()
    model.CopyFrom(plain)
    scan = next(node for node in model.graph.node if node.op_type == "Scan")
    scan.attribute.append(helper.make_attribute(attribute, [value]))
    del model.graph.output[0].type.tensor_type.shape.dim[:]  # the stacked one
    model.graph.output[0].type.tensor_type.ClearField("shape")
    found = []
    for each in (plain, model):
        observer = GraphNetwork.from_model(each).observer()
        found.append(observer.rows(run(observer.model, feeds)))
    np.testing.assert_array_equal(found[1]["lstm.forward"], found[0]["lstm.forward"])
    np.testing.assert_array_equal(found[1]["M"], found[0]["M"])


def test_units_that_a_body_gives_away_are_left_alone() -> None:
    model, _ = looped("Scan")
    scan = next(node for node in model.graph.node if node.op_type == "Scan")
    body = scan.attribute[0].g if scan.attribute[0].name == "body" else scan.attribute[1].g
    shown = next(port for port in body.output if port.name == "shown")
    shown.name = "s"
    shown.type.tensor_type.shape.dim[1].dim_value = UNITS
    (axis,) = GraphNetwork.from_model(model).report()
    assert "out of the body of" in axis.reasons[0]
    assert (
        cut(GraphNetwork.from_model(model), some(GraphNetwork.from_model(model), 0))
        .declaration()
        .axes
        == {}
    )

"""If, Loop and Scan, in torch and in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from isslim.compress.errors import NotTrainable
from isslim.compress.kinds.graphs.trainable.network import TorchGraph
from tests.compress.kinds.graphs.trainable.same import assert_same, built, floats, tensors
from tests.compress.onnx.drawing import Builder
from tests.compress.onnx.proving import run

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
STEPS, WIDTH, UNITS = 5, 3, 4


def port(name: str, kind: int = FLOAT, shape: list | None = None) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def cell() -> list[Any]:
    """A step of a layer: h' = tanh(x W + h R), with matrices from outside."""
    return [
        helper.make_node("MatMul", ["x_t", "W"], ["read"]),
        helper.make_node("MatMul", ["h", "R"], ["fed"]),
        helper.make_node("Add", ["read", "fed"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["h_next"]),
        helper.make_node("Identity", ["h_next"], ["y_t"]),
    ]


def with_matrices(b: Builder) -> None:
    b.constants["W"] = floats(WIDTH, UNITS, seed=1)
    b.constants["R"] = floats(UNITS, UNITS, seed=2)
    b.floats("x", (STEPS, 2, WIDTH), [None, 2, WIDTH])
    b.floats("first", (2, UNITS), [2, UNITS])


def scanned(axis: int | None = None, turned: int = 0) -> Builder:
    """The layer as a Scan, with the sequence along an axis, and possibly backwards."""
    b = Builder()
    with_matrices(b)
    body = helper.make_graph(
        cell(), "step", [port("h", FLOAT, [2, UNITS]), port("x_t", FLOAT, [2, WIDTH])],
        [port("h_next", FLOAT, [2, UNITS]), port("y_t", FLOAT, [2, UNITS])],
    )  # fmt: skip
    turn = [1, 0, 2] if axis else [0, 1, 2]
    steps = b.node("Transpose", ["x"], perm=turn)
    settings = {}
    if axis is not None:
        settings = {f"scan_{which}_axes": [axis] for which in ("input", "output")}
        settings |= {f"scan_{which}_directions": [turned] for which in ("input", "output")}
    b.node("Scan", ["first", steps], ["last", "all"], body=body, num_scan_inputs=1, **settings)
    return b


def looped(rounds: int | None, limit: float = 9.0) -> Builder:
    """The layer as a Loop over as many rounds, which ends early where a sum exceeds the limit."""
    b = Builder()
    with_matrices(b)
    b.constants["limit"] = np.array(limit, np.float32)
    body = helper.make_graph(
        [
            helper.make_node("Gather", ["x", "round"], ["x_t"]),
            *cell(),
            helper.make_node("ReduceSum", ["h_next"], ["total"], keepdims=0),
            helper.make_node("Less", ["total", "limit"], ["goes_on"]),
        ],
        "round",
        [port("round", INT, []), port("before", BOOL, []), port("h", FLOAT, [2, UNITS])],
        [port("goes_on", BOOL, []), port("h_next", FLOAT, [2, UNITS]), port("y_t", FLOAT)],
    )
    count = "" if rounds is None else b.constant(rounds)
    b.node("Loop", [count, b.constant(True, bool), "first"], ["last", "all"], body=body)
    return b


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("turned", [0, 1])
def test_scan_along_an_axis_in_either_direction(axis: int, turned: int) -> None:
    b = scanned(axis, turned)
    assert_same(built(b, "last", "all"), b.feeds, 1e-5)


def test_scan_by_default() -> None:
    b = scanned()
    assert_same(built(b, "last", "all"), b.feeds, 1e-5)


@pytest.mark.parametrize("rounds", [1, 3, 5])
def test_loop_runs_as_many_rounds(rounds: int) -> None:
    b = looped(rounds)
    assert_same(built(b, "last", "all"), b.feeds, 1e-5)


def test_loop_ends_when_its_condition_says_so() -> None:
    b = looped(5, limit=-9.0)
    model = built(b, "last", "all")
    assert run(model, b.feeds)["y1"].shape[0] == 1
    assert_same(model, b.feeds, 1e-5)


def test_loop_without_a_number_of_rounds_goes_by_its_condition() -> None:
    b = looped(None, limit=-9.0)
    assert_same(built(b, "last", "all"), b.feeds, 1e-5)


def test_loop_without_a_condition_begins() -> None:
    b = looped(3)
    b.nodes[-1].input[1] = ""
    assert_same(built(b, "last", "all"), b.feeds, 1e-5)


def test_loop_of_no_rounds_keeps_its_states_and_has_no_rows() -> None:
    b = looped(0)
    b.nodes[0].output.pop()
    body = b.nodes[0].attribute[0].g
    del body.output[-1]
    assert_same(built(b, "last"), b.feeds, 1e-5)
    with_rows = looped(0)
    graph = TorchGraph.of(built(with_rows, "all"))
    with pytest.raises(NotTrainable, match="Loop 'loop_0': it runs no round"):
        graph(tensors(with_rows.feeds), ["y0"])


@pytest.mark.parametrize("make", [scanned, lambda: looped(STEPS)], ids=["Scan", "Loop"])
def test_gradients_go_through_all_rounds(make: Any) -> None:
    b = make()
    graph = TorchGraph.of(built(b, "last", "all"))
    assert set(graph.weights) == {"W", "R"}
    made = graph(tensors(b.feeds), ["y0", "y1"])
    (made["y0"].sum() + made["y1"].square().sum()).backward()
    w, r = (torch.from_numpy(b.constants[name]).requires_grad_() for name in ("W", "R"))
    h, rows = torch.from_numpy(b.feeds["first"]), []
    for x in torch.from_numpy(b.feeds["x"]):
        h = torch.tanh(x @ w + h @ r)
        rows.append(h)
    (h.sum() + torch.stack(rows).square().sum()).backward()
    torch.testing.assert_close(graph.weights["W"].grad, w.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(graph.weights["R"].grad, r.grad, rtol=1e-4, atol=1e-5)


def branch(name: str, operator: str) -> GraphProto:
    weight = numpy_helper.from_array(floats(WIDTH, seed=len(name)), f"{name}_weight")
    node = helper.make_node(operator, ["x", f"{name}_weight"], [f"{name}_made"])
    return helper.make_graph([node], name, [], [port(f"{name}_made")], [weight])


def chosen(flag: bool, *, other_first: bool) -> tuple[ModelProto, dict[str, Any]]:
    b = Builder()
    b.floats("x", (2, WIDTH), [2, WIDTH])
    condition = b.input("flag", np.array([flag]), [1])
    value = b.node(
        "If", [condition], else_branch=branch("no", "Mul"), then_branch=branch("yes", "Add")
    )
    attributes = sorted(b.nodes[0].attribute, key=lambda each: each.name, reverse=not other_first)
    copies = [type(each).FromString(each.SerializeToString()) for each in attributes]
    del b.nodes[0].attribute[:]
    b.nodes[0].attribute.extend(copies)
    return built(b, value), b.feeds


@pytest.mark.parametrize("other_first", [False, True])
@pytest.mark.parametrize("flag", [False, True])
def test_branch_is_chosen_and_it_alone_is_trained(flag: bool, other_first: bool) -> None:
    model, feeds = chosen(flag, other_first=other_first)
    graph = assert_same(model, feeds, 1e-5)
    assert set(graph.weights) == {"yes_weight", "no_weight"}
    graph(tensors(feeds), ["y0"])["y0"].sum().backward()
    trained = {name for name, each in graph.weights.items() if each.grad is not None}
    assert trained == {"yes_weight" if flag else "no_weight"}


@pytest.mark.parametrize("make", [scanned, lambda: looped(STEPS)], ids=["Scan", "Loop"])
def test_initial_state_that_is_a_constant_stays(make: Any) -> None:
    b = make()
    b.constants["first"] = b.feeds.pop("first")
    del b.inputs[1]
    graph = assert_same(built(b, "last", "all"), b.feeds, 1e-5)
    assert set(graph.weights) == {"W", "R"}


def test_sequence_that_is_a_constant_is_trained() -> None:
    b = scanned()
    b.nodes[-1].input[1] = "x"
    b.constants["x"] = b.feeds.pop("x")
    del b.inputs[0]
    graph = assert_same(built(b, "last", "all"), b.feeds, 1e-5)
    assert set(graph.weights) == {"W", "R", "x"}

"""Nodes in order, and nested graphs as functions of what they read."""

from __future__ import annotations

from onnx import TensorProto, helper

from isslim.compress.kinds.graphs.trainable.program import compiled
from tests.compress.onnx.drawing import Builder


def floats(name: str) -> object:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def test_needed_nodes_are_those_behind_the_outputs_in_order() -> None:
    b = Builder()
    x = b.floats("x", (2,), [2])
    one = b.node("Tanh", [x])
    b.node("Abs", [one], ["left out"])
    b.node("Neg", [one], ["end"])
    program = compiled(b.model().graph, 17, {})
    assert [line.outputs for line in program.needed(["end"])] == [(one,), ("end",)]
    assert program.captured == ()


def test_body_reads_from_outside_through_the_node_that_holds_it() -> None:
    """Also what a graph two levels deeper reads, and what is given on as it is."""
    inner = helper.make_graph(
        [helper.make_node("Mul", ["a", "b"], ["ab"])], "inner", [], [floats("ab")]
    )
    as_it_is = helper.make_graph([], "as it is", [], [floats("c")])
    middle = helper.make_graph(
        [
            helper.make_node("Neg", ["outer"], ["a"]),
            helper.make_node("If", ["yes"], ["chosen"], then_branch=inner, else_branch=as_it_is),
        ],
        "middle", [], [floats("chosen")],
    )  # fmt: skip
    other = helper.make_graph([helper.make_node("Abs", ["c"], ["d"])], "other", [], [floats("d")])
    node = helper.make_node("If", ["no"], ["end"], then_branch=middle, else_branch=other)
    graph = helper.make_graph([node], "whole", [floats("no")], [floats("end")])
    program = compiled(graph, 17, {})
    # helper.make_node puts the else branch first.
    assert program.captured == ("c", "outer", "yes", "b")
    assert program.lines[0].inputs == ("no", "c", "outer", "yes", "c", "b")

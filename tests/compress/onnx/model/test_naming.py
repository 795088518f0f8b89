"""Nodes without names, or with those of others, get names of their own."""

from __future__ import annotations

from onnx import GraphProto, TensorProto, helper

from isslim.compress.onnx.model.naming import name_nodes
from isslim.compress.onnx.model.split_model import nodes

NODE = helper.make_node


def graph() -> GraphProto:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xyz"]
    inner = helper.make_graph([NODE("Abs", ["x"], ["z"], name="first")], "inner", [], ports[2:])
    return helper.make_graph(
        [
            NODE("Abs", ["x"], ["a"]),
            NODE("Neg", ["a"], ["b"], name="first"),
            NODE("Neg", ["b"], ["c"], name="Abs_a"),
            NODE("If", ["c"], ["y"], then_branch=inner, else_branch=inner),
        ],
        "g",
        ports[:1],
        ports[1:2],
    )


def test_every_node_has_a_name_of_its_own_and_known_ones_stay() -> None:
    named = graph()
    name_nodes(named)
    found = [node.name for node in nodes(named)]
    assert len(set(found)) == len(found) == 6
    assert [node.name for node in named.node] == ["Abs_a_2", "first", "Abs_a", "If_y"]
    assert {"first_2", "first_3"} < set(found)
    again = graph()
    name_nodes(again)
    assert again == named
    name_nodes(again)
    assert again == named  # named once, they stay

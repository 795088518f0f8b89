"""Models taken apart and put together again give the same, whatever is nested in them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from isslim.compress.errors import GraphNotUnderstood
from isslim.compress.onnx.model.attributes import get_int, subgraphs
from isslim.compress.onnx.model.split_model import (
    given,
    graphs,
    inner_first,
    label,
    merge_constants,
    names,
    nodes,
    replace,
    set_input,
    sort_nodes,
    split_constants,
)
from tests.compress.onnx.drawing import BATCH, Builder
from tests.compress.onnx.proving import Feeds, run


def port(name: str) -> object:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def branch(value: float) -> GraphProto:
    """`z * value + shift`, with the same names in both branches, one of them an initialiser's."""
    one = helper.make_node("Constant", [], ["same"], value_float=value)
    made = [one, helper.make_node("Mul", ["z", "same"], ["m"], name="twice")]
    made.append(helper.make_node("Add", ["m", "shift"], ["given"]))
    shift = numpy_helper.from_array(np.array(value + 10, np.float32), "shift")
    return helper.make_graph(made, "branch", [], [port("given")], [shift])


def chosen() -> tuple[ModelProto, Feeds]:
    b = Builder()
    b.node("Mul", [b.floats("x", (2, BATCH), [2, "B"]), b.weights(BATCH)], ["z"])
    flag = b.input("flag", np.array(True), [])
    b.node("If", [flag], ["y"], then_branch=branch(2.0), else_branch=branch(3.0))
    b.outputs.append(port("y"))
    return b.model(), b.feeds


@pytest.mark.parametrize("flag", [True, False])
def test_a_model_put_together_again_gives_exactly_the_same(flag: bool) -> None:
    model, feeds = chosen()
    before = model.SerializeToString()
    parts = split_constants(model)
    assert model.SerializeToString() == before  # it stays as it is
    feeds["flag"] = np.array(flag)
    again = merge_constants(parts)
    np.testing.assert_array_equal(run(again, feeds)["y"], run(model, feeds)["y"])


def test_apart_there_are_no_numbers_in_the_structure_and_every_value_has_a_name_of_its_own() -> (
    None
):
    parts = split_constants(chosen()[0])
    every = list(graphs(parts.structure.graph))
    assert len(every) == 3
    assert not any(graph.initializer for graph in every)
    assert not any(node.op_type == "Constant" for node in nodes(parts.structure.graph))
    values = [float(v) for n, v in parts.constants.items() if n.startswith(("same", "shift"))]
    assert sorted(values) == [2.0, 3.0, 12.0, 13.0]
    made = [name for node in nodes(parts.structure.graph) for name in node.output]
    assert len(made) == len(set(made))
    called = [node.name for node in nodes(parts.structure.graph)]
    assert len(called) == len(set(called))


def test_a_constant_lies_where_it_is_read_and_one_that_nothing_reads_is_left_out() -> None:
    parts = split_constants(chosen()[0])
    parts.constants["unread"] = np.zeros(3)
    again = merge_constants(parts)
    held = [len(graph.initializer) for graph in graphs(again.graph)]
    assert held == [1, 2, 2]
    for inner in (node for node in parts.structure.graph.node if subgraphs(node)):
        for body in subgraphs(inner):  # both branches read one constant: it lies outside now
            body.node[0].input[1] = "shared"
    parts.constants["shared"] = np.array(2, np.float32)
    again = merge_constants(parts)
    assert "shared" in {tensor.name for tensor in again.graph.initializer}


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ({"value_float": 1.5}, np.array(1.5, np.float32)),
        ({"value_floats": [1.5, 2.5]}, np.array([1.5, 2.5], np.float32)),
        ({"value_int": 3}, np.array(3, np.int64)),
        ({"value_ints": [3, 4]}, np.array([3, 4], np.int64)),
        ({"value_string": "a"}, np.array(b"a", object)),
        ({"value_strings": ["a", "b"]}, np.array([b"a", b"b"], object)),
        ({"value": numpy_helper.from_array(np.array([True]), "t")}, np.array([True])),
    ],
)
def test_a_constant_is_read_in_every_way_it_can_be_given(
    attribute: dict[str, object], expected: np.ndarray
) -> None:
    b = Builder()
    b.nodes.append(helper.make_node("Constant", [], ["k"], **attribute))
    value = split_constants(b.model()).constants["k"]
    assert value.dtype == expected.dtype
    np.testing.assert_array_equal(value, expected)


def test_sparse_constants_are_refused() -> None:
    b = Builder()
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    sparse = helper.make_sparse_tensor(helper.make_tensor("v", 1, [1], [1.0]), indices, [3])
    b.nodes.append(helper.make_node("Constant", [], ["k"], sparse_value=sparse))
    with pytest.raises(GraphNotUnderstood, match="'k' is given as 'sparse_value'"):
        split_constants(b.model())


def test_units_that_are_left_to_the_matrix_are_noted_and_initialisers_are_no_inputs() -> None:
    b = Builder()
    b.recurrent("GRU", b.floats("x", (4, BATCH, 2), ["T", "B", 2]), 2, 5, outputs=["a", "h"])
    del b.nodes[0].attribute[:]
    model = b.model()
    model.ir_version = 3
    for name, value in b.constants.items():
        model.graph.input.append(helper.make_tensor_value_info(name, 1, value.shape))
    parts = split_constants(model)
    assert get_int(parts.structure.graph.node[0], "hidden_size", 0) == 5
    assert [each.name for each in parts.structure.graph.input] == ["x"]
    assert parts.structure.ir_version == 4


def test_nodes_are_sorted_only_where_they_must_be_also_for_what_a_branch_reads() -> None:
    model, feeds = chosen()
    assert not sort_nodes(model.graph)
    expected = run(model, feeds)["y"]
    replace(model.graph.node, list(model.graph.node)[::-1])
    assert [node.op_type for node in model.graph.node] == ["If", "Mul"]
    assert sort_nodes(model.graph)
    assert [node.op_type for node in model.graph.node] == ["Mul", "If"]
    np.testing.assert_array_equal(run(model, feeds)["y"], expected)
    model.graph.node[0].input[0] = "y"  # a circle
    assert not sort_nodes(model.graph)


def test_names_inputs_and_orders() -> None:
    model, _ = chosen()
    assert {"x", "flag", "z", "y", "given", "m"} <= names(model.graph)
    assert [graph.name for graph in inner_first(model.graph)] == ["branch", "branch", "drawn"]
    parts = split_constants(model)
    assert (parts.fresh("z"), parts.fresh("new")) == ("z_1", "new")
    parts.constants["new"] = np.zeros(1)
    assert parts.fresh("new") == "new_1"
    node = NodeProto(op_type="Clip", input=["x"], output=["", "o"])
    assert (given(node, 0), given(node, 2)) == ("x", "")
    set_input(node, 2, "high")
    assert list(node.input) == ["x", "", "high"]
    assert label(node) == "o"
    assert label(NodeProto(op_type="Clip")) == "Clip"


def test_the_opset_is_that_of_the_standard_operators() -> None:
    model, _ = chosen()
    model.opset_import.insert(0, helper.make_opsetid("other", 3))
    assert split_constants(model).opset == 17


def test_a_node_comes_before_an_if_whose_branch_gives_its_value_as_it_is() -> None:
    b = Builder()
    b.node("Neg", [b.floats("x", (2, BATCH), [2, "B"])], ["z"])
    passed = helper.make_graph([], "passed", [], [port("z")])
    other = helper.make_graph([helper.make_node("Abs", ["x"], ["a"])], "other", [], [port("a")])
    flag = b.input("flag", np.array(True), [])
    b.node("If", [flag], ["y"], then_branch=passed, else_branch=other)
    b.outputs.append(port("y"))
    model = b.model()
    replace(model.graph.node, list(model.graph.node)[::-1])
    assert sort_nodes(model.graph)
    assert [node.op_type for node in model.graph.node] == ["Neg", "If"]


def test_names_of_a_branch_give_way_to_those_of_the_graph_around_it() -> None:
    b = Builder()
    b.node("Neg", [b.floats("x", (2, BATCH), [2, "B"])], ["z"])
    flag = b.input("flag", np.array(False), [])
    b.node("If", [flag], ["y"], then_branch=branch(2.0), else_branch=branch(3.0))
    b.node("Add", ["y", "y"], ["given"])  # as both branches call what they give
    b.outputs.append(port("given"))
    parts = split_constants(b.model())
    assert list(parts.structure.graph.node[-1].output) == ["given"]
    made = [name for node in nodes(parts.structure.graph) for name in node.output]
    assert sorted(name for name in made if name.startswith("given")) == [
        "given",
        "given_1",
        "given_2",
    ]
    expected = run(b.model(), b.feeds)["given"]
    np.testing.assert_array_equal(run(merge_constants(parts), b.feeds)["given"], expected)

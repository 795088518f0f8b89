"""Sizes and branches that shapes decide: what is put in their place gives exactly the same."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import GraphProto, TensorProto, helper

from isslim.compress.onnx.model.split_model import SplitModel, merge_constants, split_constants
from isslim.compress.onnx.normalise.branch_elimination import (
    drop_impossible_branches,
    fold_shapes,
    inline_constant_branches,
)
from isslim.compress.onnx.normalise.folding import fold_known
from tests.compress.onnx.drawing import BATCH, Builder
from tests.compress.onnx.proving import run


def alike(b: Builder, parts: SplitModel) -> None:
    expected, found = run(b.model(), b.feeds), run(merge_constants(parts), b.feeds)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def ints(b: Builder, value: str, name: str) -> None:
    b.output(value, name, None, TensorProto.INT64)


@pytest.mark.parametrize("opset", [9, 13, 15])
def test_known_sizes_become_constants_and_unknown_ones_stay(opset: int) -> None:
    b = Builder(opset)
    x = b.floats("x", (5, BATCH, 7), ["T", "B", 7])
    z = b.floats("z", (2, 3), [2, 3])
    shape, known = b.node("Shape", [x]), b.node("Shape", [z])
    ints(b, known, "whole")
    ints(b, b.node("Gather", [shape, b.constant(-1)]), "last")
    ints(b, b.node("Gather", [shape, b.constant([2, -1])]), "two")
    ints(b, b.node("Gather", [shape, b.constant([0, 2])]), "part")
    ints(b, b.node("Size", [shape]), "length")
    if opset >= 10:
        ints(b, b.node("Slice", [shape, b.constant([2]), b.constant([3])]), "slice")
        bounds = [b.constant([each]) for each in (1, 0, 0, -1)]
        ints(b, b.node("Slice", [known, *bounds]), "backwards")
    if opset >= 15:
        ints(b, b.node("Shape", [x], start=2), "end")
    parts = split_constants(b.model())
    assert fold_shapes(parts)
    left = [n for n in parts.structure.graph.node if n.op_type != "Identity"]
    # Steps and batch are given at run time, and so is what is picked out of them.
    assert {(node.op_type, node.output[0]) for node in left} == {
        ("Shape", shape),
        ("Gather", next(n.input[0] for n in b.nodes if n.output[0] == "part")),
    }
    alike(b, parts)
    assert not fold_shapes(parts) or opset  # a second round may find nothing


def test_an_index_that_lies_outside_is_left_for_the_runtime_to_refuse() -> None:
    b = Builder()
    shape = b.node("Shape", [b.floats("x", (2, 3), [2, 3])])
    ints(b, b.node("Gather", [shape, b.constant(2)]), "y")
    parts = split_constants(b.model())
    fold_shapes(parts)
    assert "Gather" in [node.op_type for node in parts.structure.graph.node]


def branch(operator: str, name: str, *inputs: str, **attributes: object) -> GraphProto:
    made = [helper.make_node(operator, list(inputs), [name], **attributes)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)]
    return helper.make_graph(made, f"branch {name}", [], ends)


@pytest.mark.parametrize("holds", [True, False])
def test_a_branch_whose_condition_is_constant_stands_in_the_place_of_its_if(holds: bool) -> None:
    b = Builder()
    x = b.node("Neg", [b.floats("x", (2, BATCH), [2, "B"])])
    inner = helper.make_node(
        "If", ["no"], ["deep"],
        then_branch=branch("Tanh", "t", x), else_branch=branch("Relu", "r", x),
    )  # fmt: skip
    ends = [helper.make_tensor_value_info("deep", TensorProto.FLOAT, None)]
    outer = helper.make_graph([inner], "outer", [], ends)
    b.constants |= {"yes": np.array(holds), "no": np.array([False])}
    b.node("If", ["yes"], ["y"], then_branch=outer, else_branch=branch("Exp", "e", x))
    b.output(b.node("Mul", ["y", "y"]), "out")
    parts = split_constants(b.model())
    assert inline_constant_branches(parts)
    operators = [node.op_type for node in parts.structure.graph.node]
    chosen = ["Relu", "Identity", "Identity"] if holds else ["Exp", "Identity"]
    assert operators == ["Neg", *chosen, "Mul", "Identity"]
    alike(b, parts)
    assert not inline_constant_branches(parts)


def undecided(layer: bool) -> Builder:
    """An If at run time: one branch takes a dimension away, which a layer behind it would miss."""
    b = Builder()
    b.floats("x", (5, BATCH, 3), ["T", "B", 3])
    flag = b.input("flag", np.array(False), [])
    b.constants["zero"] = np.array(0)
    b.node(
        "If", [flag], ["y"],
        then_branch=branch("Gather", "g", "x", "zero"), else_branch=branch("Neg", "n", "x"),
    )  # fmt: skip
    b.output(b.recurrent("GRU", "y", 3, 4)[0] if layer else "y", "out")
    return b


def test_a_branch_that_a_layer_could_not_read_is_taken_for_impossible() -> None:
    b = undecided(layer=True)
    parts = split_constants(b.model())
    assert drop_impossible_branches(parts, fold_known)
    assert [node.op_type for node in parts.structure.graph.node][:2] == ["Neg", "Identity"]
    alike(b, parts)
    assert not drop_impossible_branches(parts, fold_known)


def test_where_both_branches_can_run_both_stay() -> None:
    parts = split_constants(undecided(layer=False).model())
    before = parts.structure.SerializeToString()
    assert not drop_impossible_branches(parts, fold_known)
    assert parts.structure.SerializeToString() == before

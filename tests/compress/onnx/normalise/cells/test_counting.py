"""A Loop is a layer only where it runs once for each step, one after the other."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import NodeProto, helper

from isslim.compress.onnx.model.layouts import Layout
from isslim.compress.onnx.model.split_model import SplitModel
from isslim.compress.onnx.normalise.cells.counting import RUN, Count, Counting
from isslim.compress.onnx.normalise.cells.forms import NotACell
from tests.compress.onnx.normalise.cells.keras_loops import KerasLayer
from tests.compress.onnx.normalise.cells.loops import inner, read


def counting(*nodes: NodeProto, **constants: object) -> Counting:
    makers = {name: node for node in nodes for name in node.output}
    arrays = {name: np.array(value) for name, value in constants.items()}
    return Counting(makers, arrays, {"t": Layout((7, "B", 4))}, {"run": RUN})


def test_sizes_are_followed_to_the_tensor_that_has_them() -> None:
    known = counting(
        helper.make_node("Transpose", ["x"], ["turned"], perm=[1, 0, 2]),
        helper.make_node("Shape", ["turned"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["cast"], to=6),
        helper.make_node("Slice", ["cast", "zero", "one", "zero"], ["some"]),
        helper.make_node("Squeeze", ["some", "zero"], ["steps"]),
        helper.make_node("Add", ["steps", "run"], ["sum"]),
        helper.make_node("Add", ["steps", "steps"], ["twice"]),
        zero=[0],
        one=[1],
    )
    assert known.count("steps") == Count(0, ("x", 1), 0) == known.length("turned", 0)
    assert known.count("sum") == Count(1, ("x", 1), 0)
    assert known.count("twice") is None
    assert known.length("t", 0) == Count(0, None, 7)


def test_what_is_no_whole_number_is_not_counted() -> None:
    known = counting(half=0.5, several=[1, 2], three=3.0)
    assert [known.count(name) for name in ("half", "several", "elsewhere")] == [None] * 3
    assert known.count("three") == Count(0, None, 3)


def another_end(parts: SplitModel, loop: NodeProto) -> None:
    loop.input[0] = "other"
    parts.constants["other"] = np.array(5, np.int64)


def earlier(parts: SplitModel, loop: NodeProto) -> None:
    """The condition ends it one step early: run + 2 < steps."""
    less = inner(loop, "Less", 1)
    add = inner(loop, "Add")
    parts.constants["two"] = np.array(2, np.int32)
    body = loop.attribute[0].g
    body.node.insert(0, helper.make_node("Add", [add.input[0], "two"], ["later"]))
    body.node.insert(1, helper.make_node("Cast", ["later"], ["later_float"], to=1))
    less.input[0] = "later_float"


def condition_of_data(parts: SplitModel, loop: NodeProto) -> None:
    loop.input[1] = "go"
    port = parts.structure.graph.input.add()
    port.CopyFrom(helper.make_tensor_value_info("go", 9, []))


@pytest.mark.parametrize("change", [another_end, earlier, condition_of_data])
def test_a_loop_that_may_run_otherwise_is_left(change) -> None:  # type: ignore[no-untyped-def]
    read(KerasLayer())
    with pytest.raises(NotACell, match="how often it runs is not shown"):
        read(KerasLayer(), change)

"""Attributes of nodes: values, defaults, and refusals of another type."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import NodeProto, helper, numpy_helper

from isslim.compress.errors import GraphNotUnderstood
from isslim.compress.onnx.model.attributes import (
    get_float,
    get_floats,
    get_graph,
    get_int,
    get_ints,
    get_string,
    get_strings,
    get_tensor,
    remove_attribute,
    set_attribute,
    subgraphs,
)

BRANCH = helper.make_graph([], "branch", [], [])
TENSOR = numpy_helper.from_array(np.array([1.5], np.float32), "t")


def node(**attributes: object) -> NodeProto:
    return helper.make_node("Some", ["x"], ["y"], name="n", **attributes)


def test_values_are_read_as_what_they_are() -> None:
    full = node(i=3, ii=[1, 2], f=0.5, ff=[0.5, 1.5], s="one", ss=["a", "b"], t=TENSOR, g=BRANCH)
    assert get_int(full, "i", 9) == 3
    assert get_ints(full, "ii") == [1, 2]
    assert get_float(full, "f", 9.0) == 0.5
    assert get_floats(full, "ff") == [0.5, 1.5]
    assert get_string(full, "s", "none") == "one"
    assert get_strings(full, "ss") == ["a", "b"]
    assert get_tensor(full, "t") == TENSOR
    assert get_graph(full, "g").name == "branch"
    assert [graph.name for graph in subgraphs(full)] == ["branch"]


def test_what_is_left_out_is_its_default() -> None:
    empty = node()
    assert get_int(empty, "i", 9) == 9
    assert get_ints(empty, "ii") is None
    assert get_float(empty, "f", 9.0) == 9.0
    assert get_floats(empty, "ff") == []
    assert get_string(empty, "s", "none") == "none"
    assert get_strings(empty, "ss") is None
    assert get_tensor(empty, "t") is None
    assert subgraphs(empty) == []
    with pytest.raises(GraphNotUnderstood, match="'n', a Some, has no g"):
        get_graph(empty, "g")


@pytest.mark.parametrize(
    "read",
    [
        lambda n: get_int(n, "a", 0),
        lambda n: get_ints(n, "a"),
        lambda n: get_floats(n, "a"),
        lambda n: get_string(n, "a", ""),
        lambda n: get_strings(n, "a"),
        lambda n: get_tensor(n, "a"),
        lambda n: get_graph(n, "a"),
    ],
)
def test_another_type_is_refused_and_not_taken_for_zero(
    read: Callable[[NodeProto], object],
) -> None:
    with pytest.raises(GraphNotUnderstood, match="attribute 'a' is of another type"):
        read(node(a=1.5))


def test_a_whole_number_is_no_float() -> None:
    with pytest.raises(GraphNotUnderstood):
        get_float(node(a=1), "a", 0.0)


def test_texts_that_are_no_utf8_are_read_all_the_same() -> None:
    assert get_string(node(s=b"a\xff"), "s", "") == "a\N{REPLACEMENT CHARACTER}"


def test_setting_replaces_and_removing_leaves_the_others() -> None:
    changed = node(a=1, b=2)
    set_attribute(changed, "a", [4, 5])
    assert [each.name for each in changed.attribute] == ["b", "a"]
    assert get_ints(changed, "a") == [4, 5]
    remove_attribute(changed, "b")
    remove_attribute(changed, "b")  # it is gone already
    assert [each.name for each in changed.attribute] == ["a"]

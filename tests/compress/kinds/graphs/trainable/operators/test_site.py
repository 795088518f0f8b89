"""What a maker learns of its node."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import helper

from isslim.compress.kinds.graphs.trainable.operators.site import Site, Unsupported, axis_of


def site(inputs: list[str], **attributes: object) -> Site:
    node = helper.make_node("Any", inputs, ["y", "", "z"], **attributes)
    return Site(node, 17, {"known": np.array([[2], [3]])}, {})


def test_whole_numbers_come_from_an_attribute_a_constant_or_the_run() -> None:
    later = torch.tensor([5, 6])
    assert site(["x", "later"], axes=[1]).numbers(1, "axes")(later) == [1]
    assert site(["x", "known"]).numbers(1, "axes")(later) == [2, 3]
    assert site(["x", "later"]).numbers(1, "axes")(later) == [5, 6]
    assert site(["x"]).numbers(1, "axes")(None) is None


def test_what_is_given_and_what_is_wanted() -> None:
    seen = site(["x", "", "known"])
    assert [seen.is_given(at) for at in range(4)] == [True, False, True, False]
    assert [seen.is_wanted(at) for at in range(4)] == [True, False, True, False]


def test_setting_of_another_value_is_refused_with_its_name() -> None:
    site(["x"], layout=0).refuse_unless("layout", 0)
    site(["x"]).refuse_unless("layout", 0)
    with pytest.raises(Unsupported, match="its layout is 1; only 0 is supported"):
        site(["x"], layout=1).refuse_unless("layout", 0)


def test_axes_are_counted_from_the_front() -> None:
    assert [axis_of(axis, 3) for axis in (0, 2, -1, -3)] == [0, 2, 2, 0]

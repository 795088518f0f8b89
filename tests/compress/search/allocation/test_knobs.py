"""What a plan may size: its axes, each in the plan's own order, or groups that keep one size."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.pruning.axes import NetworkAxes
from isslim.compress.pruning.ranking import RemovalPlan
from isslim.compress.search.allocation.knobs import knobs_of

AXES = NetworkAxes({"a": 4, "b": 4, "c": 3}, {}, (), {})
ORDER = (("a", 3), ("c", 0), ("b", 1), ("a", 0), ("b", 2))
PLAN = RemovalPlan(
    {}, AXES, AXES, ORDER, np.ones(5), {}, costs=np.array([1.0, 2.0, 4.0, 8.0, 16.0])
)


def test_each_axis_keeps_its_order_and_its_costs_add_up() -> None:
    a, c, b = knobs_of(PLAN)
    assert [knob.axes for knob in (a, b, c)] == [("a",), ("b",), ("c",)]
    assert (a.steps, b.steps, c.steps) == (((3,), (0,)), ((1,), (2,)), ((0,),))
    assert [knob.costs.tolist() for knob in (a, b, c)] == [[0, 1, 9], [0, 4, 20], [0, 2]]
    assert a.removed(0, 2) == [("a", 3), ("a", 0)]
    assert a.removed(1, 2) == [("a", 0)]
    assert a.sizes(1) == {"a": 3}


def test_axes_of_a_group_go_together() -> None:
    both, c = knobs_of(PLAN, [["a", "b"], ["c", "d"]])
    assert both.axes == ("a", "b")
    assert both.steps == ((3, 1), (0, 2))
    assert both.costs.tolist() == [0, 5, 29]
    assert both.removed(0, 1) == [("a", 3), ("b", 1)]
    assert both.sizes(2) == {"a": 2, "b": 2}
    assert c.axes == ("c",)  # of a group that does not shrink as a whole


def test_without_costs_all_components_cost_alike() -> None:
    plan = RemovalPlan({}, AXES, AXES, ORDER, np.ones(5), {})
    assert knobs_of(plan)[0].costs == pytest.approx([0, 1, 2])

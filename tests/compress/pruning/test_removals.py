"""Steps of removal and their prices: of one axis, of several together, of a narrow layer."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.pruning.removals import Removal, by_loss, groups_of, in_one_piece, removals_of
from isslim.compress.pruning.selection import RemovalOrder


def steps(losses: list[float], saving: float = 2.0) -> list[Removal]:
    order = RemovalOrder("rank", np.arange(len(losses)), np.array(losses))
    return removals_of(("rank",), [order], saving)


def test_a_group_loses_a_component_of_each_of_its_axes() -> None:
    one = RemovalOrder("a", np.array([3, 1]), np.array([0.5, 1.0]))
    other = RemovalOrder("b", np.array([0, 2]), np.array([0.1, 2.0]))
    assert removals_of(("a", "b"), [one, other], 4.0) == [
        Removal(0.15, 0, ("a", "b"), (3, 0), 4.0, 0.6),
        Removal(0.75, 1, ("a", "b"), (1, 2), 4.0, 3.0),
    ]
    assert groups_of(["a", "b", "c"], [["a", "b"]]) == [("a", "b"), ("c",)]
    assert groups_of(["a", "c"], [["a", "b"]]) == [("c",)]


def test_a_principal_basis_goes_from_its_end() -> None:
    order = by_loss("rank", np.array([9.0, 4.0, 1.0, 0.5]), 2)
    assert order.axis == "rank"
    assert order.components.tolist() == [3, 2]
    assert order.costs.tolist() == [0.5, 1.0]


@pytest.mark.parametrize("hump", [0.5, 3.0, 5.9, 8.1])
def test_the_first_of_a_narrow_layer_go_together_at_the_lowest_price(hump: float) -> None:
    losses = [0.01, 0.02, 0.05, 0.6, 3.0, 5.0]
    found = in_one_piece(steps(losses), hump)
    prices = [
        (sum(losses[:count]) / (2.0 * count - hump), count)
        for count in range(1, 7)
        if 2.0 * count > hump
    ]
    price, count = min(prices)
    assert [each.components for each in found] == [(each,) for each in range(6)]
    assert [each.loss for each in found] == losses
    assert [each.cost for each in found[:count]] == pytest.approx([price] * count)
    assert sum(each.saving for each in found[:count]) == pytest.approx(2.0 * count - hump)
    assert [each.cost for each in found[count:]] == [loss / 2.0 for loss in losses[count:]]
    # Nothing behind them is cheaper, so that they go first.
    assert all(each.cost >= price for each in found[count:])


def test_without_a_hump_nothing_changes_and_what_never_pays_does_not_go() -> None:
    plain = steps([0.1, 0.2])
    assert in_one_piece(plain, 0.0) == in_one_piece(plain, -1.0) == plain
    assert in_one_piece(plain, 4.0) == []
    assert in_one_piece([], 4.0) == []

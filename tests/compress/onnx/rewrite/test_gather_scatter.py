"""Rearranged tensors are those that numpy puts together entry by entry."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.onnx.model.split_model import (
    SplitModel,
    merge_constants,
    replace,
    split_constants,
)
from isslim.compress.onnx.rewrite.gather_scatter import Placement, Rearrangement, gather_scatter
from tests.compress.onnx.drawing import Builder
from tests.compress.onnx.proving import run

SHAPE = (2, 3, 4)


def rearranged(change: Rearrangement, opset: int) -> tuple[SplitModel, np.ndarray, np.ndarray]:
    """The model, the tensor that it reads, and what it makes of that."""
    b = Builder(opset)
    x = b.floats("x", SHAPE, list(SHAPE))
    b.node("Neg", [x], ["read"])
    b.output("made", "y")
    parts = split_constants(b.model())
    steps = gather_scatter(parts, "read", "made", change)
    first, last = parts.structure.graph.node
    replace(parts.structure.graph.node, [first, *steps, last])
    return parts, -b.feeds["x"], run(merge_constants(parts), b.feeds)["y"]


def by_hand(value: np.ndarray, change: Rearrangement) -> np.ndarray:
    """Entry by entry."""
    sizes = list(value.shape)
    sizes[change.along] = len(change.placements[0].sources)
    made = np.zeros(sizes, np.float32)
    for place in np.ndindex(*sizes):
        option = place[change.by] if len(change.placements) > 1 else 0
        source = change.placements[option].sources[place[change.along]]
        if source >= 0:
            made[place] = value[(*place[: change.along], source, *place[change.along + 1 :])]
    return made


ORDERS = [[0, 2], [3, -1, 0, -1, 1], [-1, -1], [2, 2, 2]]


@pytest.mark.parametrize("opset", [9, 11, 13, 18])
@pytest.mark.parametrize("order", ORDERS)
def test_entries_stand_where_they_are_put_and_zeros_elsewhere(order: list[int], opset: int) -> None:
    placements = (Placement(np.array(order), SHAPE[2]),)
    change = Rearrangement(2, 0, 3, placements)
    parts, read, found = rearranged(change, opset)
    np.testing.assert_array_equal(found, by_hand(read, change))
    operators = [node.op_type for node in parts.structure.graph.node][1:-1]
    assert operators == (["Pad", "Gather"] if -1 in order else ["Gather"])


@pytest.mark.parametrize("opset", [9, 11, 13, 18])
@pytest.mark.parametrize(("along", "by"), [(2, 0), (1, 0), (0, 2)])
def test_each_index_of_another_dimension_has_an_order_of_its_own(
    along: int, by: int, opset: int
) -> None:
    rng = np.random.default_rng(along)
    orders = rng.integers(-1, SHAPE[along], (SHAPE[by], 5))
    placements = tuple(Placement(order, SHAPE[along]) for order in orders)
    change = Rearrangement(along, by, 3, placements)
    _, read, found = rearranged(change, opset)
    np.testing.assert_array_equal(found, by_hand(read, change))

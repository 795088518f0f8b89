"""Edits whose axes turned out to be several, and the names by which they find their nodes."""

from __future__ import annotations

import pytest
from onnx import helper

from isslim.compress.onnx.model.layouts import Block, Blocks
from isslim.compress.onnx.trace.edits import (
    Bounds,
    Channels,
    Edit,
    Restore,
    Select,
    Shares,
    Target,
    divided,
    key,
)

WHOLE, OTHER = (Block(1, 6),), (Block(None, 2), Block(2, 4))
PARTS = (Block(7, 2), Block(8, 4))


def halves(blocks: Blocks) -> Blocks:
    """Axis 1 in two parts, other blocks as they are."""
    found: list[Block] = []
    for block in blocks:
        found += PARTS if block.axis == 1 else [block]
    return tuple(found)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (Select("n", 1, 2, (WHOLE, OTHER), 0, 3), Select("n", 1, 2, (PARTS, OTHER), 0, 3)),
        (Restore("n", 2, (OTHER, WHOLE), 1, 3), Restore("n", 2, (OTHER, PARTS), 1, 3)),
        (Target("n", 1, ((0, OTHER), (2, WHOLE))), Target("n", 1, ((0, OTHER), (2, PARTS)))),
        (
            Bounds("n", ((0, WHOLE, OTHER), (1, OTHER, WHOLE))),
            Bounds("n", ((0, PARTS, OTHER), (1, OTHER, PARTS))),
        ),
        (Shares("n", (WHOLE, OTHER)), Shares("n", (PARTS, OTHER))),
        (Channels("n", WHOLE), Channels("n", PARTS)),
    ],
)
def test_blocks_of_an_edit_are_divided_wherever_they_stand(edit: Edit, expected: Edit) -> None:
    assert divided(edit, halves) == expected


def test_node_is_found_by_the_first_output_that_it_gives() -> None:
    assert key(helper.make_node("LSTM", ["x"], ["", "h"])) == "h"

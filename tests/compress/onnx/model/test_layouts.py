"""Dimensions and the blocks they are made of."""

from __future__ import annotations

import pytest

from isslim.compress.onnx.model.layouts import (
    Block,
    Blocks,
    Layout,
    PerIndexAxes,
    as_blocks,
    block_boundaries,
    blocks_of,
    size,
    slice_blocks,
    split_blocks,
)

FORWARD, BACKWARD = (Block(1, 4, "y", True),), (Block(2, 4, "y", True),)
PLAIN = (Block(None, 3), Block(5, 2), Block(None, 1))
STEPS = Layout(("T", 2, "B", FORWARD), PerIndexAxes(1, 3, (FORWARD, BACKWARD)))


def test_sizes_and_axes() -> None:
    assert [size(dim) for dim in (7, "T", PLAIN)] == [7, "T", 6]
    assert [blocks_of(dim) for dim in (7, "T", PLAIN)] == [(), (), PLAIN]
    assert [as_blocks(dim) for dim in (7, "T", PLAIN)] == [(Block(None, 7),), None, PLAIN]
    assert STEPS.rank == 4
    assert STEPS.labelled() == [3]
    assert STEPS.axes() == [1, 1, 2]
    assert Layout((3, (Block(None, 4),))).labelled() == []


def test_dimensions_are_moved_with_what_names_them() -> None:
    moved = STEPS.moved([2, 3, None, 0, 1])
    assert moved.dims == ("B", FORWARD, 1, "T", 2)
    assert moved.per_index == PerIndexAxes(4, 1, (FORWARD, BACKWARD))
    assert Layout((1, 2)).moved([1]) == Layout((2,))
    with pytest.raises(ValueError, match="not in list"):
        STEPS.moved([0, 2, 3])


@pytest.mark.parametrize(("zero", "before", "after"), [(True, True, True), (True, False, False),
                                                       (False, True, False)])  # fmt: skip
def test_a_tensor_that_shows_other_values_is_zero_only_where_both_are(
    zero: bool, before: bool, after: bool
) -> None:
    blocks = (Block(1, 4, "y", before),)
    layout = Layout((3, blocks), PerIndexAxes(0, 1, (blocks, blocks)))
    marked = layout.marked("z", zero_preserving=zero)
    expected = (Block(1, 4, "z", after),)
    assert marked == Layout((3, expected), PerIndexAxes(0, 1, (expected, expected)))
    assert layout.marked(None, zero_preserving=True) == layout


def test_blocks_are_replaced_in_every_option() -> None:
    def doubled(blocks: Blocks) -> Blocks:
        return blocks * 2

    made = STEPS.divided(doubled)
    assert made.dims == ("T", 2, "B", FORWARD * 2)
    assert made.per_index == PerIndexAxes(1, 3, (FORWARD * 2, BACKWARD * 2))
    assert STEPS.with_dim(0, 9).dims == (9, 2, "B", FORWARD)
    assert STEPS.with_dim(0, 9).per_index == STEPS.per_index


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0, 6, PLAIN),
        (1, 5, (Block(None, 2), Block(5, 2))),
        (3, 5, (Block(5, 2),)),
        (0, 4, None),  # it would take one of two components
        (2, 2, ()),
        (5, 9, (Block(None, 1),)),
    ],
)
def test_a_slice_takes_whole_axes_or_none(start: int, stop: int, expected: Blocks | None) -> None:
    assert slice_blocks(PLAIN, start, stop) == expected


def test_boundaries_and_cuts() -> None:
    assert block_boundaries(PLAIN) == [3, 5, 6]
    assert block_boundaries(()) == []
    assert split_blocks(PLAIN, [1, 3, 5, 8]) == (
        Block(None, 1),
        Block(None, 2),
        Block(5, 2),
        Block(None, 1),
    )

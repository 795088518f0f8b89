"""Dimensions that meet: blocks cut at the same places, axes united, sizes shared."""

from __future__ import annotations

import pytest

from isslim.compress.onnx.model.layouts import Block, Blocks, Layout, PerIndexAxes
from isslim.compress.onnx.trace.alignment import PARTS_DIFFER, AxisAligner, merged_zeros
from isslim.compress.onnx.trace.pool import AxisUnionFind
from isslim.compress.onnx.trace.types import Unfollowable


def aligner(*axes: tuple[int, bool]) -> tuple[AxisAligner, list[Block]]:
    """An aligner, and a block for each axis that is given by its size and whether it has units."""
    pool = AxisUnionFind()
    blocks = []
    for size, recurrent in axes:
        blocks.append(Block(pool.new(f"axis{size}", size, recurrent=recurrent), size))
    return AxisAligner(pool), blocks


def sizes(blocks: Blocks) -> list[int]:
    return [block.size for block in blocks]


def test_axis_of_a_matrix_is_divided_where_units_end_again_and_again() -> None:
    axes, (wide, four, six, five) = aligner((10, False), (4, True), (6, True), (5, False))
    aligned = axes.align_blocks([(wide,), (four, six)])
    assert [sizes(blocks) for blocks in aligned] == [[4, 6], [4, 6]]
    # The second part is divided once more, by an axis that ends in it; that one is divided too.
    again = axes.align_blocks([(wide,), (five, Block(None, 5))])
    assert [sizes(blocks) for blocks in again] == [[4, 1, 5], [4, 1, 5]]
    assert sizes(axes.refined((wide, five))) == [4, 1, 5, 4, 1]


def test_numbers_without_an_axis_are_cut_where_others_end() -> None:
    axes, (units,) = aligner((4, True))
    aligned = axes.align_blocks([(units, Block(None, 2)), (Block(None, 6),)])
    assert [[(b.axis, b.size) for b in blocks] for blocks in aligned] == [
        [(units.axis, 4), (None, 2)],
        [(None, 4), (None, 2)],
    ]


def test_units_are_not_divided() -> None:
    axes, (ten, four, six) = aligner((10, True), (4, True), (6, True))
    with pytest.raises(Unfollowable, match=PARTS_DIFFER):
        axes.align_blocks([(ten,), (four, six)])


def test_one_axis_in_two_dimensions_is_divided_in_both() -> None:
    axes, (wide, four, six) = aligner((10, False), (4, True), (6, True))
    doubled = axes.align_blocks([(wide, wide), (four, six, four, six)])
    assert [sizes(blocks) for blocks in doubled] == [[4, 6, 4, 6]] * 2
    assert doubled[0][:2] == doubled[0][2:]


def test_united_dimensions_are_of_the_same_axes_block_by_block() -> None:
    axes, (one, two, three, four) = aligner((4, True), (6, True), (4, False), (6, True))
    axes.unite((one, two), (three, four))
    assert axes.pool.find(three.axis or 0) == one.axis
    assert axes.pool.find(four.axis or 0) == two.axis
    assert axes.same_axes((one, two), (three, four))
    assert not axes.same_axes((one, two), (two, one))


def test_units_that_meet_numbers_that_stay_stay() -> None:
    axes, (one, two) = aligner((4, True), (4, True))
    axes.unite((one,), (Block(None, 4),))
    axes.unite((Block(None, 4),), (two,))
    axes.unite((Block(None, 4),), (Block(None, 4),))
    for block in (one, two):
        reasons = axes.pool.reasons(block.axis or 0)
        assert [reason.text for reason in reasons] == [
            "it meets a tensor part of which stays as it is"
        ]


def test_blocks_of_other_sizes_are_not_united() -> None:
    axes, (four, six) = aligner((4, True), (6, True))
    with pytest.raises(Unfollowable, match=PARTS_DIFFER):
        axes.unite((four, six), (six, four))


def test_axes_for_each_index_share_a_size_and_become_one_when_asked() -> None:
    axes, (one, two, three) = aligner((4, True), (4, True), (4, True))
    per_index = PerIndexAxes(0, 2, ((one,), (two,)))
    layout = axes.with_per_index_axes(Layout((2, "B", 4)), per_index)
    assert layout.per_index == per_index
    assert layout.dims[2] == (one,)
    assert axes.pool.groups() == [[0, 1], [2]]
    plain = axes.without_per_index_axes(layout)
    assert plain.per_index is None
    assert axes.pool.find(1) == 0
    assert axes.pool.find(three.axis or 0) == 2


def test_a_single_option_is_no_choice() -> None:
    axes, (one,) = aligner((4, True))
    layout = axes.with_per_index_axes(Layout((1, "B", 4)), PerIndexAxes(0, 2, ((one,),)))
    assert layout == Layout((1, "B", (one,)))
    assert axes.without_per_index_axes(layout) is layout


@pytest.mark.parametrize("other", [((6, True), 0), ((4, True), 2)])
def test_rows_of_a_stack_must_have_the_same_outline(other: tuple[tuple[int, bool], int]) -> None:
    kind, more = other
    axes, (one, two) = aligner((4, True), kind)
    second = (two, Block(None, more)) if more else (two,)
    with pytest.raises(Unfollowable, match="lie differently are stacked"):
        axes.with_per_index_axes(Layout((2, 4)), PerIndexAxes(0, 1, ((one,), second)))


def test_zero_of_several_options_is_that_of_all() -> None:
    quiet, loud = Block(0, 4, "a", True), Block(1, 4, "b", False)
    assert merged_zeros([(quiet, quiet), (quiet, loud)]) == (quiet, Block(0, 4, "a", False))

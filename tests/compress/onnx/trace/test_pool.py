"""Axes that become one, share a size, are divided, and stay as they are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from isslim.compress.onnx.trace.pool import AxisUnionFind, PinReason

PAIRS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=12)


def pool_of(recurrent: list[bool], size: int = 4) -> AxisUnionFind:
    pool = AxisUnionFind()
    for index, each in enumerate(recurrent):
        pool.new(f"axis{index}", size, recurrent=each)
    return pool


def classes(pairs: list[tuple[int, int]]) -> list[set[int]]:
    """What is connected, by following every pair until nothing new is found."""
    found = []
    for start in range(8):
        group, grown = set(), {start}
        while group != grown:
            group = set(grown)
            grown |= {b for pair in pairs for a, b in (pair, pair[::-1]) if a in group}
        found.append(group)
    return found


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    united=PAIRS, tied=PAIRS, pinned=st.sets(st.integers(0, 7)), units=st.sets(st.integers(0, 7))
)
def test_what_holds_for_one_axis_holds_for_all_that_are_one_and_for_their_sizes(
    united: list[tuple[int, int]], tied: list[tuple[int, int]], pinned: set[int], units: set[int]
) -> None:
    pool = pool_of([index in units for index in range(8)])
    for one, other in united:
        pool.unite(one, other)
    for one, other in tied:
        pool.same_size(one, other)
    for axis in pinned:
        pool.pin(axis, PinReason("still"))
    same, sized = classes(united), classes([*united, *tied])
    for axis in range(8):
        assert {other for other in range(8) if pool.find(other) == pool.find(axis)} == same[axis]
        assert pool.is_recurrent(axis) == bool(same[axis] & units)
        assert bool(pool.reasons(axis)) == bool(same[axis] & pinned)
    pool.finalize()
    for axis in range(8):
        # Of axes that share a size all may shrink, or none.
        free = all(same[each] & units and not same[each] & pinned for each in sized[axis])
        assert pool.is_prunable(axis) == free
    for group in pool.groups():
        assert {pool.find(axis) for axis in group} == set(group)
        expected = sized[group[0]]
        assert {pool.find(axis) for axis in expected} == set(group)


def test_whole_goes_by_the_name_of_the_first_layer_whose_units_it_has() -> None:
    pool = pool_of([False, True, True])
    pool.unite(0, 2)
    assert pool.name(0) == "axis2"
    pool.unite(2, 1)
    assert pool.name(1) == "axis2"
    assert pool.members() == [["axis1", "axis2"]] or pool.members() == [["axis2", "axis1"]]


def test_axes_that_become_one_bring_their_reasons_and_the_sizes_that_they_share() -> None:
    pool = pool_of([True, True, True, True])
    pool.pin(1, PinReason("still"))
    pool.unite(0, 1)
    assert [str(reason) for reason in pool.reasons(0)] == ["still"]
    pool.same_size(3, 2)
    pool.unite(1, 3)
    pool.finalize()
    assert not pool.is_prunable(2)
    other = pool_of([True, True, True])
    other.same_size(1, 2)
    other.unite(0, 1)
    assert other.groups() == [[0, 2]]


def test_reason_is_given_once_and_told_with_its_path() -> None:
    pool = pool_of([True])
    reason = PinReason("it may not", ("LSTM 'a'", "Tanh 'b'"))
    for _ in range(2):
        pool.pin(0, reason)
    assert list(map(str, pool.reasons(0))) == ["it may not (LSTM 'a' -> Tanh 'b')"]
    assert str(PinReason("it may not")) == "it may not"


def test_axis_that_shares_a_size_with_one_that_stays_stays_and_says_with_which() -> None:
    pool = pool_of([True, True, True])
    pool.same_size(0, 1)
    pool.pin(1, PinReason("still"))
    pool.finalize()
    text = "it shares its size with 'axis1', which stays as it is"
    assert [str(reason) for reason in pool.reasons(0)] == [text]
    assert pool.is_prunable(2)
    assert pool.groups() == [[2]]


def test_single_unit_stays() -> None:
    pool = pool_of([True], size=1)
    pool.finalize()
    assert [str(reason) for reason in pool.reasons(0)] == ["it has a single unit"]


def test_parts_of_a_divided_axis_keep_its_reasons_and_have_sizes_of_their_own() -> None:
    pool = pool_of([False, False], size=6)
    pool.unite(0, 1)
    pool.pin(1, PinReason("still"))
    pool.divide(1, [2, 4])
    assert pool.parts(0) == pool.parts(1) == (2, 3)
    assert [pool.size(part) for part in pool.parts(0)] == [2, 4]
    assert [str(reason) for reason in pool.reasons(3)] == ["still"]
    assert pool.parts(2) == ()
    assert pool.count() == 4


def test_axis_that_begins_at_matrices_may_shrink_once_it_is_offered_and_has_no_reason() -> None:
    pool = pool_of([False, False, False, True])
    pool.unite(0, 1)
    assert not pool.is_removable(0)
    pool.offer(1)
    pool.offer(2)
    pool.pin(2, PinReason("still"))
    pool.finalize()
    assert [axis for axis in range(4) if pool.is_removable(axis)] == [0, 1, 2, 3]
    assert [axis for axis in range(4) if pool.is_prunable(axis)] == [0, 1, 3]
    assert pool.members() == [["axis0", "axis1"], ["axis2"], ["axis3"]]
    assert pool.groups() == [[0], [3]]

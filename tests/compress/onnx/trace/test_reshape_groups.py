"""Groups of dimensions of a Reshape, compared with where numpy puts every entry."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from isslim.compress.onnx.model.symbols import multiplied
from isslim.compress.onnx.trace.reshape_groups import reshape_groups

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=5)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(before=SIZES, data=st.data())
def test_dimensions_of_a_group_tell_those_that_they_become(
    before: list[int], data: st.DataObject
) -> None:
    after, left = [], int(np.prod(before))
    for _ in range(data.draw(st.integers(0, 4))):
        divisors = [d for d in range(1, left + 1) if left % d == 0]
        after.append(data.draw(st.sampled_from(divisors)))
        left //= after[-1]
    after.append(left)
    # Some sizes are not known by number; the same name stands for the same size on both sides.
    hidden = data.draw(st.sets(st.integers(1, 4)))
    named_before = [f"n{size}" if size in hidden else size for size in before]
    named_after: list = [f"n{size}" if size in hidden else size for size in after]
    if data.draw(st.booleans()):
        named_after[data.draw(st.integers(0, len(after) - 1))] = -1
    groups = reshape_groups(named_before, named_after)

    assert [i for ins, _ in groups for i in ins] == list(range(len(before)))
    assert [o for _, outs in groups for o in outs] == list(range(len(after)))
    places_before = np.indices(before).reshape(len(before), -1)
    places_after = np.indices(after).reshape(len(after), -1)
    for ins, outs in groups:
        # Within a group the entries keep their order: their number, counted in both ways, is the
        # same.
        one = np.ravel_multi_index(places_before[ins], [before[i] for i in ins]) if ins else 0
        other = np.ravel_multi_index(places_after[outs], [after[o] for o in outs]) if outs else 0
        np.testing.assert_array_equal(one, other)


def test_the_forms_of_exporters_are_told_apart_as_finely_as_they_can_be() -> None:
    assert reshape_groups(["T", "B", 2, 16], ["T", "B", -1]) == [
        ([0], [0]),
        ([1], [1]),
        ([2, 3], [2]),
    ]
    assert reshape_groups(["T", "B", 16], [-1, 16]) == [([0, 1], [0]), ([2], [1])]
    assert reshape_groups([1, "B", 16], ["B", 16]) == [([0], []), ([1], [0]), ([2], [1])]
    assert reshape_groups(["T", "B", 32], ["?", "?", 2, 16]) == [([0, 1], [0, 1]), ([2], [2, 3])]
    assert reshape_groups(["T", "B", 16], [multiplied(["B", "T"]), -1]) == [
        ([0, 1], [0]),
        ([2], [1]),
    ]
    assert reshape_groups([multiplied(["B", "T"]), 16], ["T", "B", -1]) == [
        ([0], [0, 1]),
        ([1], [2]),
    ]
    assert reshape_groups([5, 3, 8], [5, 24]) == [([0], [0]), ([1, 2], [1])]

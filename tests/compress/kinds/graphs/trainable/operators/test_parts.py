"""Ranges, entries and pieces, in torch and in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compress.kinds.graphs.trainable.same import floats, one

LARGEST, SMALLEST = 2**63 - 1, -(2**63)


def test_joined() -> None:
    one("Concat", floats(2, 3), floats(2, 1, seed=1), floats(2, 2, seed=2), axis=-1)


@pytest.mark.parametrize("opset", [11, 13])
def test_split_by_sizes_and_equally(opset: int) -> None:
    if opset == 13:
        one("Split", floats(2, 6), [1, 3, 2], outputs=3, axis=1)
        one("Split", floats(2, 7), opset=18, outputs=3, axis=1, num_outputs=3)
    else:
        one("Split", floats(2, 6), opset=opset, outputs=3, axis=1, split=[1, 3, 2])
    one("Split", floats(6, 2), opset=opset, outputs=3)


@pytest.mark.parametrize(
    ("start", "end", "step"),
    [(1, 4, 1), (-3, LARGEST, 1), (0, -1, 2), (4, 1, 1), (9, 12, 1), (-1, SMALLEST, -1), (4, 0, -2),
     (1, 3, -1), (-20, 3, 1)],
)  # fmt: skip
def test_range_is_that_of_python(start: int, end: int, step: int) -> None:
    one("Slice", floats(2, 5), [start], [end], [-1], [step])
    one("Slice", floats(2, 5), *(np.array([each]) for each in (start, end, 1, step)))


def test_ranges_of_several_dimensions_and_by_attribute() -> None:
    one("Slice", floats(3, 5), [1, 0], [3, -2])
    one("Slice", floats(3, 5), opset=9, starts=[1], ends=[9], axes=[1])


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("index", [2, [1, -1], [[0, -2], [1, 1]]], ids=str)
def test_entries_along_an_axis(index: object, axis: int) -> None:
    one("Gather", floats(3, 4, 3), index, axis=axis)


def test_entries_that_the_data_name() -> None:
    one("Gather", floats(3, 4), np.array([[2, -1]]), axis=1)


def test_an_entry_for_each_place() -> None:
    one("GatherElements", floats(2, 4), [[0, -1, 3], [1, 1, -4]], axis=1)


@pytest.mark.parametrize(
    ("index", "shared"), [([[0, 1], [-1, -2]], 0), ([[1], [-1]], 1), ([[[0], [2]], [[1], [1]]], 1)]
)
def test_blocks_at_places(index: object, shared: int) -> None:
    one("GatherND", floats(2, 3, 4), index, batch_dims=shared)


@pytest.mark.parametrize("axis", [None, 1], ids=str)
def test_entries_under_a_condition(axis: int | None) -> None:
    condition = np.array([True, False, True])
    one("Compress", floats(2, 3), condition, **({} if axis is None else {"axis": axis}))

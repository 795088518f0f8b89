"""Entries written at places, in torch and in ONNX Runtime."""

from __future__ import annotations

import pytest

from tests.compress.kinds.graphs.trainable.same import floats, one

REDUCTIONS = ["none", "add", "mul", "max", "min"]


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_entries_are_written_or_combined(reduction: str) -> None:
    index = [[0, -1], [2, 1]]
    x, values = floats(2, 4), floats(2, 2, seed=1)
    one("ScatterElements", x, index, values, opset=18, axis=1, reduction=reduction)


def test_entries_are_written_before_opset_11() -> None:
    one("Scatter", floats(2, 4), [[0, 3], [2, 1]], floats(2, 2, seed=1), opset=10, axis=1)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("index", [[[1], [-3]], [[0, 1], [2, -4]]], ids=["rows", "entries"])
def test_blocks_are_written_or_combined(index: list[list[int]], reduction: str) -> None:
    values = floats(2, 4, seed=1) if len(index[0]) == 1 else floats(2, seed=1)
    one("ScatterND", floats(3, 4), index, values, opset=18, reduction=reduction)


def test_what_is_written_twice_is_added_twice() -> None:
    values = floats(2, 4, seed=1)
    one("ScatterND", floats(3, 4), [[1], [1]], values, opset=18, reduction="add")

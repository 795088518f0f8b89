"""Reductions, softmax, extremes and running sums, in torch and in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from tests.compress.kinds.graphs.trainable.same import floats, one

REDUCTIONS = (
    *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"),
    *("ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"),
)
POSITIVE = np.abs(floats(2, 3, 4)) + np.float32(0.1)


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", [[1], [0, -1], None], ids=str)
@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("operator", REDUCTIONS)
def test_reduction_along_axes_in_an_attribute_or_an_input(
    operator: str, opset: int, axes: list[int] | None, keep: int
) -> None:
    if opset >= 18:
        one(operator, POSITIVE, axes, opset=opset, keepdims=keep)
    else:
        named = {} if axes is None else {"axes": axes}
        one(operator, POSITIVE, opset=opset, keepdims=keep, **named)


def test_no_axes_may_mean_none() -> None:
    one("ReduceSum", POSITIVE, [], noop_with_empty_axes=1)
    one("ReduceL1", -POSITIVE, None, opset=18, noop_with_empty_axes=1)


@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMax", "ReduceMean", "ReduceProd"])
def test_whole_numbers_stay_whole_and_one_number_is_reduced_to_itself(operator: str) -> None:
    whole = np.array([[2, 3], [-4, 5]], np.int64)
    if operator != "ReduceMean":  # which ONNX Runtime has for few types
        one(operator, whole, opset=13, kinds=[TensorProto.INT64])
    one(operator, np.array(1.5, np.float32), opset=13)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax", "Hardmax"])
def test_normalised_along_one_dimension_or_before_opset_13_all_from_it_on(
    operator: str, opset: int, axis: int
) -> None:
    one(operator, floats(2, 3, 4), opset=opset, axis=axis)


@pytest.mark.parametrize("opset", [11, 13])
def test_normalised_along_the_default(opset: int) -> None:
    one("Softmax", floats(2, 3, 4), opset=opset)


@pytest.mark.parametrize("settings", [{}, {"keepdims": 0}, {"select_last_index": 1, "axis": -1}])
@pytest.mark.parametrize("operator", ["ArgMax", "ArgMin"])
def test_position_of_an_extreme_the_first_or_the_last_of_equal_ones(
    operator: str, settings: dict[str, Any]
) -> None:
    equal = np.array([[1, 3, 3], [0, 0, 2]], np.float32)
    one(operator, equal, kinds=[TensorProto.INT64], **settings)


@pytest.mark.parametrize("largest", [0, 1])
def test_largest_of_equal_numbers_come_in_their_order(largest: int) -> None:
    equal = np.array([[1, 3, 3, 2], [0, 0, 2, 0]], np.float32)
    kinds = [TensorProto.FLOAT, TensorProto.INT64]
    one("TopK", equal, [3], outputs=2, kinds=kinds, largest=largest)


@pytest.mark.parametrize("settings", [{}, {"exclusive": 1}, {"reverse": 1, "exclusive": 1}])
def test_running_sums(settings: dict[str, int]) -> None:
    one("CumSum", floats(2, 5), 1, **settings)

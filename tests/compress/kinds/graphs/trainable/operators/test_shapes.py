"""Shapes, and tensors of a shape, in torch and in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from isslim.compress.errors import NotTrainable
from isslim.compress.kinds.graphs.trainable.network import TorchGraph
from tests.compress.kinds.graphs.trainable.same import assert_same, built, floats, one
from tests.compress.onnx.drawing import Builder

WHOLE = [TensorProto.INT64]


@pytest.mark.parametrize("part", [{}, {"start": 1}, {"start": -2, "end": -1}], ids=str)
def test_shape_or_a_part_of_it(part: dict[str, int]) -> None:
    one("Shape", floats(2, 3, 4), kinds=WHOLE, **part)


def test_number_of_entries() -> None:
    one("Size", floats(2, 3), kinds=WHOLE)


def test_sizes_that_are_computed_stay_exact() -> None:
    """Whole numbers above 2**53 are none in float64."""
    b = Builder()
    x = b.floats("x", (2, 3), [None, None])
    product = b.node("Mul", [b.node("Shape", [x]), b.constant([2**60 + 1, 2**60 + 3])])
    assert_same(built(b, product, kinds=WHOLE), b.feeds, 0.0)


@pytest.mark.parametrize("value", [None, ("value", TensorProto.INT64, [7])], ids=["zero", "seven"])
def test_filled(value: Any) -> None:
    more = {} if value is None else {"value": helper.make_tensor(value[0], value[1], [1], value[2])}
    one("ConstantOfShape", np.array([2, 3]), kinds=WHOLE if value else [TensorProto.FLOAT], **more)


@pytest.mark.parametrize("shape", [[2, 3, 4], [1, 1], [2, 1, 4]], ids=str)
def test_expanded(shape: list[int]) -> None:
    one("Expand", floats(3, 1), shape)


def test_tiled() -> None:
    one("Tile", floats(2, 3), [2, 3])


@pytest.mark.parametrize("bounds", [(1, 9, 3), (5, 0, -2), (3, 3, 1)], ids=str)
@pytest.mark.parametrize("kind", [np.int64, np.float32])
def test_ranges(bounds: tuple[int, int, int], kind: type) -> None:
    kinds = [helper.np_dtype_to_tensor_dtype(np.dtype(kind))]
    one("Range", *(np.array(each, kind) for each in bounds), kinds=kinds)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(axis: int) -> None:
    values = np.array([0.5, 2], np.float32)
    one("OneHot", np.array([[1, -1], [0, 7]]), 3, values, axis=axis)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("diagonal", [None, -1, 1], ids=str)
def test_triangles(upper: int, diagonal: int | None) -> None:
    one("Trilu", floats(2, 3, 4), diagonal, upper=upper)


@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_identity_matrices(offset: int) -> None:
    one("EyeLike", floats(3, 4), k=offset)


def test_where_numbers_are_not_zero() -> None:
    one("NonZero", np.array([[0, 2], [3, 0]], np.float32), kinds=WHOLE)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("opset", [10, 13])
def test_padded_by_attribute_or_input(opset: int, mode: str) -> None:
    pads = [0, 2, 1, 3]
    if opset == 13:
        one("Pad", floats(3, 4), pads, mode=mode)
    else:
        one("Pad", floats(3, 4), opset=opset, mode=mode, pads=pads)


def test_padded_with_a_number_along_some_dimensions_or_cut() -> None:
    number = np.array(0.5, np.float32)
    one("Pad", floats(3, 4), [1, 2], number, [-1], opset=18)
    one("Pad", floats(3, 4), [0, -1, 0, 2], number)
    one("Pad", floats(3, 4), [0, 2, 0, 3], opset=19, mode="wrap")


def test_padding_of_no_known_kind_is_refused() -> None:
    b = Builder()
    y = b.node("Pad", [b.floats("x", (2,), [2]), b.constant([0, 1])], mode="mirror")
    with pytest.raises(NotTrainable, match="its mode mirror is not supported"):
        TorchGraph.of(built(b, y))

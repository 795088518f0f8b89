"""Numbers that are stored as integers, in torch and in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compress.kinds.graphs.trainable.same import floats, one


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("zero", [None, 3])
def test_one_scale(kind: type[np.generic], zero: int | None) -> None:
    stored = np.arange(6, dtype=kind).reshape(2, 3) - kind(1 if kind is np.int8 else 0)
    point = None if zero is None else np.array(zero, kind)
    one("DequantizeLinear", stored, np.array(0.25, np.float32), point)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_scale_of_an_axis(axis: int) -> None:
    stored = np.array([[-128, 5, 127], [0, 1, -2]], np.int8)
    size = stored.shape[axis]
    scale, zero = np.abs(floats(size)) + 0.1, np.arange(size, dtype=np.int8) - np.int8(1)
    one("DequantizeLinear", stored, scale.astype(np.float32), zero, axis=axis)

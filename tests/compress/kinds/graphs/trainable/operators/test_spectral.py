"""Fourier transforms, in torch and in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compress.kinds.graphs.trainable.same import floats, one


@pytest.mark.parametrize("parts", [1, 2], ids=["real", "complex"])
@pytest.mark.parametrize("length", [None, 6, 12], ids=str)
def test_transformed_cut_and_filled_up(length: int | None, parts: int) -> None:
    one("DFT", floats(2, 9, parts), length, axis=1, tolerance=1e-4)
    one("DFT", floats(2, 9, parts), length, 1, opset=20, tolerance=1e-4)


def test_one_side_of_what_is_real() -> None:
    one("DFT", floats(2, 9, 1), axis=1, onesided=1, tolerance=1e-4)


def test_back() -> None:
    one("DFT", floats(2, 9, 2), axis=1, inverse=1, tolerance=1e-4)


@pytest.mark.parametrize("sided", [0, 1])
def test_of_short_times(sided: int) -> None:
    window = np.hanning(8).astype(np.float32)
    one("STFT", floats(2, 30, 1), 4, window, 8, onesided=sided, tolerance=1e-4)
    one("STFT", floats(2, 30, 1), 5, None, 6, onesided=sided, tolerance=1e-4)
    one("STFT", floats(2, 30, 1), 5, window, onesided=sided, tolerance=1e-4)

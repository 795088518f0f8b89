"""Dimensions moved, merged and split, in torch and in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compress.kinds.graphs.trainable.same import floats, one


@pytest.mark.parametrize("order", [None, [2, 0, 1]], ids=str)
def test_transposed(order: list[int] | None) -> None:
    one("Transpose", floats(2, 3, 4), **({} if order is None else {"perm": order}))


@pytest.mark.parametrize("axes", [[0], [0, -2], None], ids=str)
def test_squeezed_by_attribute_or_input(axes: list[int] | None) -> None:
    one("Squeeze", floats(1, 3, 1, 2), axes, opset=13)
    one("Squeeze", floats(1, 3, 1, 2), opset=11, **({} if axes is None else {"axes": axes}))


@pytest.mark.parametrize("axes", [[0], [3, 0], [-1, 1]], ids=str)
def test_unsqueezed_by_attribute_or_input(axes: list[int]) -> None:
    one("Unsqueeze", floats(2, 3), axes, opset=13)
    one("Unsqueeze", floats(2, 3), opset=11, axes=axes)


@pytest.mark.parametrize("axis", [0, 1, 3, -1])
def test_flattened(axis: int) -> None:
    one("Flatten", floats(2, 3, 4), axis=axis)


@pytest.mark.parametrize("shape", [[-1], [0, -1], [4, 0, 2], [2, 3, -1, 2]], ids=str)
def test_reshaped(shape: list[int]) -> None:
    one("Reshape", floats(2, 3, 4), shape)


def test_reshaped_to_a_shape_that_is_computed() -> None:
    one("Reshape", floats(2, 3, 4), np.array([0, -1]))


def test_zero_may_mean_zero() -> None:
    one("Reshape", np.zeros((0, 3), np.float32), [3, 0], allowzero=1)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_channels_become_space(mode: str) -> None:
    one("DepthToSpace", floats(2, 12, 2, 3), blocksize=2, mode=mode)


def test_space_becomes_channels() -> None:
    one("SpaceToDepth", floats(2, 3, 4, 6), blocksize=2)


@pytest.mark.parametrize("time", [0, 1])
def test_sequences_are_reversed_as_far_as_they_go(time: int) -> None:
    lengths = np.array([2, 4, 1], np.int64)
    x = floats(4, 3, 2) if time == 0 else floats(3, 4, 2)
    one("ReverseSequence", x, lengths, time_axis=time, batch_axis=1 - time)

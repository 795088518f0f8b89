"""Resize and Upsample, in torch and in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isslim.compress.errors import NotTrainable
from isslim.compress.kinds.graphs.trainable.network import TorchGraph
from tests.compress.kinds.graphs.trainable.same import built, floats, one
from tests.compress.onnx.drawing import Builder

TRANSFORMATIONS = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
X = floats(1, 2, 5, 6)


def resized(*, scales: Any = None, sizes: Any = None, opset: int = 19, **more: Any) -> None:
    given = None if scales is None else np.array(scales, np.float32)
    one("Resize", X, None, given, sizes, opset=opset, **more)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("scales", [[1, 1, 2, 3], [1, 1, 0.6, 0.5], [1, 1, 1.7, 1]], ids=str)
def test_scaled(mode: str, transformation: str, scales: list[float]) -> None:
    resized(scales=scales, mode=mode, coordinate_transformation_mode=transformation)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("sizes", [[1, 2, 9, 4], [1, 2, 1, 13]], ids=str)
def test_of_a_size(mode: str, sizes: list[int]) -> None:
    for transformation in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"):
        resized(sizes=sizes, mode=mode, coordinate_transformation_mode=transformation)


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_rounded(rounding: str) -> None:
    for transformation in TRANSFORMATIONS:
        more = {"nearest_mode": rounding, "coordinate_transformation_mode": transformation}
        resized(scales=[1, 1, 2, 0.5], mode="nearest", **more)


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
def test_some_dimensions_with_their_ratio_kept_or_not(policy: str) -> None:
    resized(sizes=[7, 12], axes=[2, 3], keep_aspect_ratio_policy=policy)


def test_cubic_weights_may_leave_out_what_is_outside() -> None:
    more = {"cubic_coeff_a": -0.5, "exclude_outside": 1}
    resized(scales=[1, 1, 2, 0.7], mode="cubic", **more)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_of_older_versions(mode: str) -> None:
    scales = np.array([1, 1, 2, 1.5], np.float32)
    one("Resize", X, scales, opset=10, mode=mode)
    one("Upsample", X, scales, opset=9, mode=mode)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"antialias": 1, "mode": "linear"}, "its antialias is 1; only 0 is supported"),
        (
            {"coordinate_transformation_mode": "tf_crop_and_resize"},
            "its tf_crop_and_resize is not supported",
        ),
    ],
)
def test_what_is_not_supported_is_refused(more: dict[str, Any], reason: str) -> None:
    b = Builder(opset=19)
    scales = b.constant([1, 1, 2, 2], np.float32)
    y = b.node("Resize", [b.floats("x", (1, 1, 4, 4), [None] * 4), "", scales], **more)
    with pytest.raises(NotTrainable, match=reason):
        TorchGraph.of(built(b, y))

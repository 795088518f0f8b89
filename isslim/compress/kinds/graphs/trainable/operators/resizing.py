"""Resize and Upsample, dimension by dimension: each entry is a sum of few, with fixed weights.

Places are computed in float32, as ONNX Runtime does: a place between two entries may round to
another one in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isslim.compress.kinds.graphs.trainable.operators.site import (
    Operator,
    Site,
    Step,
    Unsupported,
    axis_of,
)
from isslim.compress.onnx.model.attributes import get_float, get_int, get_ints, get_string

Places = NDArray[np.float32]
Whole = NDArray[np.int64]

_ROUNDED: dict[str, Callable[[Places], Any]] = {
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True)
class _Dimension:
    """How one dimension is resized.

    Attributes:
        size: before.
        wanted: after.
        scale: the factor, which need not be the ratio of the two.
    """

    size: int
    wanted: int
    scale: float

    def places(self, transformation: str) -> Places:
        """Where each new entry lies among the old ones."""
        x, half = np.arange(self.wanted, dtype=np.float32), np.float32(0.5)
        scale, size = np.float32(self.scale), np.float32(self.size)
        if transformation == "asymmetric":
            return np.asarray(x / scale)
        if transformation == "align_corners":
            return np.asarray(x * (size - 1) / max(1, self.wanted - 1), np.float32)
        centre = np.asarray((x + half) / scale - half)
        if transformation == "half_pixel_symmetric":
            share = np.float32(self.wanted) / (scale * size)
            return np.asarray(size / 2 * (1 - share) + centre, np.float32)
        if transformation == "pytorch_half_pixel" and self.wanted == 1:
            return np.zeros_like(centre)
        return centre


@dataclass(frozen=True)
class _Method:
    """What new entries are made of.

    Attributes:
        mode: nearest, linear or cubic.
        rounding: of places, for `nearest`.
        cubic: the coefficient of `cubic`.
        inside: whether entries outside have no weight, for `cubic`.
    """

    mode: str
    rounding: str
    cubic: float
    inside: bool

    def taps(self, places: Places, size: int) -> list[tuple[Whole, Places]]:
        """Indices of old entries and their weights, as many pairs as are added up.

        Args:
            places: of the new entries.
            size: number of old ones.
        """
        if self.mode == "nearest":
            index = _ROUNDED[self.rounding](places)
            return [(_within(index, size), np.ones_like(places))]
        if self.mode == "linear":
            places = places.clip(0, size - 1)
            first = np.floor(places)
            share = places - first
            return [(_within(first, size), 1 - share), (_within(first + 1, size), share)]
        first = np.floor(places)
        found = []
        for offset in (-1, 0, 1, 2):
            index = first + offset
            weight = _cubic(np.abs(places - index), self.cubic)
            if self.inside:
                weight = np.where((index >= 0) & (index < size), weight, 0)
            found.append((index, weight))
        total = sum(weight for _, weight in found) if self.inside else 1.0
        return [
            (_within(index, size), np.asarray(weight / total, np.float32))
            for index, weight in found
        ]


def _within(index: Any, size: int) -> Whole:
    return np.asarray(index.clip(0, size - 1), np.int64)


def _cubic(distance: Any, a: float) -> Any:
    """Keys' kernel of a distance up to 2."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return np.where(distance <= 1, near, far)


def _resize(site: Site) -> Step:
    old = site.opset < 11
    transformation = get_string(
        site.node, "coordinate_transformation_mode", "asymmetric" if old else "half_pixel"
    )
    if transformation == "tf_crop_and_resize":
        raise Unsupported(f"its {transformation} is not supported")
    site.refuse_unless("antialias", 0)
    mode = get_string(site.node, "mode", "nearest")
    rounding = get_string(site.node, "nearest_mode", "floor" if old else "round_prefer_floor")
    method = _Method(
        "linear" if mode == "bilinear" else mode,
        rounding,
        get_float(site.node, "cubic_coeff_a", -0.75),
        bool(get_int(site.node, "exclude_outside", 0)),
    )
    axes, policy = (
        get_ints(site.node, "axes"),
        get_string(site.node, "keep_aspect_ratio_policy", "stretch"),
    )
    sizes = site.numbers(3)

    def step(x: Tensor, *given: Tensor | None) -> Tensor:
        scales, wanted = (given[0], None) if old else (*given, None, None, None)[1:3]
        along = [axis_of(each, x.ndim) for each in axes] if axes else list(range(x.ndim))
        if wanted is not None:
            asked = sizes(wanted) or []
            dimensions = _of_sizes([x.shape[at] for at in along], asked, policy)
        else:
            assert scales is not None  # one of the two is there
            dimensions = [
                _Dimension(x.shape[at], int(np.floor(x.shape[at] * np.float32(scale))), scale)
                for at, scale in zip(along, scales.tolist(), strict=True)
            ]
        for axis, dimension in zip(along, dimensions, strict=True):
            if dimension.scale != 1 or dimension.size != dimension.wanted:
                taps = method.taps(dimension.places(transformation), dimension.size)
                x = _added(x, axis, taps)
        return x

    return step


def _of_sizes(found: list[int], asked: list[int], policy: str) -> list[_Dimension]:
    pairs = list(zip(found, asked, strict=True))
    if policy == "stretch":
        return [_Dimension(size, wanted, wanted / size) for size, wanted in pairs]
    choose = min if policy == "not_larger" else max
    scale = choose(wanted / size for size, wanted in pairs)
    return [_Dimension(size, int(scale * size + 0.5), scale) for size in found]


def _added(x: Tensor, axis: int, taps: list[tuple[Whole, Places]]) -> Tensor:
    shape = [-1] + [1] * (x.ndim - axis - 1)
    parts = []
    for index, weight in taps:
        chosen = x.index_select(axis, torch.from_numpy(index).to(x.device))
        if len(taps) > 1:
            chosen = chosen * torch.from_numpy(weight).to(x).view(shape)
        parts.append(chosen)
    return sum(parts[1:], parts[0])


OPERATORS = {
    "Resize": Operator(_resize, (1, 2, 3)),
    "Upsample": Operator(_resize, (1,)),
}
"""By name."""

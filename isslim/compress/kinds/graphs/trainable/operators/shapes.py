"""Shapes as tensors, and tensors of given shapes: whole numbers stay exact."""

from __future__ import annotations

import numpy as np
import torch
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional

from isslim.compress.kinds.graphs.trainable.operators.site import (
    DTYPES,
    Operator,
    Site,
    Step,
    Unsupported,
    axis_of,
)
from isslim.compress.onnx.model.attributes import get_int, get_tensor


def _shape(site: Site) -> Step:
    start, end = get_int(site.node, "start", 0), get_int(site.node, "end", 2**31)
    return lambda x: torch.tensor(x.shape[slice(start, end)], dtype=torch.int64, device=x.device)


def _filled(site: Site) -> Step:
    value, shapes = get_tensor(site.node, "value"), site.numbers(0)
    if value is None:
        return lambda shape: torch.zeros(shapes(shape) or [], device=shape.device)
    number = torch.from_numpy(numpy_helper.to_array(value).reshape(()).copy())
    return lambda shape: number.to(shape.device).expand(shapes(shape) or []).clone()


def _expand(site: Site) -> Step:
    shapes = site.numbers(1)

    def step(x: Tensor, asked: Tensor) -> Tensor:
        # A size of 1 that is asked for leaves a longer dimension as it is.
        return x.expand(np.broadcast_shapes(x.shape, shapes(asked) or []))

    return step


def _tile(site: Site) -> Step:
    repeats = site.numbers(1)
    return lambda x, asked: x.repeat(repeats(asked) or [])


def _range(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    if start.is_floating_point():
        count = max(0, int(torch.ceil((limit - start) / delta)))
        return start + delta * torch.arange(count, dtype=start.dtype, device=start.device)
    return torch.arange(int(start), int(limit), int(delta), dtype=start.dtype, device=start.device)


def _one_hot(site: Site) -> Step:
    axis, depths = get_int(site.node, "axis", -1), site.numbers(1)

    def step(index: Tensor, depth: Tensor, values: Tensor) -> Tensor:
        (count,) = depths(depth) or [0]
        places = index.long()
        places = torch.where(places < 0, places + count, places)
        numbers = torch.arange(count, device=index.device)
        at = axis_of(axis, index.ndim + 1)
        shape = [1] * (index.ndim + 1)
        shape[at] = -1
        return torch.where(places.unsqueeze(at) == numbers.view(shape), values[1], values[0])

    return step


def _triangle(site: Site) -> Step:
    keep = torch.triu if get_int(site.node, "upper", 1) else torch.tril
    diagonals = site.numbers(1)

    def step(x: Tensor, diagonal: Tensor | None = None) -> Tensor:
        (offset,) = diagonals(diagonal) or [0]
        return keep(x, offset)

    return step


def _identity_matrix(site: Site) -> Step:
    offset, kind = get_int(site.node, "k", 0), get_int(site.node, "dtype", 0)

    def step(x: Tensor) -> Tensor:
        rows, columns = (torch.arange(size, device=x.device) for size in x.shape)
        return (rows.unsqueeze(1) + offset == columns).to(DTYPES[kind] if kind else x.dtype)

    return step


def _pad(site: Site) -> Step:
    mode = next((a.s.decode() for a in site.node.attribute if a.name == "mode"), "constant")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise Unsupported(f"its mode {mode} is not supported")
    number = next((a.f for a in site.node.attribute if a.name == "value"), 0.0)
    widths, axes = site.numbers(1, "pads"), site.numbers(3)

    def step(
        x: Tensor,
        pads: Tensor | None = None,
        value: Tensor | None = None,
        named: Tensor | None = None,
    ) -> Tensor:
        found, along = widths(pads) or [], axes(named)
        along = list(range(x.ndim)) if along is None else [axis_of(a, x.ndim) for a in along]
        around = {axis: (found[at], found[at + len(along)]) for at, axis in enumerate(along)}
        if mode == "constant":
            flat = [each for axis in reversed(range(x.ndim)) for each in around.get(axis, (0, 0))]
            return functional.pad(x, flat, value=number if value is None else value.item())
        for axis, (before, after) in around.items():
            x = _repeated(x, axis, (before, after), mode)
        return x

    return step


def _repeated(x: Tensor, axis: int, widths: tuple[int, int], mode: str) -> Tensor:
    """Pads one dimension with entries of its own."""
    size = x.shape[axis]
    place = torch.arange(-widths[0], size + widths[1], device=x.device)
    if mode == "edge":
        place = place.clamp(0, size - 1)
    elif mode == "wrap":
        place = place % size
    else:
        period = max(1, 2 * (size - 1))
        place = place % period
        place = torch.where(place < size, place, period - place)
    return x.index_select(axis, place)


OPERATORS = {
    "ConstantOfShape": Operator(_filled, None),
    "Expand": Operator(_expand, (1,)),
    "EyeLike": Operator(_identity_matrix, None),
    "NonZero": Operator(lambda site: lambda x: x.nonzero().T, None),
    "OneHot": Operator(_one_hot, (0, 1)),
    "Pad": Operator(_pad, (1, 2, 3)),
    "Range": Operator(lambda site: _range, None),
    "Shape": Operator(_shape, None),
    "Size": Operator(lambda site: lambda x: torch.tensor(x.numel(), device=x.device), None),
    "Tile": Operator(_tile, (1,)),
    "Trilu": Operator(_triangle, (1,)),
}
"""By name."""

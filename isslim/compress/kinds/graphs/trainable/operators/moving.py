"""Dimensions in another order, merged, split, added and removed."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from isslim.compress.kinds.graphs.trainable.operators.site import Operator, Site, Step, axis_of
from isslim.compress.onnx.model.attributes import get_int, get_ints, get_string


def _transpose(site: Site) -> Step:
    order = get_ints(site.node, "perm")
    return lambda x: x.permute(order or list(range(x.ndim))[::-1])


def _squeeze(site: Site) -> Step:
    axes = site.numbers(1, "axes")

    def step(x: Tensor, named: Tensor | None = None) -> Tensor:
        along = axes(named)
        if along is None:
            return x.squeeze()
        # By shape: torch leaves a dimension that is not 1, where ONNX refuses the graph.
        return x.squeeze(along)

    return step


def _unsqueeze(site: Site) -> Step:
    axes = site.numbers(1, "axes")

    def step(x: Tensor, named: Tensor | None = None) -> Tensor:
        along = axes(named) or []
        rank = x.ndim + len(along)
        for axis in sorted(axis_of(each, rank) for each in along):
            x = x.unsqueeze(axis)
        return x

    return step


def _flatten(site: Site) -> Step:
    axis = get_int(site.node, "axis", 1)

    def step(x: Tensor) -> Tensor:
        first = axis_of(axis, x.ndim)
        return x.reshape(prod(x.shape[:first]), prod(x.shape[first:]))

    return step


def _reshape(site: Site) -> Step:
    shapes, zero_is_zero = site.numbers(1, "shape"), bool(get_int(site.node, "allowzero", 0))

    def step(x: Tensor, asked: Tensor | None = None) -> Tensor:
        shape = shapes(asked) or []
        if not zero_is_zero:
            shape = [x.shape[at] if size == 0 else size for at, size in enumerate(shape)]
        return x.reshape(shape)

    return step


def _depth_to_space(site: Site) -> Step:
    size, mode = get_int(site.node, "blocksize", 1), get_string(site.node, "mode", "DCR")

    def step(x: Tensor) -> Tensor:
        batch, depth, height, width = x.shape
        if mode == "DCR":
            parts = x.reshape(batch, size, size, depth // size**2, height, width)
            parts = parts.permute(0, 3, 4, 1, 5, 2)
        else:
            parts = x.reshape(batch, depth // size**2, size, size, height, width)
            parts = parts.permute(0, 1, 4, 2, 5, 3)
        return parts.reshape(batch, depth // size**2, height * size, width * size)

    return step


def _space_to_depth(site: Site) -> Step:
    size, mode = get_int(site.node, "blocksize", 1), get_string(site.node, "mode", "DCR")
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)

    def step(x: Tensor) -> Tensor:
        batch, depth, height, width = x.shape
        parts = x.reshape(batch, depth, height // size, size, width // size, size)
        return parts.permute(order).reshape(batch, depth * size**2, height // size, width // size)

    return step


def _reversed_sequences(site: Site) -> Step:
    """The first entries of each sequence in reverse order, as many as its length says."""
    batch, time = (get_int(site.node, name, d) for name, d in (("batch_axis", 1), ("time_axis", 0)))

    def step(x: Tensor, lengths: Tensor) -> Tensor:
        shape = [1] * x.ndim
        steps = torch.arange(x.shape[time], device=x.device)
        shape[time] = -1
        steps = steps.view(shape)
        shape[time], shape[batch] = 1, -1
        ends = lengths.view(shape)
        index = torch.where(steps < ends, ends - 1 - steps, steps)
        return x.gather(time, index.expand(x.shape))

    return step


OPERATORS = {
    "DepthToSpace": Operator(_depth_to_space),
    "Flatten": Operator(_flatten),
    "Reshape": Operator(_reshape, (1,)),
    "ReverseSequence": Operator(_reversed_sequences, (1,)),
    "SpaceToDepth": Operator(_space_to_depth),
    "Squeeze": Operator(_squeeze, (1,)),
    "Transpose": Operator(_transpose),
    "Unsqueeze": Operator(_unsqueeze, (1,)),
}
"""By name."""

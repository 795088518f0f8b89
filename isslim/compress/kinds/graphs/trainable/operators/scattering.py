"""Entries written into a tensor at given places."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from isslim.compress.kinds.graphs.trainable.operators.site import Operator, Site, Step
from isslim.compress.onnx.model.attributes import get_int, get_string

_REDUCTIONS = {"mul": "prod", "max": "amax", "min": "amin", "add": "sum"}


def _written(x: Tensor, axis: int, index: Tensor, values: Tensor, reduction: str) -> Tensor:
    """`values` at `index` along an axis, combined with what is there."""
    if reduction == "none":
        return x.scatter(axis, index, values)
    return x.scatter_reduce(axis, index, values, _REDUCTIONS[reduction])


def _elements(site: Site) -> Step:
    axis, reduction = get_int(site.node, "axis", 0), get_string(site.node, "reduction", "none")

    def step(x: Tensor, index: Tensor, values: Tensor) -> Tensor:
        places = index.long()
        places = torch.where(places < 0, places + x.shape[axis], places)
        return _written(x, axis, places, values, reduction)

    return step


def _blocks(site: Site) -> Step:
    reduction = get_string(site.node, "reduction", "none")

    def step(x: Tensor, index: Tensor, values: Tensor) -> Tensor:
        depth = index.shape[-1]
        sizes = x.shape[:depth]
        flat = torch.zeros(index.shape[:-1], dtype=torch.int64, device=x.device)
        for at, size in enumerate(sizes):
            place = index[..., at].long()
            flat = flat * size + torch.where(place < 0, place + size, place)
        rows = x.reshape(prod(sizes), -1)
        new = values.reshape(-1, rows.shape[1])
        places = flat.reshape(-1, 1).expand(new.shape)
        return _written(rows, 0, places, new, reduction).reshape(x.shape)

    return step


OPERATORS = {
    "Scatter": Operator(_elements, (1,)),
    "ScatterElements": Operator(_elements, (1,)),
    "ScatterND": Operator(_blocks, (1,)),
}
"""By name."""

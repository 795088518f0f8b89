"""Numbers that are stored as small integers."""

from __future__ import annotations

import torch
from torch import Tensor

from isslim.compress.kinds.graphs.trainable.operators.site import (
    Operator,
    Site,
    Step,
    Unsupported,
    axis_of,
)
from isslim.compress.onnx.model.attributes import get_int


def _dequantized(site: Site) -> Step:
    """(x - zero point) * scale, with one scale for everything or one along an axis."""
    axis, block = get_int(site.node, "axis", 1), get_int(site.node, "block_size", 0)
    if block:
        raise Unsupported("it has a scale for each block of numbers, which is not supported")

    def step(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        def along_axis(values: Tensor) -> Tensor:
            if values.numel() == 1:
                return values.reshape(())
            behind = x.dim() - 1 - axis_of(axis, x.dim())
            return values.reshape(-1, *[1] * behind)

        # The difference of two integers of 8 bits needs 9.
        whole = x.to(torch.int32)
        if zero is not None:
            whole = whole - along_axis(zero.to(torch.int32))
        return whole.to(scale.dtype) * along_axis(scale)

    return step


# What is stored as integers has no gradient, and its scales are not to part from those of the same
# numbers elsewhere in the graph.
OPERATORS = {"DequantizeLinear": Operator(_dequantized, None)}
"""By name."""

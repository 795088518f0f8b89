"""Ranges, entries and pieces of tensors, and tensors of pieces."""

from __future__ import annotations

import torch
from torch import Tensor

from isslim.compress.kinds.graphs.trainable.operators.site import Operator, Site, Step, axis_of
from isslim.compress.onnx.model.attributes import get_int


def _concatenated(site: Site) -> Step:
    axis = get_int(site.node, "axis", 1)
    return lambda *pieces: torch.cat(pieces, axis)


def _split(site: Site) -> Step:
    axis, sizes = get_int(site.node, "axis", 0), site.numbers(1, "split")
    count = len(site.node.output)

    def step(x: Tensor, named: Tensor | None = None) -> tuple[Tensor, ...]:
        parts = sizes(named)
        if parts is None:
            # The last piece is the shorter one where they cannot be equal.
            each = -(-x.shape[axis] // count)
            parts = [min(each, x.shape[axis] - at * each) for at in range(count)]
        return torch.split_with_sizes(x, parts, axis)

    return step


def _slice(site: Site) -> Step:
    readers = [
        site.numbers(at, name) for at, name in ((1, "starts"), (2, "ends"), (3, "axes"), (4, ""))
    ]

    def step(x: Tensor, *bounds: Tensor | None) -> Tensor:
        given = [*bounds, None, None, None, None]
        starts, ends, axes, steps = (
            read(tensor) for read, tensor in zip(readers, given, strict=False)
        )
        assert starts is not None
        assert ends is not None
        axes = list(range(len(starts))) if axes is None else axes
        steps = [1] * len(starts) if steps is None else steps
        for start, end, axis, stride in zip(starts, ends, axes, steps, strict=True):
            x = _range(x, axis_of(axis, x.ndim), slice(start, end, stride))
        return x

    return step


def _range(x: Tensor, axis: int, asked: slice) -> Tensor:
    start, end, stride = asked.indices(x.shape[axis])
    if stride > 0:
        return x[(slice(None),) * axis + (slice(start, max(start, end), stride),)]
    # torch has no negative steps.
    return x.index_select(axis, torch.arange(start, min(start, end), stride, device=x.device))


def _gather(site: Site) -> Step:
    axis = get_int(site.node, "axis", 0)

    def step(x: Tensor, index: Tensor) -> Tensor:
        at = axis_of(axis, x.ndim)
        flat = _counted_from_front(index.reshape(-1), x.shape[at])
        chosen = x.index_select(at, flat)
        return chosen.reshape((*x.shape[:at], *index.shape, *x.shape[at + 1 :]))

    return step


def _counted_from_front(index: Tensor, size: int) -> Tensor:
    index = index.long()
    return torch.where(index < 0, index + size, index)


def _gather_elements(site: Site) -> Step:
    axis = get_int(site.node, "axis", 0)
    return lambda x, index: x.gather(axis, _counted_from_front(index, x.shape[axis]))


def _gather_blocks(site: Site) -> Step:
    shared = get_int(site.node, "batch_dims", 0)

    def step(x: Tensor, index: Tensor) -> Tensor:
        depth = index.shape[-1]
        own = x.reshape(-1, *x.shape[shared:])
        places = index.reshape(own.shape[0], -1, depth).long()
        batch = torch.arange(own.shape[0], device=x.device).unsqueeze(1)
        chosen = own[(batch, *places.unbind(-1))]
        return chosen.reshape((*index.shape[:-1], *x.shape[shared + depth :]))

    return step


def _compress(site: Site) -> Step:
    axis = get_int(site.node, "axis", 0)
    flat = not site.has("axis")

    def step(x: Tensor, condition: Tensor) -> Tensor:
        index = condition.nonzero().squeeze(1)
        return x.reshape(-1).index_select(0, index) if flat else x.index_select(axis, index)

    return step


OPERATORS = {
    "Compress": Operator(_compress, (1,)),
    "Concat": Operator(_concatenated),
    "Gather": Operator(_gather, (1,)),
    "GatherElements": Operator(_gather_elements, (1,)),
    "GatherND": Operator(_gather_blocks, (1,)),
    "Slice": Operator(_slice, (1, 2, 3, 4)),
    "Split": Operator(_split, (1,)),
}
"""By name."""

"""Sums, means and extremes along dimensions; softmax and its like; positions of extremes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from isslim.compress.kinds.graphs.trainable.operators.site import Operator, Site, Step, axis_of
from isslim.compress.onnx.model.attributes import get_int

Reduction = Callable[[Tensor, list[int], bool], Tensor]


def _reduction(reduce: Reduction) -> Operator:
    """An operator that reduces along axes, all of them where none is named."""

    def make(site: Site) -> Step:
        axes, keep = site.numbers(1, "axes"), bool(get_int(site.node, "keepdims", 1))
        unchanged = bool(get_int(site.node, "noop_with_empty_axes", 0))

        def step(x: Tensor, named: Tensor | None = None) -> Tensor:
            along = axes(named)
            if not along and unchanged:
                return reduce(x.unsqueeze(0), [0], False)
            return (
                reduce(x, along or list(range(x.ndim)), keep)
                if x.ndim
                else reduce(x.unsqueeze(0), [0], False)
            )

        return step

    return Operator(make, (1,))


def _mean(x: Tensor, along: list[int], keep: bool) -> Tensor:
    if x.is_floating_point():
        return x.mean(along, keepdim=keep)
    count = x.numel() // max(1, x.sum(along).numel())
    return torch.div(x.sum(along, keepdim=keep), count, rounding_mode="trunc").to(x.dtype)


def _product(x: Tensor, along: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis_of(each, x.ndim) for each in along), reverse=True):
        x = x.prod(axis, keepdim=keep, dtype=x.dtype)
    return x


def _extreme(of_numbers: Step, of_truths: Step) -> Reduction:
    def reduce(x: Tensor, along: list[int], keep: bool) -> Tensor:
        found = (of_truths if x.dtype == torch.bool else of_numbers)(x, along, keep)
        assert isinstance(found, Tensor)
        return found

    return reduce


def _normalising(function: Callable[[Tensor, int], Tensor]) -> Operator:
    """Softmax and the like; before opset 13 over all dimensions from `axis` on, as one."""

    def make(site: Site) -> Step:
        axis = get_int(site.node, "axis", 1 if site.opset < 13 else -1)
        if site.opset >= 13:
            return lambda x: function(x, axis)

        def step(x: Tensor) -> Tensor:
            first = axis_of(axis, x.ndim)
            return function(x.flatten(first) if first < x.ndim else x.unsqueeze(-1), -1).view(
                x.shape
            )

        return step

    return Operator(make)


def _hardmax(x: Tensor, axis: int) -> Tensor:
    return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1.0)


def _position(largest: bool) -> Operator:
    def make(site: Site) -> Step:
        axis, keep = get_int(site.node, "axis", 0), bool(get_int(site.node, "keepdims", 1))
        last = bool(get_int(site.node, "select_last_index", 0))
        find = torch.argmax if largest else torch.argmin

        def step(x: Tensor) -> Tensor:
            if not last:
                return find(x, dim=axis, keepdim=keep)
            return x.shape[axis] - 1 - find(x.flip(axis), dim=axis, keepdim=keep)

        return step

    return Operator(make, None)


def _largest(site: Site) -> Step:
    """The first of equal numbers comes first, which `torch.topk` does not promise."""
    axis, largest = get_int(site.node, "axis", -1), bool(get_int(site.node, "largest", 1))
    counts = site.numbers(1, "k")
    if site.has("k"):
        fixed = get_int(site.node, "k", 0)
        counts = lambda tensor: [fixed]  # noqa: E731

    def step(x: Tensor, count: Tensor | None = None) -> tuple[Tensor, Tensor]:
        (wanted,) = counts(count) or [0]
        values, indices = torch.sort(x, dim=axis, descending=largest, stable=True)
        return values.narrow(axis, 0, wanted), indices.narrow(axis, 0, wanted)

    return step


def _running_sum(site: Site) -> Step:
    exclusive, backwards = (get_int(site.node, name, 0) for name in ("exclusive", "reverse"))
    axes = site.numbers(1)

    def step(x: Tensor, along: Tensor) -> Tensor:
        (axis,) = axes(along) or [0]
        given = x.flip(axis) if backwards else x
        sums = given.cumsum(axis, dtype=x.dtype)
        if exclusive:
            sums = sums - given
        return sums.flip(axis) if backwards else sums

    return step


OPERATORS = {
    "ArgMax": _position(largest=True),
    "ArgMin": _position(largest=False),
    "CumSum": Operator(_running_sum, (1,)),
    "Hardmax": Operator(_normalising(_hardmax).make, None),
    "LogSoftmax": _normalising(functional.log_softmax),
    "ReduceL1": _reduction(lambda x, along, keep: x.abs().sum(along, keep, dtype=x.dtype)),
    "ReduceL2": _reduction(
        lambda x, along, keep: torch.linalg.vector_norm(x, dim=along, keepdim=keep)
    ),
    "ReduceLogSum": _reduction(lambda x, along, keep: x.sum(along, keep).log()),
    "ReduceLogSumExp": _reduction(torch.logsumexp),
    "ReduceMax": _reduction(_extreme(torch.amax, torch.any)),
    "ReduceMean": _reduction(_mean),
    "ReduceMin": _reduction(_extreme(torch.amin, torch.all)),
    "ReduceProd": _reduction(_product),
    "ReduceSum": _reduction(lambda x, along, keep: x.sum(along, keep, dtype=x.dtype)),
    "ReduceSumSquare": _reduction(lambda x, along, keep: (x * x).sum(along, keep, dtype=x.dtype)),
    "Softmax": _normalising(functional.softmax),
    "TopK": Operator(_largest, (1,)),
}
"""By name."""

"""Normalisations by statistics, stored or of the data.

Stored statistics stay what they are, and none is updated: the network is trained as it is served.
"""

from __future__ import annotations

import torch
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
from isslim.compress.onnx.model.attributes import get_float, get_int, get_ints


def _batch(site: Site) -> Step:
    site.refuse_unless("training_mode", 0)
    if any(site.is_wanted(at) for at in range(1, len(site.node.output))):
        raise Unsupported("it gives statistics of the data, which only training needs")
    epsilon = get_float(site.node, "epsilon", 1e-5)

    def step(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon)

    return step


def _instance(site: Site) -> Step:
    epsilon = get_float(site.node, "epsilon", 1e-5)

    def step(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        return _shifted(_standard(x, list(range(2, x.ndim)), epsilon), scale, bias)

    return step


def _group(site: Site) -> Step:
    epsilon, groups = get_float(site.node, "epsilon", 1e-5), get_int(site.node, "num_groups", 1)

    def step(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        grouped = x.reshape(x.shape[0], groups, -1)
        same = _standard(grouped, [2], epsilon).view(x.shape)
        if site.opset < 21:  # one of each for a group
            per = x.shape[1] // groups
            scale, bias = scale.repeat_interleave(per), bias.repeat_interleave(per)
        return _shifted(same, scale, bias)

    return step


def _standard(x: Tensor, along: list[int], epsilon: float) -> Tensor:
    mean = x.mean(along, keepdim=True)
    variance = (x - mean).square().mean(along, keepdim=True)
    return (x - mean) / torch.sqrt(variance + epsilon)


def _shifted(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Scaled and shifted along dimension 1."""
    shape = [1, -1] + [1] * (x.ndim - 2)
    return x * scale.view(shape) + bias.view(shape)


def _layer(site: Site) -> Step:
    axis, epsilon = get_int(site.node, "axis", -1), get_float(site.node, "epsilon", 1e-5)
    kind = DTYPES[get_int(site.node, "stash_type", 1)]

    def step(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> tuple[Tensor, ...]:
        along = list(range(axis_of(axis, x.ndim), x.ndim))
        wide = x.to(kind)
        mean = wide.mean(along, keepdim=True)
        variance = (wide - mean).square().mean(along, keepdim=True)
        inverse = torch.rsqrt(variance + epsilon)
        scaled = ((wide - mean) * inverse).to(x.dtype) * scale
        return scaled if bias is None else scaled + bias, mean, inverse

    return step


def _root_mean_square(site: Site) -> Step:
    axis, epsilon = get_int(site.node, "axis", -1), get_float(site.node, "epsilon", 1e-5)
    kind = DTYPES[get_int(site.node, "stash_type", 1)]

    def step(x: Tensor, scale: Tensor) -> Tensor:
        along = list(range(axis_of(axis, x.ndim), x.ndim))
        wide = x.to(kind)
        mean = wide.square().mean(along, keepdim=True)
        return (wide * torch.rsqrt(mean + epsilon)).to(x.dtype) * scale

    return step


def _vector_norm(site: Site) -> Step:
    axis, order = get_int(site.node, "axis", -1), get_int(site.node, "p", 2)

    def step(x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, order, axis, keepdim=True)
        return torch.where(norm == 0, 0.0, x / torch.where(norm == 0, 1.0, norm)).to(x.dtype)

    return step


def _mean_variance(site: Site) -> Step:
    axes = get_ints(site.node, "axes") or [0, 2, 3]
    return lambda x: _standard(x, axes, 1e-9)


def _local_response(site: Site) -> Step:
    size, bias = get_int(site.node, "size", 1), get_float(site.node, "bias", 1.0)
    alpha, beta = get_float(site.node, "alpha", 1e-4), get_float(site.node, "beta", 0.75)

    def step(x: Tensor) -> Tensor:
        before = (size - 1) // 2
        pads = [0, 0] * (x.ndim - 2) + [before, size - 1 - before]
        squares = functional.pad(x.square(), pads).unfold(1, size, 1).sum(-1)
        return x / (bias + alpha / size * squares) ** beta

    return step


OPERATORS = {
    "BatchNormalization": Operator(_batch, (3, 4)),
    "GroupNormalization": Operator(_group),
    "InstanceNormalization": Operator(_instance),
    "LayerNormalization": Operator(_layer),
    "LpNormalization": Operator(_vector_norm),
    "LRN": Operator(_local_response),
    "MeanVarianceNormalization": Operator(_mean_variance),
    "RMSNormalization": Operator(_root_mean_square),
}
"""By name."""

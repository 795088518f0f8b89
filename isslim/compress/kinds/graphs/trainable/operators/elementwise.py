"""Operators that work number by number."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

from isslim.compress.kinds.graphs.trainable.operators.site import (
    DTYPES,
    Operator,
    Site,
    Step,
    Unsupported,
    plain,
    untrained,
)
from isslim.compress.onnx.model.attributes import get_float, get_int, get_string

_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


def _with_settings(function: Callable[..., Tensor], **defaults: float) -> Callable[[Site], Step]:
    """A function of one tensor and of attributes that are numbers, in the order given here."""

    def make(site: Site) -> Step:
        values = [get_float(site.node, name, value) for name, value in defaults.items()]
        return lambda x: function(x, *values)

    return make


def _root(x: Tensor) -> Tensor:
    """The square root, with the gradient 0 at 0: the true one is infinite.

    Magnitudes of spectra are roots of zero wherever it is silent.
    """
    if not x.requires_grad:
        return torch.sqrt(x)
    positive = x > 0
    return torch.where(positive, torch.sqrt(torch.where(positive, x, 1.0)), x.detach().sqrt())


def _power(x: Tensor, exponent: Tensor) -> Tensor:
    if x.requires_grad and exponent.numel() == 1 and 0 < float(exponent) < 1:
        positive = x > 0  # see `_root`
        powers = torch.pow(torch.where(positive, x, 1.0), exponent)
        return torch.where(positive, powers, torch.pow(x.detach(), exponent)).to(x.dtype)
    return torch.pow(x, exponent).to(x.dtype)


def _divided(x: Tensor, by: Tensor) -> Tensor:
    return x / by if x.is_floating_point() else torch.div(x, by, rounding_mode="trunc")


def _selu(x: Tensor, alpha: float, gamma: float) -> Tensor:
    return gamma * functional.elu(x, alpha)


def _shrink(x: Tensor, bias: float, limit: float) -> Tensor:
    return torch.where(x < -limit, x + bias, torch.where(x > limit, x - bias, 0.0)).to(x.dtype)


def _gelu(site: Site) -> Step:
    approximate = get_string(site.node, "approximate", "none")
    return lambda x: functional.gelu(x, approximate=approximate)


def _clip(site: Site) -> Step:
    if site.opset < 11:
        # A limit that is left out is the largest number of float32 there, so: none.
        low, high = (
            get_float(site.node, name, sign * float("inf"))
            for name, sign in (("min", -1), ("max", 1))
        )
        return lambda x: torch.clamp(x, low, high)

    def clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
        return x if low is None and high is None else torch.clamp(x, low, high)

    return clip


def _is_infinite(site: Site) -> Step:
    low, high = (get_int(site.node, f"detect_{each}", 1) for each in ("negative", "positive"))

    def test(x: Tensor) -> Tensor:
        infinite = torch.isinf(x)
        return infinite & (((x < 0) & bool(low)) | ((x > 0) & bool(high)))

    return test


def _modulo(site: Site) -> Step:
    # The sign of the dividend with `fmod`, of the divisor without.
    return torch.fmod if get_int(site.node, "fmod", 0) else torch.remainder


def _shifted(site: Site) -> Step:
    if get_string(site.node, "direction", "") == "LEFT":
        return torch.bitwise_left_shift
    return torch.bitwise_right_shift


def _cast(site: Site) -> Step:
    kind = get_int(site.node, "to", 0)
    if kind not in DTYPES:
        raise Unsupported(f"it makes a type of number {kind}, which is not supported")
    return lambda x: x.to(DTYPES[kind])


def _dropout(site: Site) -> Step:
    training = site.constant(2)
    if training is None and site.is_given(2):
        raise Unsupported("whether it drops values depends on the data")
    share = site.constant(1)
    if training is not None and training.any() and not (share is not None and not share.any()):
        raise Unsupported("it drops values at random, even when it is served")
    # The mask of what is dropped: nothing.
    if site.is_wanted(1):
        return lambda x, *settings: (x, torch.ones_like(x, dtype=torch.bool))
    return lambda x, *settings: x


def _mean(*operands: Tensor) -> Tensor:
    return reduce(torch.add, operands) / len(operands)


OPERATORS = {
    **plain(
        {
            "Abs": torch.abs,
            "Acos": torch.acos,
            "Acosh": torch.acosh,
            "Add": torch.add,
            "Asin": torch.asin,
            "Asinh": torch.asinh,
            "Atan": torch.atan,
            "Atanh": torch.atanh,
            "CastLike": lambda x, like: x.to(like.dtype),
            "Cos": torch.cos,
            "Cosh": torch.cosh,
            "Div": _divided,
            "Erf": torch.erf,
            "Exp": torch.exp,
            "HardSwish": functional.hardswish,
            "Identity": lambda x: x,
            "Log": torch.log,
            "Max": lambda *operands: reduce(torch.maximum, operands),
            "Mean": _mean,
            "Min": lambda *operands: reduce(torch.minimum, operands),
            "Mish": functional.mish,
            "Mul": torch.mul,
            "Neg": torch.neg,
            "PRelu": lambda x, slope: torch.where(x < 0, slope * x, x),
            "Reciprocal": torch.reciprocal,
            "Relu": torch.relu,
            "Sigmoid": torch.sigmoid,
            "Sin": torch.sin,
            "Sinh": torch.sinh,
            "Softplus": functional.softplus,
            "Softsign": functional.softsign,
            "Sqrt": _root,
            "Sub": torch.sub,
            "Sum": lambda *operands: reduce(torch.add, operands),
            "Tan": torch.tan,
            "Tanh": torch.tanh,
        }
    ),
    **untrained(
        {
            "And": torch.logical_and,
            "BitwiseAnd": torch.bitwise_and,
            "BitwiseNot": torch.bitwise_not,
            "BitwiseOr": torch.bitwise_or,
            "BitwiseXor": torch.bitwise_xor,
            "Ceil": torch.ceil,
            "Equal": torch.eq,
            "Floor": torch.floor,
            "Greater": torch.gt,
            "GreaterOrEqual": torch.ge,
            "IsNaN": torch.isnan,
            "Less": torch.lt,
            "LessOrEqual": torch.le,
            "Not": torch.logical_not,
            "Or": torch.logical_or,
            "Round": torch.round,
            "Sign": torch.sign,
            "Xor": torch.logical_xor,
        }
    ),
    "BitShift": Operator(_shifted, None),
    "Cast": Operator(_cast),
    "Celu": Operator(_with_settings(functional.celu, alpha=1.0)),
    "Clip": Operator(_clip, (1, 2)),
    # In inference, which is all that is trained here: a small network is to follow its teacher.
    "Dropout": Operator(_dropout, (1, 2)),
    "Elu": Operator(_with_settings(functional.elu, alpha=1.0)),
    "Gelu": Operator(_gelu),
    "HardSigmoid": Operator(
        _with_settings(lambda x, a, b: torch.clamp(a * x + b, 0, 1), alpha=0.2, beta=0.5)
    ),
    "IsInf": Operator(_is_infinite, None),
    "LeakyRelu": Operator(_with_settings(functional.leaky_relu, alpha=0.01)),
    "Mod": Operator(_modulo, None),
    # The gradient of the exponent is a logarithm, which a negative base does not have.
    "Pow": Operator(lambda site: _power, (1,)),
    "Selu": Operator(_with_settings(_selu, alpha=_SELU_ALPHA, gamma=_SELU_GAMMA)),
    "Shrink": Operator(_with_settings(_shrink, bias=0.0, lambd=0.5)),
    "Swish": Operator(_with_settings(lambda x, alpha: x * torch.sigmoid(alpha * x), alpha=1.0)),
    "ThresholdedRelu": Operator(
        _with_settings(lambda x, alpha: functional.threshold(x, alpha, 0.0), alpha=1.0)
    ),
    "Where": Operator(lambda site: torch.where, (0,)),
}
"""By name."""

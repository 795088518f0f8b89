"""Convolutions and pools: windows that slide over the dimensions from 2 on.

Padding is done beforehand, so that both sides may differ, and a pool counts what is there by
sliding over ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
from onnx import NodeProto
from torch import Tensor
from torch.nn import functional

from isslim.compress.kinds.graphs.trainable.operators.site import (
    Operator,
    Site,
    Step,
    Unsupported,
)
from isslim.compress.onnx.model.attributes import get_int, get_ints, get_string

_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)
_TRANSPOSED = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)
_MAXIMA = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)


@dataclass(frozen=True)
class _Windows:
    """How windows slide; numbers are per dimension, empty lists are the defaults.

    Attributes:
        strides: steps between windows.
        dilations: steps between the entries of a window.
        pads: before each dimension, then behind each.
        auto: NOTSET, VALID, SAME_UPPER or SAME_LOWER.
        ceil: whether a window may end behind the padding.
    """

    strides: list[int]
    dilations: list[int]
    pads: list[int]
    auto: str
    ceil: bool

    @classmethod
    def of(cls, node: NodeProto) -> _Windows:
        """Those of a node."""
        strides, dilations, pads = (
            get_ints(node, name) or [] for name in ("strides", "dilations", "pads")
        )
        auto = get_string(node, "auto_pad", "NOTSET")
        return cls(strides, dilations, pads, auto, bool(get_int(node, "ceil_mode", 0)))

    def steps(self, count: int) -> tuple[list[int], list[int]]:
        """Strides and dilations of as many dimensions."""
        return self.strides or [1] * count, self.dilations or [1] * count

    def around(self, sizes: Sequence[int], kernel: Sequence[int]) -> list[tuple[int, int]]:
        """What is padded before and behind each dimension.

        Args:
            sizes: of the dimensions.
            kernel: sizes of a window.
        """
        count = len(kernel)
        strides, dilations = self.steps(count)
        if self.auto in ("SAME_UPPER", "SAME_LOWER"):
            found = []
            for size, width, stride, dilation in zip(
                sizes, kernel, strides, dilations, strict=True
            ):
                reach = (width - 1) * dilation + 1
                whole = max(0, (-(-size // stride) - 1) * stride + reach - size)
                less, more = whole // 2, whole - whole // 2
                found.append((less, more) if self.auto == "SAME_UPPER" else (more, less))
            return found
        pads = self.pads if self.pads and self.auto == "NOTSET" else [0] * (2 * count)
        return list(zip(pads[:count], pads[count:], strict=True))

    def overhang(
        self, sizes: Sequence[int], kernel: Sequence[int], around: list[tuple[int, int]]
    ) -> list[int]:
        """How far the last windows end behind the padding; a window that begins there is left out.

        Args:
            sizes: of the dimensions.
            kernel: sizes of a window.
            around: as `around` returns it.
        """
        if not self.ceil or self.auto in ("SAME_UPPER", "SAME_LOWER"):
            return [0] * len(kernel)
        found = []
        strides, dilations = self.steps(len(kernel))
        for size, width, stride, dilation, (before, behind) in zip(
            sizes, kernel, strides, dilations, around, strict=True
        ):
            reach, padded = (width - 1) * dilation + 1, before + size + behind
            last = -(-(padded - reach) // stride) * stride
            if last >= before + size:
                last -= stride
            found.append(max(0, last + reach - padded))
        return found


def _padded(x: Tensor, around: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    if not any(map(any, around)):
        return x
    flat = [each for pair in reversed(around) for each in pair]
    return functional.pad(x, flat, value=value)


def _convolution(site: Site) -> Step:
    windows, groups = _Windows.of(site.node), get_int(site.node, "group", 1)

    def step(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        kernel = weight.shape[2:]
        strides, dilations = windows.steps(len(kernel))
        function = _of_rank(_CONVOLUTIONS, len(kernel))
        around = windows.around(x.shape[2:], kernel)
        if all(before == behind for before, behind in around):
            pads = [before for before, _ in around]
            return function(x, weight, bias, strides, pads, dilations, groups)
        return function(_padded(x, around), weight, bias, strides, 0, dilations, groups)

    return step


def _of_rank(functions: Sequence[Callable[..., Tensor]], rank: int) -> Callable[..., Tensor]:
    if not 1 <= rank <= len(functions):
        raise Unsupported(f"its windows have {rank} dimensions; 1 to 3 are supported")
    return functions[rank - 1]


def _transposed(site: Site) -> Step:
    windows, groups = _Windows.of(site.node), get_int(site.node, "group", 1)
    extra, shape = get_ints(site.node, "output_padding"), get_ints(site.node, "output_shape")

    def step(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        kernel = weight.shape[2:]
        count = len(kernel)
        strides, dilations = windows.steps(count)
        function = _of_rank(_TRANSPOSED, count)
        more = extra or [0] * count
        # All of it, then what is asked for: torch crops both sides alike.
        whole = function(x, weight, None, strides, 0, 0, groups, dilations)
        wanted = shape[-count:] if shape else None
        if wanted is None and windows.auto in ("SAME_UPPER", "SAME_LOWER"):
            wanted = [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
        for at in range(count):
            size = whole.shape[2 + at] + more[at]
            if wanted is None:
                pads = windows.pads or [0] * (2 * count)
                before, behind = pads[at], pads[count + at]
            else:
                left = size - wanted[at]
                small, large = left // 2, left - left // 2
                before, behind = (small, large) if windows.auto == "SAME_UPPER" else (large, small)
            whole = _cropped(whole, 2 + at, before, behind - more[at])
        return whole if bias is None else whole + bias.view(-1, *[1] * count)

    return step


def _cropped(x: Tensor, axis: int, before: int, behind: int) -> Tensor:
    """Without entries before and behind; with zeros where that is negative."""
    around = [(0, 0)] * (x.ndim - axis - 1)
    return _padded(x, [(-before, -behind), *around])


def _maximum(site: Site) -> Step:
    if site.is_wanted(1):
        raise Unsupported("its indices are read, which are not computed")
    windows, kernel = _Windows.of(site.node), get_ints(site.node, "kernel_shape") or []
    function = _of_rank(_MAXIMA, len(kernel))
    strides, dilations = windows.steps(len(kernel))

    def step(x: Tensor) -> Tensor:
        around = windows.around(x.shape[2:], kernel)
        over = windows.overhang(x.shape[2:], kernel, around)
        whole = [(b, e + more) for (b, e), more in zip(around, over, strict=True)]
        if not x.is_floating_point():
            raise Unsupported(f"it pools {x.dtype}, which is not supported")
        return function(_padded(x, whole, float("-inf")), kernel, strides, 0, dilations)

    return step


def _summed(x: Tensor, kernel: list[int], strides: list[int], dilations: list[int]) -> Tensor:
    """Sums of windows, channel by channel."""
    ones = x.new_ones(1, 1, *kernel)
    function = _of_rank(_CONVOLUTIONS, len(kernel))
    flat = x.reshape(-1, 1, *x.shape[2:])
    sums = function(flat, ones, None, strides, 0, dilations)
    return sums.view(*x.shape[:2], *sums.shape[2:])


def _average(site: Site) -> Step:
    windows, kernel = _Windows.of(site.node), get_ints(site.node, "kernel_shape") or []
    counts_padding = bool(get_int(site.node, "count_include_pad", 0))
    strides, dilations = windows.steps(len(kernel))

    def step(x: Tensor) -> Tensor:
        around = windows.around(x.shape[2:], kernel)
        over = windows.overhang(x.shape[2:], kernel, around)
        behind = [(0, more) for more in over]
        sums = _summed(_padded(_padded(x, around), behind), kernel, strides, dilations)
        # What hangs over is never counted, padding only if it is asked for.
        there = x.new_ones(1, 1, *x.shape[2:])
        there = _padded(_padded(there, around, float(counts_padding)), behind)
        return sums / _summed(there, kernel, strides, dilations)

    return step


def _norm(site: Site) -> Step:
    windows, kernel = _Windows.of(site.node), get_ints(site.node, "kernel_shape") or []
    order = get_int(site.node, "p", 2)
    strides, dilations = windows.steps(len(kernel))

    def step(x: Tensor) -> Tensor:
        around = windows.around(x.shape[2:], kernel)
        over = windows.overhang(x.shape[2:], kernel, around)
        whole = [(b, e + more) for (b, e), more in zip(around, over, strict=True)]
        powers = _padded(x.abs() ** order, whole)
        return _summed(powers, kernel, strides, dilations) ** (1 / order)

    return step


def _whole(reduce: Callable[[Tensor, list[int]], Tensor]) -> Step:
    """A pool whose window is everything."""

    def step(x: Tensor) -> Tensor:
        flat = reduce(x.reshape(*x.shape[:2], prod(x.shape[2:])), [2])
        return flat.view(*x.shape[:2], *[1] * (x.ndim - 2))

    return step


OPERATORS = {
    "AveragePool": Operator(_average),
    "Conv": Operator(_convolution),
    "ConvTranspose": Operator(_transposed),
    "GlobalAveragePool": Operator(lambda site: _whole(torch.mean)),
    "GlobalMaxPool": Operator(lambda site: _whole(torch.amax)),
    "LpPool": Operator(_norm),
    "MaxPool": Operator(_maximum),
}
"""By name."""

"""Fourier transforms. Complex numbers are two entries in a last dimension, real ones are one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from isslim.compress.kinds.graphs.trainable.operators.site import (
    Operator,
    Site,
    Step,
    axis_of,
)
from isslim.compress.onnx.model.attributes import get_int


def _complex(x: Tensor) -> Tensor:
    """(..., 1) or (..., 2) as (...), real or complex."""
    if x.shape[-1] == 1:
        return x.squeeze(-1)
    return torch.view_as_complex(x.contiguous())


def _transform(site: Site) -> Step:
    inverse, one_sided = (bool(get_int(site.node, name, 0)) for name in ("inverse", "onesided"))
    lengths, axes = site.numbers(1), site.numbers(2)
    attribute = get_int(site.node, "axis", 1) if site.opset < 20 else None

    def step(x: Tensor, length: Tensor | None = None, along: Tensor | None = None) -> Tensor:
        (axis,) = (axes(along) or [-2]) if attribute is None else [attribute]
        place = axis_of(axis, x.ndim)
        whole = 2 * (x.shape[place] - 1) if inverse and one_sided else x.shape[place]
        (count,) = lengths(length) or [whole]
        values = _complex(x)
        if inverse and one_sided:
            real: Tensor = torch.fft.irfft(values, count, place)
            return real.unsqueeze(-1)
        if inverse:
            return torch.view_as_real(torch.fft.ifft(values, count, place))
        found = torch.fft.fft(values, count, place)
        if one_sided:
            found = found.narrow(place, 0, count // 2 + 1)
        return torch.view_as_real(found)

    return step


def _short_time(site: Site) -> Step:
    one_sided = bool(get_int(site.node, "onesided", 1))
    steps, lengths = site.numbers(1), site.numbers(3)

    def step(
        x: Tensor, stride: Tensor, window: Tensor | None = None, length: Tensor | None = None
    ) -> Tensor:
        (hop,) = steps(stride) or [1]
        named = lengths(length)
        size = named[0] if named else window.shape[0] if window is not None else 0
        frames = _complex(x).unfold(1, size, hop)
        if window is not None:
            frames = frames * functional.pad(window, (0, size - window.shape[0]))
        found = torch.fft.fft(frames)
        return torch.view_as_real(found[..., : size // 2 + 1] if one_sided else found)

    return step


OPERATORS = {
    "DFT": Operator(_transform, (1, 2)),
    # Its window is a setting, as its step is.
    "STFT": Operator(_short_time, (1, 2, 3)),
}
"""By name."""

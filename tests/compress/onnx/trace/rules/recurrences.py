"""The recurrent operators step by step in numpy, with some units held at zero.

Written from https://onnx.ai/onnx/operators/onnx__LSTM.html, onnx__GRU.html and onnx__RNN.html for
their default activations. A unit that is held at zero is zero before the first step, after every
step, and in what the other units read of it.

Legend: T steps, B batch, D directions, G gates, H units, I inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """One direction's W (G H, I), R (G H, H), both halves of B (G H), and P (3, H)."""

    input: Values
    recurrent: Values
    input_bias: Values
    recurrent_bias: Values
    peephole: Values
    linear_before_reset: bool = False


def sigmoid(x: Values) -> Values:
    return 1 / (1 + np.exp(-x))


def lstm_step(
    x: Values, h: Values, c: Values, w: Weights, mask: NDArray[np.bool_]
) -> tuple[Values, Values]:
    summed = x @ w.input.T + h @ w.recurrent.T + w.input_bias + w.recurrent_bias
    i, o, f, g = np.split(summed, 4, axis=-1)
    of_i, of_o, of_f = w.peephole
    new = sigmoid(f + of_f * c) * c + sigmoid(i + of_i * c) * np.tanh(g)
    new = new * mask
    return sigmoid(o + of_o * new) * np.tanh(new) * mask, new


def gru_step(x: Values, h: Values, w: Weights, mask: NDArray[np.bool_]) -> Values:
    wz, wr, wn = np.split(w.input, 3)
    rz, rr, rn = np.split(w.recurrent, 3)
    bz, br, bn = np.split(w.input_bias, 3)
    sz, sr, sn = np.split(w.recurrent_bias, 3)
    z = sigmoid(x @ wz.T + h @ rz.T + bz + sz)
    r = sigmoid(x @ wr.T + h @ rr.T + br + sr)
    held = r * (h @ rn.T + sn) if w.linear_before_reset else (r * h) @ rn.T + sn
    return ((1 - z) * np.tanh(x @ wn.T + bn + held) + z * h) * mask


def rnn_step(x: Values, h: Values, w: Weights, mask: NDArray[np.bool_]) -> Values:
    summed = x @ w.input.T + h @ w.recurrent.T + w.input_bias + w.recurrent_bias
    return np.tanh(summed) * mask


def one_direction(
    kind: str, x: Values, h: Values, c: Values, w: Weights, mask: NDArray[np.bool_]
) -> tuple[Values, Values, Values]:
    """All steps (T, B, H), and h and c (B, H) after the last, from x (T, B, I)."""
    h, c = h * mask, c * mask
    outputs = []
    for step in x:
        if kind == "LSTM":
            h, c = lstm_step(step, h, c, w, mask)
        else:
            h = (gru_step if kind == "GRU" else rnn_step)(step, h, w, mask)
        outputs.append(h)
    return np.stack(outputs), h, c


def unrolled(
    kind: str,
    directions: list[str],
    x: Values,
    states: tuple[Values, Values],
    weights: list[Weights],
    masks: list[NDArray[np.bool_]],
) -> tuple[Values, Values, Values]:
    """Y (T, D, B, H), Y_h and Y_c (D, B, H) from x (T, B, I) and states (D, B, H)."""
    found = []
    for index, direction in enumerate(directions):
        run = x if direction == "forward" else x[::-1]
        h, c = states[0][index], states[1][index]
        y, h, c = one_direction(kind, run, h, c, weights[index], masks[index])
        found.append((y if direction == "forward" else y[::-1], h, c))
    ys, hs, cs = zip(*found, strict=True)
    return np.stack(ys, 1), np.stack(hs), np.stack(cs)

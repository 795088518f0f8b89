"""One step of an LSTM, GRU or RNN, written out: all that torch's own layers do not know.

    x (B, G H) what the inputs add to the gates, biases included   h, c (B, H) the states
    R (G H, H)   Rb (G H,)   P (3 H,) of i, o, f

Gates as in `isslim/compress/onnx/model/recurrent.py`: i, o, f, c; z, r, h; one. Activations get
what `clip` leaves of their arguments.

Legend: B batch, G gates, H units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from isslim.compress.kinds.graphs.trainable.operators.site import Unsupported

Activation = Callable[[Tensor], Tensor]
States = tuple[Tensor, ...]

_FUNCTIONS: dict[str, Callable[[Tensor, float, float], Tensor]] = {
    "sigmoid": lambda x, a, b: torch.sigmoid(x),
    "tanh": lambda x, a, b: torch.tanh(x),
    "relu": lambda x, a, b: torch.relu(x),
    "affine": lambda x, a, b: a * x + b,
    "leakyrelu": lambda x, a, b: functional.leaky_relu(x, a),
    "thresholdedrelu": lambda x, a, b: functional.threshold(x, a, 0.0),
    "scaledtanh": lambda x, a, b: a * torch.tanh(b * x),
    "hardsigmoid": lambda x, a, b: torch.clamp(a * x + b, 0, 1),
    "elu": lambda x, a, b: functional.elu(x, a),
    "softsign": lambda x, a, b: functional.softsign(x),
    "softplus": lambda x, a, b: functional.softplus(x),
}


def activation(setting: tuple[str, float, float], clip: float) -> Activation:
    """An activation in torch.

    Args:
        setting: as `gates.activations` gives them.
        clip: largest magnitude of its argument; infinity: any.

    Raises:
        Unsupported: for one that is not known.
    """
    name, alpha, beta = setting
    if name not in _FUNCTIONS:
        raise Unsupported(f"its activation {name} is not supported")
    function = _FUNCTIONS[name]
    if clip == float("inf"):
        return lambda x: function(x, alpha, beta)
    return lambda x: function(x.clamp(-clip, clip), alpha, beta)


@dataclass(frozen=True)
class Cell:
    """How a cell computes.

    Attributes:
        kind: LSTM, GRU or RNN.
        activations: of one direction, in the operator's order.
        linear_before_reset: of a GRU.
        coupled: whether the forget gate of an LSTM is 1 less the input gate.
    """

    kind: str
    activations: tuple[Activation, ...]
    linear_before_reset: bool
    coupled: bool


@dataclass(frozen=True)
class Recurrence:
    """The matrices of one direction; see the module's legend.

    Attributes:
        matrix: R.
        bias: Rb, where it is not among what the inputs add; see `own_bias`.
        peephole: P, of an LSTM that has one.
    """

    matrix: Tensor
    bias: Tensor | None
    peephole: Tensor | None


def own_bias(cell: Cell) -> bool:
    """Whether the last gate's Rb is added before something else is done to the sum."""
    return cell.kind == "GRU" and cell.linear_before_reset


def step(cell: Cell, recurrence: Recurrence, x: Tensor, states: States) -> States:
    """The states after one step; h first.

    Args:
        cell: how it computes.
        recurrence: its matrices.
        x: what the inputs add to the gates, (B, G H).
        states: those before, (B, H) each.
    """
    return _STEPS[cell.kind](cell, recurrence, x, states)


def _lstm(cell: Cell, own: Recurrence, x: Tensor, states: States) -> States:
    h, c = states
    f, g, last = cell.activations
    i_in, o_in, f_in, c_in = (x + h @ own.matrix.T).chunk(4, -1)
    if own.peephole is not None:
        p_i, p_o, p_f = own.peephole.chunk(3)
        i_in, f_in = i_in + p_i * c, f_in + p_f * c
    input_gate = f(i_in)
    new = (1 - input_gate if cell.coupled else f(f_in)) * c + input_gate * g(c_in)
    if own.peephole is not None:
        o_in = o_in + p_o * new
    return f(o_in) * last(new), new


def _gru(cell: Cell, own: Recurrence, x: Tensor, states: States) -> States:
    (h,) = states
    f, g = cell.activations
    units = h.shape[-1]
    z_in, r_in, h_in = x.chunk(3, -1)
    gates, last = own.matrix[: 2 * units], own.matrix[2 * units :]
    z_add, r_add = (h @ gates.T).chunk(2, -1)
    z, r = f(z_in + z_add), f(r_in + r_add)
    if cell.linear_before_reset:
        read = h @ last.T
        candidate = g(h_in + r * (read if own.bias is None else read + own.bias))
    else:
        candidate = g(h_in + (r * h) @ last.T)
    return ((1 - z) * candidate + z * h,)


def _rnn(cell: Cell, own: Recurrence, x: Tensor, states: States) -> States:
    (f,) = cell.activations
    return (f(x + states[0] @ own.matrix.T),)


_STEPS = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}

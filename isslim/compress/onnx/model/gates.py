"""A GRU's reset gate, and the activations of gates as the operator's ONNX page defines them.

https://onnx.ai/onnx/operators/onnx__GRU.html. Activations with parameters take them from the
lists in order; defaults are those of the operators of the same names.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from isslim.compress.onnx.model.attributes import get_float, get_floats, get_strings
from isslim.compress.onnx.model.recurrent import B, R, Recurrent, W
from isslim.compress.onnx.model.split_model import Constant

Values = NDArray[np.float32]
Gate = Callable[[Values, Values], Values]

_FUNCTIONS: dict[str, Callable[[Values, float, float], Values]] = {
    # exp(-x) may overflow, tanh never does.
    "sigmoid": lambda x, a, b: 0.5 * (1 + np.tanh(0.5 * x)),
    "tanh": lambda x, a, b: np.tanh(x),
    "relu": lambda x, a, b: np.maximum(x, 0),
    "affine": lambda x, a, b: a * x + b,
    "leakyrelu": lambda x, a, b: np.where(x >= 0, x, a * x),
    "thresholdedrelu": lambda x, a, b: np.where(x >= a, x, 0),
    "scaledtanh": lambda x, a, b: a * np.tanh(b * x),
    "hardsigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "elu": lambda x, a, b: np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0))),
    "softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "softplus": lambda x, a, b: np.logaddexp(x, 0),
}
_ALPHA = {
    "affine": 1.0,
    "leakyrelu": 0.01,
    "thresholdedrelu": 1.0,
    "scaledtanh": 1.0,
    "hardsigmoid": 0.2,
    "elu": 1.0,
}
_BETA = {"affine": 0.0, "scaledtanh": 1.0, "hardsigmoid": 0.5}


def reset_gate(seen: Recurrent, direction: int, weights: dict[int, Constant]) -> Gate:
    """Recomputes the reset gate of a GRU, which is not an output of the operator.

        r = activation(clip(x W_r^T + h R_r^T + Wb_r + Rb_r))

    Args:
        seen: a GRU.
        direction: index into its directions.
        weights: the node's tensors by position (W, R, and B if present).

    Returns:
        r (N, H) from the layer's input (N, I) and its output of the previous step (N, H).
    """
    rows = slice(seen.units, 2 * seen.units)  # gates are in the order z, r, h
    weight, recurrence = (np.array(weights[at][direction][rows].T, np.float32) for at in (W, R))
    # The operator's default where B is omitted.
    bias = np.zeros(seen.units, np.float32)
    if B in weights:
        bias = np.array(weights[B][direction], np.float32).reshape(2, -1)[:, rows].sum(0)
    # Each direction has two activations: that of z and r, then that of h.
    activation = _activation(seen.node, 2 * direction, ["Sigmoid", "Tanh"] * len(seen.directions))
    return lambda inputs, before: activation(inputs @ weight + before @ recurrence + bias)


def activations(node: NodeProto, default: list[str]) -> list[tuple[str, float, float]]:
    """All activations of a node, in lower case, with alpha and beta (0 where they take none).

    Args:
        node: a recurrent node.
        default: the names of its activations where it names none, for all directions.
    """
    names = [name.lower() for name in get_strings(node, "activations") or default]
    alphas, betas = (get_floats(node, f"activation_{each}") for each in ("alpha", "beta"))
    found = []
    # The lists of alphas and betas have entries only for activations that take them, for all
    # directions in sequence.
    for name in names:
        alpha = (alphas.pop(0) if alphas else _ALPHA[name]) if name in _ALPHA else 0.0
        beta = (betas.pop(0) if betas else _BETA[name]) if name in _BETA else 0.0
        found.append((name, alpha, beta))
    return found


def _activation(node: NodeProto, position: int, default: list[str]) -> Callable[[Values], Values]:
    """One of a node's activations, with its clip before it."""
    name, alpha, beta = activations(node, default)[position]
    function, limit = _FUNCTIONS[name], get_float(node, "clip", float("inf"))
    return lambda x: np.asarray(function(np.clip(x, -limit, limit), alpha, beta), np.float32)

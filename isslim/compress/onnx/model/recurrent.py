"""One view over the LSTM, GRU and RNN operators.

    W (D, G H, I)   R (D, G H, H)   B (D, 2 G H): of W, then of R   P (D, 3 H)
    initial states (D, B, H)   Y (T, D, B, H)   Y_h, Y_c (D, B, H)

https://onnx.ai/onnx/operators/onnx__LSTM.html, onnx__GRU.html, onnx__RNN.html. Gates are i, o, f,
c; z, r, h; one. The operators differ in where W x and R h meet. In an LSTM and an RNN they are
summed in every gate; in a GRU with `linear_before_reset` the reset gate is between them in the
last gate, so that each has its own bias; without it the last gate reads r * h and not h.

Legend: D directions, G gates, H units, I inputs, T steps, B batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from isslim.compress.errors import GraphNotUnderstood
from isslim.compress.onnx.model.attributes import get_floats, get_int, get_string, get_strings
from isslim.compress.onnx.model.split_model import Constant, given, label

OPERATORS = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""Operators and their gates."""
X, W, R, B, LENGTHS, H0, C0, P = range(8)
"""Positions of the inputs."""
Direction = Literal["forward", "backward"]
_DIRECTIONS: dict[str, tuple[Direction, ...]] = {
    "forward": ("forward",),
    "reverse": ("backward",),
    "bidirectional": ("forward", "backward"),
}
"""Per value of the attribute `direction`."""

# Activations that map zero to zero (with the default alpha and beta): only after these does a unit
# without weights stay at zero.
_ZERO_PRESERVING = {"tanh", "relu", "leakyrelu", "thresholdedrelu", "scaledtanh", "elu", "softsign"}
DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
"""Activations of one direction where a node names none."""


@dataclass(frozen=True)
class Recurrent:
    """A recurrent node and its properties.

    Attributes:
        node: the node itself.
        name: its name in those of axes and arrays.
        kind: its operator.
        units: H.
        directions: in the order of the first dimension of its tensors.
        linear_before_reset: for a GRU; False elsewhere.
    """

    node: NodeProto
    name: str
    kind: str
    units: int
    directions: tuple[Direction, ...]
    linear_before_reset: bool

    @property
    def gates(self) -> int:
        """G."""
        return OPERATORS[self.kind]

    @property
    def joint(self) -> bool:
        """Whether W x and R h are summed in every gate, so that both are one site."""
        return self.kind != "GRU"

    @property
    def reset_first(self) -> bool:
        """Whether its last gate reads r * h, which no output of the node holds."""
        return self.kind == "GRU" and not self.linear_before_reset

    @property
    def states(self) -> tuple[int, ...]:
        """Positions of the initial states; the outputs 1, 2 are the states after the last step."""
        return (H0, C0) if self.kind == "LSTM" else (H0,)

    def given(self, index: int) -> str:
        """Name of an input, empty when it is omitted."""
        return given(self.node, index)

    def not_zero_preserving(self) -> str | None:
        """The activation because of which a unit without weights is not zero, or None."""
        default = DEFAULTS[self.kind] * len(self.directions)
        activations = get_strings(self.node, "activations") or default
        per = len(DEFAULTS[self.kind])
        # The first ones of an LSTM or GRU belong to its gates, which multiply the others: it does
        # not matter to what they map zero.
        visible = [name for index, name in enumerate(activations) if per == 1 or index % per]
        betas = get_floats(self.node, "activation_beta")
        # Without an offset, Affine is a factor.
        kept = _ZERO_PRESERVING | (set() if any(betas) or not betas else {"affine"})
        return next((name for name in visible if name.lower() not in kept), None)


@dataclass(frozen=True)
class Cell:
    """One direction's weights in canonical form, float32.

    Attributes:
        weight: (G H, I).
        recurrence: (G H, H); of a GRU without `linear_before_reset` (2 H, H), and `candidate` (H,
            H) reads r * h.
        bias: (G H,) beside `weight`; where both parts are summed, of both.
        recurrence_bias: beside `recurrence` in a GRU, else None.
        candidate: see `recurrence`.
        candidate_bias: (H,) beside it.
        peephole: (3 H,) of an LSTM that has one.
    """

    weight: NDArray[np.float32]
    recurrence: NDArray[np.float32]
    bias: NDArray[np.float32]
    recurrence_bias: NDArray[np.float32] | None = None
    candidate: NDArray[np.float32] | None = None
    candidate_bias: NDArray[np.float32] | None = None
    peephole: NDArray[np.float32] | None = None

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The arrays that exist, by attribute."""
        return {name: value for name, value in vars(self).items() if value is not None}


def view(node: NodeProto) -> Recurrent | None:
    """The view of a node; None if it is not recurrent.

    Raises:
        GraphNotUnderstood: when an attribute has a value or a type that the operators do not have.
    """
    # An operator of another domain with the same name may compute anything.
    if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
        return None
    direction = get_string(node, "direction", "forward")
    if direction not in _DIRECTIONS:
        raise GraphNotUnderstood(
            f"the direction of {node.op_type} '{label(node)}' is '{direction}': expected "
            f"{', '.join(_DIRECTIONS)}. The file is damaged: export it again"
        )
    return Recurrent(
        node,
        label(node),
        node.op_type,
        get_int(node, "hidden_size", 0),
        _DIRECTIONS[direction],
        node.op_type == "GRU" and bool(get_int(node, "linear_before_reset", 0)),
    )


def cell(recurrent: Recurrent, direction: int, weights: Mapping[int, Constant]) -> Cell:
    """The canonical arrays of one direction.

    Args:
        recurrent: the node.
        direction: index into its directions.
        weights: the node's tensors by position (W, R, and B and P if present).

    Returns:
        Arrays of the shapes in `Cell`.
    """
    own = {position: np.array(value[direction], np.float32) for position, value in weights.items()}
    rows, units = recurrent.gates * recurrent.units, recurrent.units
    both = own.get(B, np.zeros(2 * rows, np.float32))
    first, second = both[:rows], both[rows:]
    # Two biases that are only ever added become one, for removal and repair to change.
    if recurrent.joint:
        return Cell(own[W], own[R], first + second, peephole=own.get(P))
    if not recurrent.reset_first:
        return Cell(own[W], own[R], first, second.copy())
    # z and r read h, the last gate r * h: two matrices with different inputs.
    gates, last = slice(2 * units), slice(2 * units, None)
    return Cell(
        own[W], own[R][gates], first, second[gates].copy(), own[R][last], second[last].copy()
    )


def tensors(recurrent: Recurrent, cells: list[Cell]) -> dict[int, NDArray[np.float32]]:
    """The inverse of `cell` over all directions.

    Args:
        recurrent: the node.
        cells: one for each of its directions, all of the same number of units.

    Returns:
        By position W (D, G H, I), R (D, G H, H), B (D, 2 G H) and, where there is one, P (D, 3 H),
        float32; `cell` of them gives the given cells.
    """
    result: dict[int, list[NDArray[np.float32]]] = {W: [], R: [], B: []}
    for each in cells:
        rows, units = each.weight.shape[0], each.recurrence.shape[1]
        recurrence = (
            each.recurrence
            if each.candidate is None
            else np.concatenate([each.recurrence, each.candidate])
        )
        given = [bias for bias in (each.recurrence_bias, each.candidate_bias) if bias is not None]
        # Where one bias replaces two, the second is zero: only their sum counts.
        second = np.concatenate(given) if given else np.zeros(rows, np.float32)
        result[W].append(each.weight)
        result[R].append(recurrence.reshape(rows, units))
        result[B].append(np.concatenate([each.bias, second]))
        if each.peephole is not None:
            result.setdefault(P, []).append(each.peephole)
    return {position: np.stack(values) for position, values in result.items()}

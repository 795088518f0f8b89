"""Torch's LSTM and GRU layers as ONNX's operators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from isslim.compress.export.streaming import Floats


@dataclass(frozen=True)
class Operator:
    """The form of a layer in ONNX.

    Attributes:
        name: the operator.
        gates: torch's positions in ONNX's order.
        states: names of its states.
        attributes: those besides `hidden_size`.
    """

    name: str
    gates: tuple[int, ...]
    states: tuple[str, ...]
    attributes: dict[str, int]

    def ordered(self, values: Floats) -> Floats:
        """(G H, ...) with torch's order of the gates -> the same with ONNX's."""
        gates = values.reshape(len(self.gates), -1, *values.shape[1:])  # (G, H, ...)
        return gates[list(self.gates)].reshape(values.shape)


OPERATORS = {
    # torch stacks i, f, g, o; ONNX i, o, f, c, where c is torch's g.
    "lstm": Operator("LSTM", (0, 3, 1, 2), ("hidden", "cell"), {}),
    # torch stacks r, z, n; ONNX z, r, h, where h is torch's n.
    "gru": Operator("GRU", (1, 0, 2), ("hidden",), {"linear_before_reset": 1}),
}


def operator_weights(
    parameters: Sequence[Floats], operator: Operator, suffix: str
) -> Iterator[tuple[str, Floats]]:
    """The three tensors that an operator reads.

    Args:
        parameters: in the order of `PARAMETERS` and torch's order of the gates, for H units and G
            gates that read I inputs: (G H, I), (G H, H), (G H,), (G H,).
        operator: the operator.
        suffix: of the names of the tensors.

    Yields:
        Names with W (1, G H, I), R (1, G H, H) and B (1, 2 G H), float32.
    """
    inward, across, *biases = parameters
    yield f"input_weight_{suffix}", operator.ordered(inward)[None]
    yield f"recurrent_weight_{suffix}", operator.ordered(across)[None]
    # B is the bias of W, then that of R, each in the order of the gates.
    yield f"bias_{suffix}", np.concatenate([operator.ordered(bias) for bias in biases])[None]

"""One recurrent layer with its parameters, run by torch's fused LSTM or GRU.

The parameters are plain attributes under the names of `nn.LSTM`, and the flat list that the fused
operator takes is built in every call. `nn.LSTM` keeps such a list beside its parameters, so that
`torch.func.functional_call` would run with the old weights instead of the substitutes that learned
gates and dropped weights need.

Legend: B batch, T steps, I inputs, H units.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from isslim.compress.layers.regularisation import Regularisation

PARAMETERS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


class RecurrentLayer(nn.Module, ABC):
    """Gates stacked along the first dimension of every parameter.

    Args:
        below: I.
        units: H.

    Attributes:
        gates: number of gates of a unit.
        states: number of tensors (1, B, H) of the state; the first is the output of the step
            before.
        joint: whether input and recurrent part of every gate are summed before anything else.
    """

    gates: ClassVar[int]
    states: ClassVar[int]
    joint: ClassVar[bool]

    def __init__(self, below: int, units: int) -> None:
        super().__init__()
        self.units = units
        rows = self.gates * units
        self.weight_ih_l0 = nn.Parameter(torch.empty(rows, below))
        self.weight_hh_l0 = nn.Parameter(torch.empty(rows, units))
        self.bias_ih_l0 = nn.Parameter(torch.empty(rows))
        self.bias_hh_l0 = nn.Parameter(torch.empty(rows))
        bound = 1 / math.sqrt(units)  # as in torch's own layers
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(
        self, inputs: Tensor, state: tuple[Tensor, ...], regularisation: Regularisation
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Runs all steps.

        Args:
            inputs: (T, B, I).
            state: `states` tensors (1, B, H).
            regularisation: its `weight_drop` acts here.

        Returns:
            The output (T, B, H) of every step and the state after the last.
        """
        across = regularisation.connected(self.weight_hh_l0, training=self.training)
        return self.run(
            inputs, state, [self.weight_ih_l0, across, self.bias_ih_l0, self.bias_hh_l0]
        )

    @abstractmethod
    def run(
        self, inputs: Tensor, state: tuple[Tensor, ...], parameters: list[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Runs the fused operator.

        Args:
            inputs: (T, B, I).
            state: `states` tensors (1, B, H).
            parameters: in the order of `PARAMETERS`.

        Returns:
            As `forward`.
        """


class LstmLayer(RecurrentLayer):
    """Gates i, f, g, o; state hidden and cell."""

    gates, states, joint = 4, 2, True

    def run(
        self, inputs: Tensor, state: tuple[Tensor, ...], parameters: list[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See `RecurrentLayer.run`."""
        output, hidden, cell = torch.lstm(
            inputs, state, parameters, True, 1, 0.0, self.training, False, False
        )
        return output, (hidden, cell)


class GruLayer(RecurrentLayer):
    """Gates r, z, n; state hidden. The reset gate multiplies the recurrent product of n."""

    gates, states, joint = 3, 1, False

    def run(
        self, inputs: Tensor, state: tuple[Tensor, ...], parameters: list[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See `RecurrentLayer.run`."""
        output, hidden = torch.gru(
            inputs, state[0], parameters, True, 1, 0.0, self.training, False, False
        )
        return output, (hidden,)

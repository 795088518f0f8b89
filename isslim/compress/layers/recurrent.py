"""One recurrent layer with its parameters, run by torch's fused LSTM or GRU.

The parameters are plain attributes under the names of `nn.LSTM`, and the flat list that the fused
operator takes is built in every call. `nn.LSTM` keeps such a list beside its parameters, so that
`torch.func.functional_call` would run with the old weights instead of the substitutes that learned
gates and dropped weights need.

Input and recurrent matrix may each have a narrow linear layer before it: `W a` is `A (P a + c)`
then, with A (gates H, K) under the name of W. The fused operator has no such layer. The recurrent
one is multiplied out in every call, `W = A P` and `A c` in the bias, which is exact at every step,
and through which gradients reach A, P and c.

Legend: B batch, T steps, I inputs, H units, K width of a narrow layer.
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
        input_rank: K of the narrow layer before the input matrix; 0: there is none.
        recurrent_rank: K of the narrow layer before the recurrent matrix; 0: there is none.

    Attributes:
        gates: number of gates of a unit.
        states: number of tensors (1, B, H) of the state; the first is the output of the step
            before.
        joint: whether input and recurrent part of every gate are summed before anything else.
        narrow_ih: from I to K; None: there is none.
        narrow_hh: from H to K; None: there is none.
    """

    gates: ClassVar[int]
    states: ClassVar[int]
    joint: ClassVar[bool]

    def __init__(
        self, below: int, units: int, input_rank: int = 0, recurrent_rank: int = 0
    ) -> None:
        super().__init__()
        self.units = units
        rows = self.gates * units
        self.weight_ih_l0 = nn.Parameter(torch.empty(rows, input_rank or below))
        self.weight_hh_l0 = nn.Parameter(torch.empty(rows, recurrent_rank or units))
        self.bias_ih_l0 = nn.Parameter(torch.empty(rows))
        self.bias_hh_l0 = nn.Parameter(torch.empty(rows))
        bound = 1 / math.sqrt(units)  # as in torch's own layers
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)
        self.narrow_ih = nn.Linear(below, input_rank) if input_rank else None
        self.narrow_hh = nn.Linear(units, recurrent_rank) if recurrent_rank else None

    def forward(
        self, inputs: Tensor, state: tuple[Tensor, ...], regularisation: Regularisation
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Runs all steps.

        Args:
            inputs: (T, B, I).
            state: `states` tensors (1, B, H).
            regularisation: its `weight_drop` acts here, with a narrow layer on A.

        Returns:
            The output (T, B, H) of every step and the state after the last.
        """
        inward: Tensor = self.weight_ih_l0
        across = regularisation.connected(self.weight_hh_l0, training=self.training)
        below: Tensor = self.bias_ih_l0
        own: Tensor = self.bias_hh_l0
        if self.narrow_ih is not None:
            if _two_products_pay(self.narrow_ih, len(inward), inputs.shape[:2].numel()):
                inputs = self.narrow_ih(inputs)
            else:
                inward, below = _multiplied_out(self.narrow_ih, inward, below)
        if self.narrow_hh is not None:
            across, own = _multiplied_out(self.narrow_hh, across, own)
        return self.run(inputs, state, [inward, across, below, own])

    def read(self, below: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """What both matrices read: the activations, through the narrow layers if any.

        Args:
            below: (T, B, I).
            previous: (T, B, H), the layer's own output of the step before each.
        """
        return (
            below if self.narrow_ih is None else self.narrow_ih(below),
            previous if self.narrow_hh is None else self.narrow_hh(previous),
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


def _multiplied_out(narrow: nn.Linear, matrix: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The matrix A P and the bias b + A c of `A (P a + c) + b`.

    Not in half precision: cuDNN takes all parameters of a layer in one.
    """
    with torch.autocast(matrix.device.type, enabled=False):
        return matrix @ narrow.weight, bias + matrix @ narrow.bias


def _two_products_pay(narrow: nn.Linear, rows: int, tokens: int) -> bool:
    """Whether `A (P a)` for all tokens is less work than A P once and `(A P) a`."""
    inputs, rank = narrow.in_features, narrow.out_features
    return tokens * rank * (inputs + rows) <= rows * inputs * (rank + tokens)

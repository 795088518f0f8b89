"""The activations of one run of BiDAF.

Legend: B batch, T tokens, D width of an activation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Text:
    """The activations of a context or a question, (T, B, ...).

    Attributes:
        words: inputs of the highway layers, where they are kept, and of the contextual LSTM.
        ahead: output of the contextual LSTM's forward direction.
        back: output of its backward direction.
        real: bool (T, B), false at padding.
        lengths: int (B,).
        turned: int64 (T * B,); see `turning`.
    """

    words: tuple[Tensor, ...]
    ahead: Tensor
    back: Tensor
    real: Tensor
    lengths: Tensor
    turned: Tensor

    @property
    def encoded(self) -> Tensor:
        """The outputs of both directions, h or u in the docstring of `bidaf`: (T, B, D)."""
        return torch.cat([self.ahead, self.back], dim=-1)


@dataclass(frozen=True)
class Flow:
    """The activations behind the contextual LSTM, (T, B, ...); see the docstring of `bidaf`.

    Attributes:
        joined: G.
        modelled: outputs of modelling0 and modelling1, forward and backward.
        beside_output: [G; m1; a; m1 * a].
        output: of the output LSTM, forward and backward.
        start: log-probabilities (B, T).
        end: log-probabilities (B, T).
    """

    joined: Tensor
    modelled: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
    beside_output: Tensor
    output: tuple[Tensor, Tensor]
    start: Tensor
    end: Tensor

"""What flows through BiDAF: a text on its way, and every activation of a run.

Legend: B batch, T tokens, D width of an activation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Text:
    """A context or a question on its way: all (T, B, ...), with its lengths (B,).

    Attributes:
        words: what each highway layer reads, and what the contextual LSTM reads, as far as it is
            kept.
        ahead: output of the contextual LSTM's forward direction.
        back: of its backward direction.
        real: bool (T, B), false at padding.
        turned: see `turning`.
    """

    words: tuple[Tensor, ...]
    ahead: Tensor
    back: Tensor
    real: Tensor
    lengths: Tensor
    turned: Tensor

    @property
    def encoded(self) -> Tensor:
        """What the docstring of `bidaf` calls h or u: (T, B, D)."""
        return torch.cat([self.ahead, self.back], dim=-1)


@dataclass(frozen=True)
class Flow:
    """Every activation of one run, (T, B, ...); names as in the docstring of `bidaf`."""

    joined: Tensor  # G
    modelled: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
    beside_output: Tensor  # [G; m1; a; m1 * a]
    output: tuple[Tensor, Tensor]
    start: Tensor  # log-probabilities (B, T)
    end: Tensor

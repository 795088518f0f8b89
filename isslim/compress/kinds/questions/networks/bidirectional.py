"""An LSTM in each direction over texts of unequal lengths, exact whatever the padding.

Each direction has a size of its own, so that their units can be removed independently. Texts start
at step 0 and are padded behind their last token: the forward direction never reads padding before a
token, and the backward direction runs over each text reversed within its own length.

Both directions read the same input, so that one narrow linear layer may stand before both input
matrices.

Legend: B batch, T steps, I inputs, F and R units of the forward and the backward direction, K width
of the narrow layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isslim.compress.layers.recurrent import LstmLayer
from isslim.compress.layers.regularisation import Regularisation

DIRECTIONS = ("forward", "backward")


class BidirectionalLstm(nn.Module):
    """Two LSTM layers, each of its own size; the outputs are forward, then backward.

    Args:
        below: I.
        units: F and R.
        rank: K; 0: there is no narrow layer.

    Attributes:
        narrow: from I to K; None: there is none.
    """

    def __init__(self, below: int, units: tuple[int, int], rank: int = 0) -> None:
        super().__init__()
        self.narrow = nn.Linear(below, rank) if rank else None
        # `forward` is a method of every module, hence the plural.
        self.forwards = LstmLayer(rank or below, units[0])
        self.backwards = LstmLayer(rank or below, units[1])
        with torch.no_grad():
            for layer in (self.forwards, self.backwards):
                # The forget gate: TensorFlow's default, as in the paper's code.
                layer.bias_ih_l0[layer.units : 2 * layer.units] += 1

    def forward(self, inputs: Tensor, turned: Tensor) -> tuple[Tensor, Tensor]:
        """Runs both directions.

        Args:
            inputs: (T, B, I).
            turned: `turning` of the texts' lengths.

        Returns:
            Outputs (T, B, F) and (T, B, R). Those at padding are undefined, and no other depends
            on them.
        """
        inputs = self._passed(inputs)
        ahead = _run(self.forwards, inputs)
        back = turn(_run(self.backwards, turn(inputs, turned)), turned)
        return ahead, back

    def site_inputs(
        self,
        name: str,
        below: Tensor,
        outputs: tuple[Tensor, Tensor],
        lengths: Tensor,
        real: Tensor,
    ) -> dict[str, Tensor]:
        """The inputs of its sites, without padding.

        Args:
            name: of the LSTM.
            below: its input (T, B, I).
            outputs: (T, B, F) and (T, B, R).
            lengths: int (B,).
            real: bool (T, B), false at padding.

        Returns:
            By site, at N tokens: of a narrow layer its input (N, I); of each direction the input of
            its matrix and its own output of the step before, (N, I + F) and (N, I + R), or K in
            place of I.
        """
        before, behind = previous(*outputs, lengths)
        read = self._passed(below)
        narrow = {} if self.narrow is None else {f"{name}.narrow": below[real]}
        return narrow | {
            f"{name}.forwards": torch.cat([read, before], dim=-1)[real],
            f"{name}.backwards": torch.cat([read, behind], dim=-1)[real],
        }

    def _passed(self, inputs: Tensor) -> Tensor:
        """What both input matrices read."""
        if self.narrow is None:
            return inputs
        passed: Tensor = self.narrow(inputs)
        return passed

    def __call__(self, inputs: Tensor, turned: Tensor) -> tuple[Tensor, Tensor]:
        """`forward`, with torch's hooks."""
        result: tuple[Tensor, Tensor] = super().__call__(inputs, turned)
        return result


def turning(lengths: Tensor, steps: int) -> Tensor:
    """The permutation that reverses texts within their lengths.

    Args:
        lengths: int (B,).
        steps: T.

    Returns:
        int64 (T * B,), for `turn`; it is its own inverse.
    """
    at = torch.arange(steps, device=lengths.device)[:, None]  # (T, 1)
    source = torch.where(at < lengths, lengths - 1 - at, at)  # (T, B)
    return (source * len(lengths) + torch.arange(len(lengths), device=lengths.device)).flatten()


def turn(values: Tensor, turned: Tensor) -> Tensor:
    """Permutes the steps of values.

    Args:
        values: (T, B, D).
        turned: int64 (T * B,), of `turning`.
    """
    return values.flatten(0, 1).index_select(0, turned).view_as(values)


def previous(ahead: Tensor, back: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The inputs of the recurrent matrices: the outputs of each direction's step before.

    Args:
        ahead: (T, B, F).
        back: (T, B, R).
        lengths: int (B,).

    Returns:
        (T, B, F) and (T, B, R), zeros before a text's first step.
    """
    before = torch.cat([torch.zeros_like(ahead[:1]), ahead[:-1]])
    behind = torch.cat([back[1:], torch.zeros_like(back[:1])])
    last = torch.arange(len(back), device=back.device)[:, None] == lengths - 1  # (T, B)
    return before, behind.masked_fill(last[:, :, None], 0.0)


def _run(layer: LstmLayer, inputs: Tensor) -> Tensor:
    zeros = inputs.new_zeros(1, inputs.shape[1], layer.units)
    output: Tensor = layer(inputs, (zeros, zeros), Regularisation())[0]
    return output

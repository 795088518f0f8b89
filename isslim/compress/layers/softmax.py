"""A decoder in blocks of tokens, each of which may read through a narrow linear layer of its own.

Frequent tokens need more directions of the last layer than rare ones (GroupReduce, Chen et al.,
NeurIPS 2018), so that blocks by frequency with a rank each hold less work than one decoder.

Legend: B batch, T steps, V vocabulary, H units of the last layer, V_b rows of a block, K_b its
rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn


class BlockSoftmax(nn.Module):
    """Maps the last layer's output (T, B, H) to logits (T, B, V) in the order of the tokens.

    Args:
        width: H.
        blocks: V_b of each block.
        ranks: K_b of each; 0: the block reads the last layer itself. Empty: all do.

    Attributes:
        narrow: of each block the layer from H to K_b, or the identity.
        blocks: of each block the layer to its V_b logits.
        order: int64 (V,), the token of each row, the blocks one behind the other.
    """

    order: Tensor

    def __init__(self, width: int, blocks: Sequence[int], ranks: Sequence[int]) -> None:
        super().__init__()
        ranks = ranks or (0,) * len(blocks)
        self.narrow = nn.ModuleList(
            nn.Linear(width, rank) if rank else nn.Identity() for rank in ranks
        )
        self.blocks = nn.ModuleList(
            nn.Linear(rank or width, rows) for rows, rank in zip(blocks, ranks, strict=True)
        )
        self.register_buffer("order", torch.arange(sum(blocks)))

    def narrowed(self, top: Tensor) -> list[Tensor]:
        """What each block reads: (..., K_b), or the last layer's output (..., H) itself."""
        return [narrow(top) for narrow in self.narrow]

    def forward(self, top: Tensor) -> Tensor:
        """The logits (T, B, V), in the order of the tokens, of the last layer's output (T, B, H).

        They are computed as (V, T B): whole rows are put in order several times as fast as columns.
        """
        reads = self.narrowed(top.flatten(0, 1))  # (T B, K_b) each
        blocks = (cast(nn.Linear, block) for block in self.blocks)
        logits = torch.cat(
            [
                torch.addmm(block.bias[:, None], block.weight, read.t())
                for block, read in zip(blocks, reads, strict=True)
            ]
        )
        rows = torch.empty_like(self.order)
        rows[self.order] = torch.arange(len(rows), device=rows.device)
        return logits.index_select(0, rows).t().contiguous().view(*top.shape[:2], -1)

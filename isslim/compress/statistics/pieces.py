"""A sample of a long text: pieces spread evenly over all of it, read as a batch.

The beginning of a text is not representative: a corpus is sorted by author or by date, and its
first ten thousand tokens may lack half of the alphabet; on Penn Treebank a rise of perplexity was
half as large there as on the whole text. Pieces keep the order within them, and each begins with a
few tokens that only set the state.

Legend: T steps, B pieces, N tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MIN_TOKENS, MAX_TOKENS = 50, 250
"""Tokens of a piece, where there are not `MAX_PIECES` of them: enough for what a recurrent state
remembers."""
MIN_PIECES, MAX_PIECES = 40, 64
"""Pieces from which on they grow longer, and how many there are at most: a batch of them has to fit
into memory."""
WARM = 32
"""Tokens before a piece that only set its state."""


@dataclass(frozen=True)
class Pieces:
    """Parts of a text as a batch.

    Attributes:
        rows: int64 (T, B), a column a piece, in the order of the text.
        warm: how many of the first rows only set the state, at least 1 where a piece has a
            neighbour before it.
    """

    rows: Tensor
    warm: int

    @property
    def count(self) -> int:
        """Tokens that are looked at."""
        return (len(self.rows) - self.warm) * self.rows.shape[1]

    @property
    def flat(self) -> Tensor:
        """The tokens that are looked at, one piece after the other: int64 (N,)."""
        return self.rows[self.warm :].t().flatten()


def spread_pieces(tokens: Tensor, count: int) -> Pieces:
    """About `count` tokens of a text, in pieces at equal distances from its beginning to its end.

    Args:
        tokens: int64 (N,).
        count: how many to look at; at N and above the pieces touch each other and leave out at most
            the first `WARM` tokens and fewer than `MAX_PIECES` at the end.

    Raises:
        ValueError: when there are fewer than two tokens.
    """
    if len(tokens) < 2:
        raise ValueError(f"a text of {len(tokens)} tokens: at least 2 are needed")
    warm = max(1, min(WARM, len(tokens) // 10))
    usable = min(count, len(tokens) - warm)
    length = min(max(usable // MIN_PIECES, MIN_TOKENS), MAX_TOKENS)
    number = min(max(1, usable // length), MAX_PIECES)
    steps = usable // number
    last = len(tokens) - warm - steps
    starts = (
        torch.linspace(0, last, number, dtype=torch.float64).round().long()
        if number > 1
        else torch.tensor([last // 2])
    )
    places = torch.arange(warm + steps)[:, None] + starts  # (T, B)
    return Pieces(tokens[places].contiguous(), warm)


def pieces_between(tokens: Tensor, taken: int, count: int) -> Pieces | None:
    """About `count` tokens of a text that `spread_pieces` leaves out, in pieces between its own.

    A piece's state is set by the end of the piece before it, which is looked at by none of these.

    Args:
        tokens: int64 (N,).
        taken: the count that `spread_pieces` was asked for.
        count: how many to look at.

    Returns:
        None where `MIN_TOKENS` in a row are not left between two pieces, or not half of `count` in
        all.
    """
    own = spread_pieces(tokens, taken)
    steps, number = len(own.rows) - own.warm, own.rows.shape[1]
    last = len(tokens) - own.warm - steps
    if number < 2:
        return None
    starts = torch.linspace(0, last, number, dtype=torch.float64).round().long()
    # Behind the tokens of one piece, and before those of the next.
    room = int((starts[1:] - starts[:-1]).min()) - steps
    length = min(room, -(-count // (number - 1)))
    if room < MIN_TOKENS or 2 * length * (number - 1) < count:
        return None
    places = torch.arange(own.warm + length)[:, None] + starts[:-1] + steps  # (T, B - 1)
    return Pieces(tokens[places].contiguous(), own.warm)

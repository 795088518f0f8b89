"""What two texts share word for word, which is left out of one of them.

People send the same file twice, or a held-out text that was cut from the calibration text.

Legend: N, M tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

WINDOW = 32
"""Length in tokens of a match that is a copy and no coincidence."""
BLOCK = 1 << 20
"""Tokens that are looked at together: a text may have a hundred million."""
ENOUGH = 100
"""Tokens that have to be left of a text."""
_MULTIPLIER = 6364136223846793005  # Knuth's, of a linear congruential generator modulo 2^64


def without(text: Tensor, other: Tensor) -> Tensor:
    """A text without the stretches that also occur in another one.

    Args:
        text: int64 (N,).
        other: int64 (M,), looked at in windows that touch each other: a shared stretch of `2 *
            WINDOW` tokens is surely found.

    Returns:
        int64: the tokens of `text` that are left, in their order.
    """
    if min(len(text), len(other)) < WINDOW:
        return text
    count = len(other) // WINDOW
    wanted = torch.unique(_hashes(other[: count * WINDOW].reshape(count, WINDOW)).flatten())
    shared = torch.zeros(len(text), dtype=torch.bool)
    for first in range(0, len(text) - WINDOW + 1, BLOCK):
        # Of the windows that begin at each token of a block: (B,).
        found = _hashes(text[first : first + BLOCK + WINDOW - 1])
        at = torch.searchsorted(wanted, found).clamp(max=len(wanted) - 1)
        begins = torch.nonzero(wanted[at] == found).flatten() + first
        for offset in range(WINDOW if len(begins) else 0):
            shared[begins + offset] = True
    return text[~shared] if shared.any() else text


def remove_overlap(fitted: list[Tensor], held_out: Tensor) -> tuple[list[Tensor], Tensor, str, str]:
    """The texts for fitting and the one for evaluation, without what they share.

    What they share is left out of the former, and where too little of them is left, of the latter.

    Args:
        fitted: int64 (N,) each.
        held_out: int64 (M,).

    Returns:
        The texts, the one for evaluation, and what was removed in words, empty if nothing was.
    """
    kept = [without(text, held_out) for text in fitted]
    lost = max(len(text) - len(left) for text, left in zip(fitted, kept, strict=True))
    if not lost:
        return fitted, held_out, "", ""
    if all(len(left) >= ENOUGH for left in kept):
        return (
            kept,
            held_out,
            f", without the {lost:,} tokens that also occur in the held-out text",
            "",
        )
    rest = held_out
    for text in fitted:
        rest = without(rest, text)
    if len(rest) >= ENOUGH:
        lost = len(held_out) - len(rest)
        return (
            fitted,
            rest,
            "",
            f", without the {lost:,} tokens that also occur in the calibration or training text",
        )
    return fitted, held_out, "", ", which repeats the calibration or training text"


def _hashes(text: Tensor) -> Tensor:
    """A number modulo 2^64 for each window of a text, by first token: equal for equal windows.

    Args:
        text: int64 (..., N).

    Returns:
        int64 (..., N - WINDOW + 1).
    """
    count = text.shape[-1] - WINDOW + 1
    found = torch.zeros((*text.shape[:-1], count), dtype=torch.int64)
    for offset in range(WINDOW):
        found.mul_(_MULTIPLIER).add_(text[..., offset : offset + count] + 1)
    return found

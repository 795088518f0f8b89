"""What two texts share word for word, which is left out of one of them.

People send the same file twice, or a held-out text that was cut from the calibration text.

Legend: N, M tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

WINDOW = 32
"""Length in tokens of a match that is a copy and no coincidence."""
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
    wanted = torch.unique(_hashes(other)[::WINDOW])
    found = _hashes(text)  # (N - WINDOW + 1,), of the window that begins at each token
    at = torch.searchsorted(wanted, found).clamp(max=len(wanted) - 1)
    begins = torch.nonzero(wanted[at] == found).flatten()
    if not len(begins):
        return text
    edges = torch.zeros(len(text) + 1, dtype=torch.int64)
    edges.index_add_(0, begins, torch.ones_like(begins))
    edges.index_add_(0, begins + WINDOW, -torch.ones_like(begins))
    return text[edges.cumsum(0)[:-1] == 0]


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
    """A number modulo 2^64 for each window of a text, by first token: equal for equal windows."""
    count = len(text) - WINDOW + 1
    found = torch.zeros(count, dtype=torch.int64)
    for offset in range(WINDOW):
        found.mul_(_MULTIPLIER).add_(text[offset : offset + count] + 1)
    return found

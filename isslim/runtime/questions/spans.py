"""The best answer spans: the largest products of the probabilities of a start and an end.

A span starts at or before its end, and its length is bounded.
All spans that are short enough form one band of the (start, end) plane: (T, L) sums, computed
together. Equal scores are ordered by their start, then by their end, so that an answer never
depends on how a sort breaks ties.

Legend: T tokens of a context, L most tokens of a span.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray


@dataclass(frozen=True)
class Span:
    """A run of tokens, both ends included.

    Attributes:
        start: index of the first token.
        end: index of the last token.
        log_prob: natural logarithm of P(start) P(end).
    """

    start: int
    end: int
    log_prob: float


def best_spans(
    start_log_probs: NDArray[np.floating],
    end_log_probs: NDArray[np.floating],
    *,
    max_tokens: int,
    top_k: int = 1,
) -> list[Span]:
    """The most likely distinct spans of a context, best first.

    Args:
        start_log_probs: (T,), natural logarithms, of real tokens only.
        end_log_probs: (T,), the same.
        max_tokens: L, at least 1.
        top_k: how many; fewer are returned when there are fewer spans.

    Returns:
        Spans of 1 to L tokens. Sums are taken in float64.

    Raises:
        ValueError: when the two differ in length, hold no token, or a bound is below 1.
    """
    if (
        start_log_probs.shape != end_log_probs.shape
        or start_log_probs.ndim != 1
        or not start_log_probs.size
    ):
        raise ValueError(
            f"not one start and end a token: {start_log_probs.shape} and {end_log_probs.shape}"
        )
    if max_tokens < 1 or top_k < 1:
        raise ValueError(
            f"a span of at most {max_tokens} tokens, {top_k} of them: both must be 1 or more"
        )
    count = len(start_log_probs)
    width = min(max_tokens, count)
    ends = sliding_window_view(
        np.concatenate([end_log_probs, end_log_probs[: width - 1]]), width
    )  # (T, L)
    band = start_log_probs.astype(np.float64)[:, None] + ends
    # Row-major order is by start, then by end; no span goes beyond the last token.
    inside = np.flatnonzero(np.arange(count)[:, None] + np.arange(width) < count)
    scores = band.ravel()[inside]
    top_k = min(top_k, len(scores))
    least = np.partition(scores, -top_k)[-top_k]
    better, equal = np.flatnonzero(scores > least), np.flatnonzero(scores == least)
    chosen = np.sort(np.concatenate([better, equal[: top_k - len(better)]]))
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
    starts, lengths = np.divmod(inside[chosen], width)
    found = zip(starts.tolist(), lengths.tolist(), scores[chosen].tolist(), strict=True)
    return [Span(start, start + length, score) for start, length, score in found]

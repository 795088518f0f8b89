"""Perplexity from a mean loss."""

from __future__ import annotations

import math


def perplexity_of(loss: float) -> float:
    """exp, and infinity where that is no double."""
    return math.exp(loss) if loss < 700 else (math.nan if math.isnan(loss) else math.inf)

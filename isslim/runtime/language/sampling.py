"""Draws the next token from a model's log-probabilities.

Temperature first, then `top_k`, then `top_p`, as most programs have it. All arithmetic is in
float64; of equally likely tokens the one of the lower id counts as the likelier.

A draw is the largest sum of log-probability and Gumbel noise. Every token has noise of its own,
which depends on seed and position alone: two models with nearly equal probabilities draw the same
tokens from one seed for longer than with one number that is looked up in cumulative sums.

Legend: V vocabulary.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LogProbs = NDArray[np.float32]
Ids = NDArray[np.intp]
SEEDS = 1 << 63
"""Seeds are below this: integers of 64 bits to every client."""
_ROUNDING = 1e-9
"""More than the error of a sum of log-probability and noise."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: log-probabilities are divided by it; 0 draws the most likely token.
        top_p: only the fewest most likely tokens are drawn whose probabilities sum to at least
            this, above 0 and up to 1.
        top_k: only so many most likely tokens are drawn; 0: all.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    @property
    def greedy(self) -> bool:
        """Whether no token but the most likely one is ever drawn."""
        return self.temperature == 0 or self.top_k == 1


def random_seed() -> int:
    """A seed for requests that name none."""
    return secrets.randbelow(SEEDS)


class Sampler:
    """Draws one token after the other.

    Args:
        sampling: how.
        seed: of the random numbers, 0 or more; the same one gives the same tokens.
        drawn: how many tokens were drawn with this seed before.

    Attributes:
        drawn: how many tokens were drawn with this seed; greedy choices are not counted.
    """

    def __init__(self, sampling: Sampling, seed: int, drawn: int = 0) -> None:
        self.sampling, self.seed, self.drawn = sampling, seed, drawn
        self._random: np.random.Generator | None = None

    def draw(self, log_probs: LogProbs) -> int:
        """The id of the next token.

        Args:
            log_probs: natural log-probabilities, float32 (V,); V is always the same.
        """
        if self.sampling.greedy:
            return int(log_probs.argmax())
        if self._random is None:
            bits = np.random.PCG64(self.seed)
            bits.advance(self.drawn * len(log_probs))
            self._random = np.random.Generator(bits)
        # For every token, also those that are not kept: each draw takes equally many.
        numbers = self._random.random(len(log_probs))
        self.drawn += 1
        # At most 0, so that no temperature makes all of them infinite.
        scaled = (log_probs.astype(np.float64) - log_probs.max()) / self.sampling.temperature
        kept = _kept(scaled, self.sampling)
        if kept is None:
            return _largest_with_noise(scaled, numbers)
        return int(kept[_largest_with_noise(scaled[kept], numbers[kept])])


def _gumbel(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gumbel noise from uniform numbers in [0, 1), increasing."""
    with np.errstate(divide="ignore"):  # of 0, which is minus infinity
        return -np.log(-np.log(numbers))


def _largest_with_noise(scaled: NDArray[np.float64], numbers: NDArray[np.float64]) -> int:
    """The index of the largest sum of `scaled` and the noise from `numbers`.

    Logarithms take most of the time: they are taken only where the largest noise of all would
    suffice to overtake the most likely token.
    """
    best = int(scaled.argmax())
    own, most = _gumbel(np.array([numbers[best], numbers.max()]))
    able = np.flatnonzero(scaled >= scaled[best] - (most - own) - _ROUNDING)
    return int(able[(scaled[able] + _gumbel(numbers[able])).argmax()])


def _kept(scaled: NDArray[np.float64], sampling: Sampling) -> Ids | None:
    """The tokens that may be drawn, the most likely one first; None: all.

    Args:
        scaled: log-probabilities up to a constant, (V,).
        sampling: `top_k` and `top_p` count.
    """
    kept = None
    if 0 < sampling.top_k < len(scaled):
        least = np.partition(scaled, len(scaled) - sampling.top_k)[len(scaled) - sampling.top_k]
        kept = _in_order(scaled, np.flatnonzero(scaled >= least))[: sampling.top_k]
    if sampling.top_p < 1:
        chances = np.exp(scaled if kept is None else scaled[kept])
        chances /= chances.sum()
        if kept is None:
            # All tokens below this together are less than what is left out: they need no sorting.
            some = np.flatnonzero(chances >= (1 - sampling.top_p) / len(chances))
            kept = _in_order(scaled, some)
            chances = chances[kept]
        kept = kept[: 1 + int(np.searchsorted(np.cumsum(chances), sampling.top_p))]
    return kept


def _in_order(scaled: NDArray[np.float64], ids: Ids) -> Ids:
    """Ids from the most likely one on; they are given in increasing order."""
    return ids[np.argsort(-scaled[ids], kind="stable")]

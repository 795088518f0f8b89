"""Sums over calibration data from which everything is solved: they merge over chunks, shards and workers.

A correction that is fitted to few rows fits their accidents. So the sums are kept in two halves, of different runs, texts or
stretches of one: what is fitted to one half is judged on the other (`repair`).

Legend: N observations, D width of an observation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Sums:
    """Count, sum (D,) and sum of outer products (D, D), float64."""

    count: int
    total: Matrix
    outer: Matrix

    @classmethod
    def of(cls, observations: NDArray[np.float32]) -> Sums:
        """The sums over observations (N, D)."""
        # The product in float32 over a chunk is exact to about 1e-6; the sum over chunks is in float64.
        return cls(
            len(observations),
            observations.sum(axis=0, dtype=np.float64),
            (observations.T @ observations).astype(np.float64),
        )

    def __add__(self, other: Sums) -> Sums:
        """The sums over both."""
        return Sums(self.count + other.count, self.total + other.total, self.outer + other.outer)

    def __sub__(self, other: Sums) -> Sums:
        """The sums over what is left without `other`, which they were made with."""
        return Sums(self.count - other.count, self.total - other.total, self.outer - other.outer)

    @property
    def mean(self) -> Matrix:
        """E[x] (D,)."""
        return self.total / self.count

    @property
    def second(self) -> Matrix:
        """E[x x'] (D, D), not centred."""
        return self.outer / self.count

    @property
    def covariance(self) -> Matrix:
        """E[x x'] - E[x] E[x]' (D, D)."""
        return self.second - np.outer(self.mean, self.mean)


@dataclass(frozen=True)
class Moments:
    """The sums over all observations, and over one half of them, which is a sample of its own.

    Attributes:
        whole: over all.
        half: over some of them, about half; the others are `whole - half`.
    """

    whole: Sums
    half: Sums

    @classmethod
    def of(cls, observations: NDArray[np.float32], first: int | None = None) -> Moments:
        """The moments of observations (N, D) in the order in which they were made.

        Args:
            observations: one row each.
            first: how many of the rows are the first half; None: half of them, since neighbours are alike.
        """
        half = Sums.of(observations[: len(observations) // 2 if first is None else first])
        rest = Sums.of(observations[half.count :])
        return cls(half + rest, half)

    def __add__(self, other: Moments) -> Moments:
        """The moments over both, halves to halves."""
        return Moments(self.whole + other.whole, self.half + other.half)

    def mapped(self, change: Callable[[Sums], Sums]) -> Moments:
        """The moments of observations that are changed alike, by algebra on their sums."""
        return Moments(change(self.whole), change(self.half))

    @property
    def halves(self) -> tuple[Sums, Sums]:
        """Two samples of their own."""
        return self.half, self.whole - self.half

    @property
    def count(self) -> int:
        """N."""
        return self.whole.count

    @property
    def mean(self) -> Matrix:
        """E[x] (D,)."""
        return self.whole.mean

    @property
    def second(self) -> Matrix:
        """E[x x'] (D, D), not centred."""
        return self.whole.second

    @property
    def covariance(self) -> Matrix:
        """E[x x'] - E[x] E[x]' (D, D)."""
        return self.whole.covariance


def gathered(before: Moments | None, observations: NDArray[np.float32]) -> Moments:
    """`before` and observations (N, D) of another run or text, which go whole into the half that has fewer."""
    first = len(observations) if before is None or 2 * before.half.count <= before.count else 0
    new = Moments.of(observations, first)
    return new if before is None else before + new

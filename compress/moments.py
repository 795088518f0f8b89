"""Sums over calibration text from which everything is solved: they merge over chunks, shards and workers.

Legend: N observations, D width of an observation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Moments:
    """Count, sum (D,) and sum of outer products (D, D), float64."""

    count: int
    total: NDArray[np.float64]
    outer: NDArray[np.float64]

    @classmethod
    def of(cls, observations: NDArray[np.float32]) -> Moments:
        """The sums over observations (N, D)."""
        # The product in float32 over a chunk is exact to about 1e-6; the sum over chunks is in float64.
        return cls(
            len(observations),
            observations.sum(axis=0, dtype=np.float64),
            (observations.T @ observations).astype(np.float64),
        )

    def __add__(self, other: Moments) -> Moments:
        """The sums over both."""
        return Moments(self.count + other.count, self.total + other.total, self.outer + other.outer)

    @property
    def mean(self) -> NDArray[np.float64]:
        """E[x] (D,)."""
        return self.total / self.count

    @property
    def second(self) -> NDArray[np.float64]:
        """E[x x'] (D, D), not centred."""
        return self.outer / self.count

    @property
    def covariance(self) -> NDArray[np.float64]:
        """E[x x'] - E[x] E[x]' (D, D)."""
        return self.second - np.outer(self.mean, self.mean)

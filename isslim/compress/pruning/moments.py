"""Sums over calibration data, from which everything is solved; they merge over chunks and shards.

A correction that is fitted to few rows overfits. So the sums are kept in two halves, of different
runs, texts or stretches of one: what is fitted to one half is evaluated on the other (`repair`).

Legend: N observations, D width of an observation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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
        # The product in float32 over a chunk is exact to about 1e-6; the sum over chunks is in
        # float64.
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
            first: how many of the rows are the first half; None: half of them, since neighbours are
                alike.
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
        """The two halves as separate samples."""
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


PENDING = 512
"""Rows of a half that wait to be summed together: adding a matrix (D, D) to the sums takes as long
as the product of hundreds of rows."""


class GatheredMoments:
    """Moments over runs or texts, each of which goes whole into the half with fewer rows."""

    def __init__(self) -> None:
        self._counts = [0, 0]
        self._pending: list[list[NDArray[np.float32]]] = [[], []]
        self._sums: list[Sums | None] = [None, None]

    @property
    def count(self) -> int:
        """Rows so far."""
        return sum(self._counts)

    def add(self, observations: NDArray[np.float32]) -> None:
        """Adds the observations (N, D) of a run; of halves with as many rows, to the first."""
        half = 0 if self._counts[0] <= self._counts[1] else 1
        self._counts[half] += len(observations)
        self._pending[half].append(observations)
        if sum(map(len, self._pending[half])) >= PENDING:
            self._sum(half)

    def moments(self) -> Moments:
        """Of all rows so far.

        Raises:
            ValueError: when there was no run.
        """
        for half in (0, 1):
            self._sum(half)
        one, other = self._sums
        if one is None:
            raise ValueError("there are no observations")
        return Moments(one if other is None else one + other, one)

    def _sum(self, half: int) -> None:
        if not self._pending[half]:
            return
        new, before = Sums.of(np.concatenate(self._pending[half])), self._sums[half]
        self._sums[half] = new if before is None else before + new
        self._pending[half] = []


ENOUGH_ROWS = 10
"""For each input of a site, the rows with which a regression is about as good as with many more."""


@dataclass(frozen=True)
class ActivationStatistics:
    """The activations of a model on calibration data, as moments.

    Attributes:
        moments: per site, the moments of its concatenated inputs.
        tokens: how many tokens were seen.
        frequencies: how often each token of the vocabulary is in the whole calibration text, (V,);
            None where there are no tokens to count.
        applied: per site how often its matrices were applied, where that is known: those of a
            convolution more often than rows were kept, those that read a summary less.
    """

    moments: dict[str, Moments]
    tokens: int
    frequencies: NDArray[np.float64] | None = None
    applied: Mapping[str, int] = field(default_factory=dict)


def shortages(observed: ActivationStatistics) -> list[str]:
    """A line that names the worst of the sites with fewer rows than a fit requires."""
    short = sorted(
        (moments.count / len(moments.mean), site, moments.count, len(moments.mean))
        for site, moments in observed.moments.items()
        if moments.count < ENOUGH_ROWS * len(moments.mean)
    )
    if not short:
        return []
    _, site, rows, inputs = short[0]
    others = f" (the worst of {len(short)} such places)" if len(short) > 1 else ""
    return [
        f"only {rows:,} row{'' if rows == 1 else 's'} of calibration data for the {inputs:,} "
        f"inputs of `{site}`{others}: the removed units are reconstructed from the kept ones only "
        f"as well as so few rows allow; send more, at least {ENOUGH_ROWS} rows per input"
    ]

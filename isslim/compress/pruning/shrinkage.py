"""How far to shrink a fitted correction: chosen by fitting one half of the data to the other.

A linear prediction z ~ X v is fitted with a ridge r times the variances of v,

    X = Cov(z, v) (Cov(v, v) + r D)^-1

with D, for each input, the mean of its own variance and of the average variance of its activation,
and r is the one with which X, fitted to either half, has the smallest error on the other
(two-fold cross-validation, Stone 1974), where the worse half counts; of ridges that err as little,
as far as so many rows can show, the largest. With plenty of rows little is shrunk; with few, or
with rows that predict nothing of the next ones, r grows until X vanishes: only means are left. The
mean of an activation is part of D because an input that hardly moved in the data would otherwise be
given a huge weight, and may move elsewhere.

A half has about half of the rows, and the ridge that noise asks for falls with their number: so r
is halved for a fit to all.

Legend: K inputs v, S outputs z.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
MIN_POWER, MAX_POWER, START_POWER, POWER_STEP = -4.0, 2.0, -2.0, 0.5
"""Powers of ten between which a ridge is searched, the start of the search, and its final step."""
CAUTION = 2.0
"""Divided by the rows of a half: the relative rise of the error that is accepted for a larger
ridge."""
SKETCHED = 48
"""More outputs than these are replaced by so many random mixtures of them, which keep squared
errors to some 15 %."""


@dataclass(frozen=True)
class Half:
    """The moments of z and v over a half of the data.

    Attributes:
        count: rows.
        gram: Cov(v, v) (K, K); second moments where there is no place for a mean.
        cross: Cov(z, v) (S, K), likewise.
        inputs: E[v] (K,); zeros where there is no place for it.
        outputs: E[z] (S,), likewise.
        spread: the sum of the variances of z, likewise.
    """

    count: int
    gram: Matrix
    cross: Matrix
    inputs: Matrix
    outputs: Matrix
    spread: float

    @classmethod
    def mixed(  # noqa: PLR0913 - the moments of two vectors
        cls,
        count: int,
        weights: Matrix,
        cross: Matrix,
        gram: Matrix,
        spread: Matrix,
        outputs: Matrix,
        inputs: Matrix,
    ) -> Half:
        """The half of mixtures z = W y.

        Args:
            count: rows.
            weights: W (S, R).
            cross: Cov(y, v) (R, K).
            gram: Cov(v, v) (K, K).
            spread: Cov(y, y) (R, R).
            outputs: E[y] (R,).
            inputs: E[v] (K,).
        """
        explained = float(((weights @ spread) * weights).sum())
        return cls(count, gram, weights @ cross, inputs, weights @ outputs, explained)


def scales(variances: Matrix, groups: NDArray[np.int64]) -> Matrix:
    """D (K,) of the module's docstring.

    Args:
        variances: of the inputs (K,).
        groups: which activation each belongs to (K,), counted from 0.
    """
    sizes = np.bincount(groups)
    means = np.bincount(groups, weights=variances) / np.maximum(sizes, 1)
    found: Matrix = (variances + means[groups]) / 2
    return found + 1e-12 * max(float(found.max(initial=0.0)), 1e-12)


def ridged(gram: Matrix, ridge: float, groups: NDArray[np.int64]) -> Matrix:
    """Cov(v, v) + r D (K, K).

    Args:
        gram: Cov(v, v) (K, K).
        ridge: r.
        groups: see `scales`.
    """
    result = gram.copy()
    result[np.diag_indices_from(result)] += ridge * scales(np.diag(gram).clip(min=0.0), groups)
    return result


def chosen_ridge(halves: tuple[Half, Half], groups: NDArray[np.int64]) -> float:
    """The ridge r for a fit to both halves together; infinity where no correction at all is best.

    Args:
        halves: two samples of their own.
        groups: see `scales`.
    """
    one, other = halves
    if not one.gram.size:
        return float("inf")
    known: dict[float, float] = {}
    nothing = np.zeros_like(one.cross)

    def error(power: float) -> float:
        """Error on the worse half, relative to that without a correction."""
        if power not in known:
            ridge = 10.0**power
            known[power] = max(
                _error(_fitted(fit, ridge, groups), fit, test)
                / max(_error(nothing, fit, test), 1e-30)
                for fit, test in ((one, other), (other, one))
            )
        return known[power]

    best = START_POWER
    while True:
        around = [power for power in (best, best - 1, best + 1) if MIN_POWER <= power <= MAX_POWER]
        new = min(around, key=error)
        if new == best:
            break
        best = new
    least = error(best)
    if least >= 1:
        return float("inf")
    # Few rows cannot distinguish errors that are close: of ridges that err about as little the
    # largest does the least harm.
    enough = min(least * (1 + (CAUTION / min(one.count, other.count)) ** 1.5), (least + 1) / 2)
    power = _between(best, known)
    while power + POWER_STEP <= MAX_POWER and error(power + POWER_STEP) <= enough:
        power += POWER_STEP
    return float(10.0**power / 2)


def sketch(rows: int, seed: int = 0) -> Matrix:
    """A random matrix (S, rows) that mixes outputs and keeps their squares in expectation.

    Args:
        rows: how many outputs there are.
        seed: of the draw.
    """
    mixed: Matrix = np.random.default_rng(seed).standard_normal((SKETCHED, rows)) / np.sqrt(
        SKETCHED
    )
    return mixed


def _fitted(half: Half, ridge: float, groups: NDArray[np.int64]) -> Matrix:
    # No digit of the choice after the fourth matters, and single precision takes half the time.
    gram = ridged(half.gram, ridge, groups).astype(np.float32)
    found: Matrix = np.linalg.solve(gram, half.cross.T.astype(np.float32)).T.astype(np.float64)
    return found


def _error(mixing: Matrix, fit: Half, test: Half) -> float:
    """Mean squared error on one half of a correction fitted to the other."""
    shift = (test.outputs - fit.outputs) - mixing @ (test.inputs - fit.inputs)
    explained = 2 * float((mixing * test.cross).sum()) - float(
        ((mixing @ test.gram) * mixing).sum()
    )
    return max(0.0, test.spread + float(shift @ shift) - explained)


def _between(best: float, known: dict[float, float]) -> float:
    """The lowest point of the parabola through the best power and its neighbours."""
    if best - 1 not in known or best + 1 not in known:
        return best
    low, middle, high = known[best - 1], known[best], known[best + 1]
    bend = low - 2 * middle + high
    return best + 0.5 * (low - high) / bend if bend > 0 else best

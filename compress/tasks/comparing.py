"""How far the outputs of a graph are from the original's: the metrics of `store/quality.py` for graphs.

All are taken over every run together, output by output; the worst output counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.manifest import Metric

Outputs = dict[str, NDArray[Any]]


def compared(metric: Metric, found: Sequence[Outputs], wanted: Sequence[Outputs], names: Sequence[str]) -> float:
    """The metric's value over runs.

    Args:
        metric: `output_change`, `argmax`, `mean_squared_error` or `cosine`.
        found: outputs of every run, by name.
        wanted: the original's.
        names: which outputs count.

    Returns:
        Of `argmax` and `cosine` the smallest (1 is equal), of the others the largest (0 is equal) over the outputs. An output
        that is not finite where the original's is counts as infinitely far.
    """
    values = []
    for name in names:
        pairs = [(one[name], other[name]) for one, other in zip(found, wanted, strict=True)]
        values.append(_MEASURES[metric](pairs))
    worst = min if metric in ("argmax", "cosine") else max
    return float(worst(values))


def loss_of(metric: Metric, value: float) -> float:
    """How much worse than the original a value is: see `store/quality.py`."""
    return 1.0 - value if metric in ("argmax", "cosine") else value


Pairs = list[tuple[NDArray[Any], NDArray[Any]]]


def _squares(pairs: Pairs) -> tuple[float, float, int]:
    """Sum of squared differences, and the variance of the original's times the count."""
    whole = np.concatenate([np.asarray(other, np.float64).ravel() for _, other in pairs])
    ours = np.concatenate([np.asarray(one, np.float64).ravel() for one, _ in pairs])
    differences = np.square(ours - whole)
    differences[~np.isfinite(differences)] = np.inf
    same = (ours == whole) | (np.isnan(ours) & np.isnan(whole))  # the same infinity is no difference
    return float(differences[~same].sum()), float(np.square(whole - whole.mean()).sum()), len(whole)


def _output_change(pairs: Pairs) -> float:
    """Root mean square of the difference, relative to the standard deviation of the original's outputs."""
    difference, spread, count = _squares(pairs)
    if difference == 0:
        return 0.0
    # An output that never changes has no spread: its difference is taken as it is.
    return float(np.sqrt(difference / (spread if spread > 0 else count)))


def _mean_squared_error(pairs: Pairs) -> float:
    difference, _, count = _squares(pairs)
    return difference / max(count, 1)


def _argmax(pairs: Pairs) -> float:
    """Share of places where the largest entry of the last dimension is the same; of single numbers, the same side of 0.5."""
    same: list[NDArray[np.bool_]] = []
    for one, other in pairs:
        if other.ndim and other.shape[-1] > 1:
            same.append((np.asarray(one).argmax(-1) == np.asarray(other).argmax(-1)).ravel())
        else:
            same.append(((np.asarray(one) > 0.5) == (np.asarray(other) > 0.5)).ravel())
    return float(np.concatenate(same).mean())


def _cosine(pairs: Pairs) -> float:
    """Mean cosine between the last dimensions; two zero vectors are equal."""
    values: list[NDArray[np.float64]] = []
    for one, other in pairs:
        ours, whole = (
            np.asarray(each, np.float64).reshape(-1, max(other.shape[-1] if other.ndim else 1, 1))
            for each in (one, other)
        )
        norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(whole, axis=1)
        both = (np.abs(ours).sum(1) == 0) & (np.abs(whole).sum(1) == 0)
        values.append(np.where(both, 1.0, (ours * whole).sum(1) / np.maximum(norms, 1e-30)))
    return float(np.concatenate(values).mean())


_MEASURES = {
    "output_change": _output_change, "argmax": _argmax, "mean_squared_error": _mean_squared_error, "cosine": _cosine,
}  # fmt: skip

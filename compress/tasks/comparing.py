"""How far the outputs of a graph are from the original's: the metrics of `store/quality.py` for graphs.

All are taken over every run together, output by output; the worst output counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.quality import Pairs, output_change, squared_difference
from store.recipe import GraphMetric

Outputs = dict[str, NDArray[Any]]


def compared(metric: GraphMetric, found: Sequence[Outputs], wanted: Sequence[Outputs], names: Sequence[str]) -> float:
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


def loss_of(metric: GraphMetric, value: float) -> float:
    """How much worse than the original a value is: see `store/quality.py`."""
    return 1.0 - value if metric in ("argmax", "cosine") else value


def difference(found: Sequence[Outputs], expected: Sequence[Outputs]) -> float:
    """The largest difference of any number of any output, relative to the output's largest one where that is above 1.

    Returns:
        Infinity where shapes or types differ, or only one is finite.
    """
    worst = 0.0
    for one, other in zip(found, expected, strict=True):
        for name, wanted in other.items():
            ours = one[name]
            if ours.shape != wanted.shape or ours.dtype != wanted.dtype:
                return float("inf")
            if wanted.dtype.kind not in "fiub" or not wanted.size:
                continue
            a, b = ours.astype(np.float64), wanted.astype(np.float64)
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            scale = max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0.0)))
            off = np.abs(a - b)[~same] / scale
            worst = max(worst, float(np.where(np.isnan(off), np.inf, off).max(initial=0.0)))
    return worst


def _mean_squared_error(pairs: Pairs) -> float:
    difference, _, count = squared_difference(pairs)
    return difference / max(count, 1)


def _argmax(pairs: Pairs) -> float:
    """Share of places where the largest entry of the last dimension is the same; of single numbers, the same side of 0.5."""
    same: list[NDArray[np.bool_]] = []
    for one, other in pairs:
        if other.ndim and other.shape[-1] > 1:
            same.append((np.asarray(one).argmax(-1) == np.asarray(other).argmax(-1)).ravel())
        else:
            same.append(((np.asarray(one) > 0.5) == (np.asarray(other) > 0.5)).ravel())
    return _mean(same)


def _cosine(pairs: Pairs) -> float:
    """Mean cosine between the last dimensions; equal ones have 1, whatever they hold, and those that are not finite -1."""
    values: list[NDArray[np.float64]] = []
    for one, other in pairs:
        ours, whole = (
            np.asarray(each, np.float64).reshape(-1, max(other.shape[-1] if other.ndim else 1, 1))
            for each in (one, other)
        )
        equal = ((ours == whole) | (np.isnan(ours) & np.isnan(whole))).all(1)
        with np.errstate(invalid="ignore", over="ignore"):
            norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(whole, axis=1)
            found = (ours * whole).sum(1) / np.maximum(norms, 1e-30)
        values.append(np.where(equal, 1.0, np.where(np.isfinite(found), found, -1.0)))
    return _mean(values)


def _mean(values: list[NDArray[Any]]) -> float:
    """Over all of them; 1 of none, which are equal."""
    together = np.concatenate(values)
    return float(together.mean()) if together.size else 1.0


_MEASURES = {
    "output_change": output_change, "argmax": _argmax, "mean_squared_error": _mean_squared_error, "cosine": _cosine,
}  # fmt: skip

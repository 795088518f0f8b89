"""How far the outputs of a graph are from the original's, with confidence intervals.

These are the metrics of `isslim/types/quality.py` for graphs. Each is taken over all runs together,
output by output; the worst output counts. Decisions and cosines are taken along one dimension of an
output, its classes or features: see `classes`. Integers and booleans are decisions themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.compress.statistics.intervals import blocks, bootstrap, share_of
from isslim.types.manifest import Estimate
from isslim.types.quality import Pairs, output_change, squared_difference
from isslim.types.recipe import GraphMetric

Outputs = dict[str, NDArray[Any]]
Axes = Mapping[str, int | None]
"""The class axis of each output, by name; None where every number stands for itself. It is the last
dimension of outputs that are not named."""
_LAST: Axes = MappingProxyType({})


@dataclass(frozen=True)
class Compared:
    """A metric over recorded runs.

    Attributes:
        value: of the worst output.
        output: the name of that output.
        estimate: the confidence interval of its loss; None where there is too little data.
    """

    value: float
    output: str
    estimate: Estimate | None


def compared(
    metric: GraphMetric,
    found: Sequence[Outputs],
    wanted: Sequence[Outputs],
    names: Sequence[str],
    axes: Axes = _LAST,
    together: Sequence[int] | None = None,
) -> Compared:
    """Evaluates a metric over runs.

    Args:
        metric: `output_change`, `argmax`, `mean_squared_error` or `cosine`.
        found: outputs of every run, by name; arrays of any shape.
        wanted: the original's, of the same shapes.
        names: the outputs that count.
        axes: class axes; see `Axes`.
        together: see `joined`.

    Returns:
        The worst output: of `argmax` and `cosine` the smallest value (1 is equal), of the others
        the largest (0 is equal). An output that is not finite where the original's is counts as
        infinitely far.
    """
    values: dict[str, float] = {}
    pairs: dict[str, Pairs] = {}
    for name in names:
        pairs[name] = [
            (_rows(one[name], axes.get(name, -1)), _rows(other[name], axes.get(name, -1)))
            for one, other in zip(found, wanted, strict=True)
        ]
        values[name] = _MEASURES[metric](pairs[name])
    worst = (min if metric in ("argmax", "cosine") else max)(values, key=lambda name: values[name])
    sample = pairs[worst]
    # Decisions are not cut into blocks: the design effect is that of windows.
    blocked = metric != "argmax" and len({other.shape[1] for _, other in sample}) == 1
    if together is not None and blocked:
        sides = [joined([pair[side] for pair in sample], together) for side in (0, 1)]
        sample = list(zip(*sides, strict=True))
    return Compared(float(values[worst]), worst, _ESTIMATES[metric](sample))


def joined(rows: Sequence[NDArray[Any]], together: Sequence[int] | None) -> list[NDArray[Any]]:
    """Rows of runs that are windows of one stream, as one run.

    Windows resemble their neighbours: an interval needs to know which ones these are.

    Args:
        rows: of every run, (N, ...).
        together: how many runs in a row are one stream; None: every run is by itself.
    """
    if together is None:
        return list(rows)
    ends = np.cumsum([0, *together])
    return [np.concatenate(rows[a:b]) for a, b in itertools.pairwise(ends) if b > a]


def loss_of(metric: GraphMetric, value: float) -> float:
    """How much worse than the original's own value a value is; see `isslim/types/quality.py`.

    Args:
        metric: the metric of the value.
        value: of `compared`.
    """
    return 1.0 - value if metric in ("argmax", "cosine") else value


def rows_of(array: NDArray[Any], axis: int | None = -1) -> int:
    """The number of rows of an output.

    Args:
        array: the output, of any shape.
        axis: its class axis; all other dimensions together are the rows. None: all of them.
    """
    return len(_rows(array, axis))


def difference(found: Sequence[Outputs], expected: Sequence[Outputs]) -> float:
    """The largest difference between outputs, relative to the output's largest entry if above 1.

    Args:
        found: outputs of every run, by name.
        expected: the outputs to compare with.

    Returns:
        The maximum over all entries, outputs and runs; infinity where shapes or dtypes differ, or
        only one of two entries is finite.
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
            off = np.abs(a[~same] - b[~same]) / scale
            worst = max(worst, float(np.where(np.isnan(off), np.inf, off).max(initial=0.0)))
    return worst


def _rows(array: NDArray[Any], axis: int | None) -> NDArray[Any]:
    """An output as (N, C), its class axis last; a scalar as (1, 1), without class axis (N, 1)."""
    array = np.asarray(array)
    if axis is None or not array.ndim:
        return array.reshape(-1, 1)
    moved = np.moveaxis(array, axis, -1)
    return (
        moved.reshape(-1 if moved.size else 0, moved.shape[-1] or 1)
        if moved.shape[-1]
        else moved.reshape(0, 1)
    )


def _mean_squared_error(pairs: Pairs) -> float:
    difference, _, count = squared_difference(pairs)
    return difference / max(count, 1)


def _argmax(pairs: Pairs) -> float:
    """Share of decisions that are the same."""
    return _mean([_same(*pair) for pair in pairs])


def _same(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether decisions are equal, (N,): the argmax of each row.

    Of single numbers the decision is whether they are above 0.5; every integer is a decision.
    """
    if other.dtype.kind in "iub":
        return np.asarray(one == other).ravel()
    if other.shape[-1] > 1:
        return np.asarray(one.argmax(-1) == other.argmax(-1))
    return np.asarray((one > 0.5) == (other > 0.5)).ravel()


def _cosine(pairs: Pairs) -> float:
    """Mean cosine between rows."""
    return _mean([_cosines(*pair) for pair in pairs])


def _cosines(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Cosines between rows, (N,): 1 for equal rows, also of zeros or NaN; -1 where not finite."""
    ours, whole = one.astype(np.float64), other.astype(np.float64)
    equal = ((ours == whole) | (np.isnan(ours) & np.isnan(whole))).all(1)
    with np.errstate(invalid="ignore", over="ignore"):
        norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(whole, axis=1)
        found = (ours * whole).sum(1) / np.maximum(norms, 1e-30)
    return np.where(equal, 1.0, np.where(np.isfinite(found), found, -1.0))


def _mean(values: list[NDArray[Any]]) -> float:
    """The mean over all entries; 1 where there are none, which are equal."""
    together = np.concatenate(values)
    return float(together.mean()) if together.size else 1.0


def _estimated_decisions(pairs: Pairs) -> Estimate:
    same = [_same(*pair) for pair in pairs]
    return share_of([int((~each).sum()) for each in same], [each.size for each in same])


def _estimated_change(pairs: Pairs) -> Estimate | None:
    """The interval of sqrt(squared differences / squared deviations from the mean), both summed."""
    finite = [other[np.isfinite(other)].astype(np.float64) for _, other in pairs]
    mean = sum(float(each.sum()) for each in finite) / max(sum(each.size for each in finite), 1)

    def change(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        squares, total, second, numbers = sums.T
        spread = second - total**2 / np.maximum(numbers, 1)
        changed: NDArray[np.float64] = np.sqrt(squares / np.where(spread > 0, spread, numbers))
        return changed

    def summed(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
        centred = np.where(np.isfinite(other), other.astype(np.float64) - mean, 0.0)
        squares = _squares(one, other).sum(1)
        return np.stack(
            [
                squares,
                centred.sum(1),
                np.square(centred).sum(1),
                np.full(len(other), other.shape[1]),
            ],
            axis=1,
        )

    return bootstrap(
        blocks([summed(*pair) for pair in pairs]), change, count=_rows_of(pairs), unit="rows"
    )


def _estimated_error(pairs: Pairs) -> Estimate | None:
    sums = [
        np.stack([_squares(*pair).sum(1), np.full(len(pair[1]), pair[1].shape[1])], axis=1)
        for pair in pairs
    ]
    return bootstrap(blocks(sums), _ratio, count=_rows_of(pairs), unit="rows")


def _estimated_distance(pairs: Pairs) -> Estimate | None:
    distances = [1.0 - _cosines(*pair) for pair in pairs]
    sums = [np.stack([each, np.ones_like(each)], axis=1) for each in distances]
    return bootstrap(blocks(sums), _ratio, count=_rows_of(pairs), unit="rows")


def _rows_of(pairs: Pairs) -> int:
    return sum(len(other) for _, other in pairs)


def _ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = sums[:, 0] / np.maximum(sums[:, 1], 1)
    return ratio


def _squares(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Squared differences; the same infinity on both sides is none."""
    ours, whole = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(
            (ours == whole) | (np.isnan(ours) & np.isnan(whole)), 0.0, np.square(ours - whole)
        )


_MEASURES = {
    "output_change": output_change,
    "argmax": _argmax,
    "mean_squared_error": _mean_squared_error,
    "cosine": _cosine,
}
_ESTIMATES = {
    "output_change": _estimated_change,
    "argmax": _estimated_decisions,
    "mean_squared_error": _estimated_error,
    "cosine": _estimated_distance,
}

"""Recorded inputs that hold what no figure should rest on: NaN, infinite numbers, and huge ones that stand for "missing".

Moments are sums of products, in float32 over one run: one such value outweighs everything else.
Outputs do not show it: ONNX Runtime's LSTM makes finite numbers of NaN. Some graphs are meant to
read such values, as a mask of minus infinity; what then reaches a layer is looked at once more
(`GraphTask.collect_activations`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.compress.errors import RunsUnusable
from isslim.runtime.graphs.recorded_inputs import NamedArrays

HUGE = 2.0**24
"""Times the typical size of an input: beside such a value a typical one has no digit left in a
float32 sum."""
OVERFLOWING = 1e18
"""Squares of larger numbers do not fit float32."""
MAX_LEFT_OUT = 0.2
"""Where a larger share of the runs would have to be left out, something is wrong with the recording
as a whole."""


def faults_of(runs: Sequence[NamedArrays], operators: Collection[str] = ()) -> dict[int, list[str]]:
    """What runs hold that should not be there.

    Args:
        runs: of one graph.
        operators: that the graph has: one with `IsNaN` or `IsInf` may be meant to read what most of
            its runs hold.

    Returns:
        By the position of a run, a line for each kind of fault and input, with the place of its
        first value. Infinity among nothing but zeros is a mask. Minus infinity and huge values in
        more than half of the runs are no exceptions, as in a mask that is added to a bias; nor is
        what an operator of the graph asks for, where it is more than a slip. Where a layer reads
        them, observing it says so.
    """
    found: dict[int, list[str]] = {}
    for name in runs[0] if runs else ():
        arrays = [np.asarray(run[name]) for run in runs]
        if arrays[0].dtype.kind != "f":
            continue
        limit = _limit(arrays)
        infinite = [_strange_infinities(array) for array in arrays]
        masked = 0.5 if not any(np.isposinf(array).any() for array in arrays) else 1.0
        kinds = (
            (
                "NaN",
                [np.isnan(array) for array in arrays],
                MAX_LEFT_OUT if "IsNaN" in operators else 1.0,
            ),
            ("infinite", infinite, MAX_LEFT_OUT if "IsInf" in operators else masked),
            (
                f"over {limit:.0e}, far above all others",
                [_above(array, limit) for array in arrays],
                0.5,
            ),
        )
        for description, where, meant_above in kinds:
            having = [index for index, each in enumerate(where) if each.any()]
            if len(having) > meant_above * len(runs):
                continue
            for index in having:
                found.setdefault(index, []).append(_describe(name, where[index], description))
    return found


def whole_runs(
    runs: Sequence[NamedArrays], labels: Sequence[str], operators: Collection[str] = ()
) -> tuple[list[int], list[str]]:
    """Which runs hold nothing of the kind.

    Args:
        runs: of one graph.
        labels: what to call each, such as `run 7`.
        operators: that the graph has.

    Returns:
        Their positions, and a line on every other.

    Raises:
        RunsUnusable: when more than `MAX_LEFT_OUT` of them do.
    """
    faults = faults_of(runs, operators)
    lines = [f"{labels[index]}, {line}" for index, each in sorted(faults.items()) for line in each]
    refuse_many(len(faults), len(runs), "hold values that are no measurements", lines)
    return [index for index in range(len(runs)) if index not in faults], lines


def refuse_many(count: int, total: int, fault: str, lines: Sequence[str]) -> None:
    """Leaves few runs out, and refuses more.

    Raises:
        RunsUnusable: when `count` of `total` runs is more than `MAX_LEFT_OUT`.
    """
    if count > MAX_LEFT_OUT * total:
        raise RunsUnusable(
            f"{count} of {total} recorded runs {fault} "
            f"({'; '.join(lines[:3])}{'; ...' if len(lines) > 3 else ''}): at most "
            f"{MAX_LEFT_OUT:.0%} are left out; send runs without them",
            list(lines),
        )


def _limit(arrays: Sequence[NDArray[Any]]) -> float:
    """Above which a finite value is no measurement: far from the typical size of those that are not zero."""
    sizes = []
    for array in arrays:
        values = np.abs(array[np.isfinite(array) & (array != 0)], dtype=np.float64)
        if values.size:
            sizes.append(float(np.median(values)))
    return HUGE * float(np.median(sizes)) if sizes else np.inf


def _above(array: NDArray[Any], limit: float) -> NDArray[np.bool_]:
    above: NDArray[np.bool_] = np.isfinite(array) & (np.abs(array, dtype=np.float64) > limit)
    return above


def _strange_infinities(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Infinite values, unless all others are zero: that is a mask."""
    infinite: NDArray[np.bool_] = np.isinf(array)
    return infinite & bool((array[~infinite] != 0).any())


def _describe(name: str, where: NDArray[np.bool_], kind: str) -> str:
    """One line, such as `input x: 1 value is NaN, at [0, 0, 0]`."""
    count = int(where.sum())
    first = [int(index) for index in np.argwhere(where)[0]] if where.ndim else []
    at = f"at {first}" if count == 1 else f"the first at {first}"
    return f"input {name}: {count} {'value is' if count == 1 else 'values are'} {kind}, {at}"

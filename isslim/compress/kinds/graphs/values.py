"""Finds runs with NaN, infinite values, or huge ones that stand for "missing".

Moments are sums of products, in float32 over one run: one such value outweighs all others. Outputs
do not show it: ONNX Runtime's LSTM returns finite numbers for NaN. Some graphs are meant to read
such values, such as a mask of minus infinity; what then reaches a layer is checked once more
(`collect_graph_activations`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.compress.errors import RunsUnusable
from isslim.runtime.graphs.recorded_inputs import NamedArrays

HUGE = 2.0**24
"""Multiple of the typical magnitude of an input: a float32 sum with such a value has no digit left
for a typical one."""
OVERFLOWING = 1e18
"""Squares of larger numbers do not fit float32."""
MAX_LEFT_OUT = 0.2
"""Where a larger share of the runs would have to be left out, something is wrong with the recording
as a whole."""


def faults_of(runs: Sequence[NamedArrays], operators: Collection[str] = ()) -> dict[int, list[str]]:
    """Values in runs that are no measurements.

    Args:
        runs: inputs of one graph.
        operators: types of the graph's nodes: one with `IsNaN` or `IsInf` may be meant to read such
            values.

    Returns:
        By position of a run, a line for each kind of fault and input, with the index of its first
        value. Not counted as faults are: infinities among zeros only, which are a mask; minus
        infinity and huge values in more than half of the runs, as in a mask that is added to
        scores; and values that an operator of the graph tests for, in more than `MAX_LEFT_OUT` of
        the runs. `collect_graph_activations` leaves such runs out where a layer reads the values.
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
    """The runs without faults.

    Args:
        runs: inputs of one graph.
        labels: names of the runs for messages, such as `run 7`.
        operators: types of the graph's nodes.

    Returns:
        Positions of the runs without faults, and a line on every fault.

    Raises:
        RunsUnusable: when more than `MAX_LEFT_OUT` of the runs have faults.
    """
    faults = faults_of(runs, operators)
    lines = [f"{labels[index]}, {line}" for index, each in sorted(faults.items()) for line in each]
    refuse_many(len(faults), len(runs), "hold values that are no measurements", lines)
    return [index for index in range(len(runs)) if index not in faults], lines


def refuse_many(count: int, total: int, fault: str, lines: Sequence[str]) -> None:
    """Refuses to leave out too many runs.

    Args:
        count: the number of runs with faults.
        total: the number of all runs.
        fault: what is wrong with them, a predicate.
        lines: one on each fault.

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


def without_content(runs: Sequence[NamedArrays]) -> tuple[str, ...]:
    """A reservation where each input is the same number everywhere, as in a trial run of zeros.

    Args:
        runs: inputs of one graph. Those of fewer than two dimensions, such as lengths, do not
            count.
    """
    held = {
        name: {number for run in runs for number in (run[name].min(), run[name].max())}
        for name, array in (runs[0] if runs else {}).items()
        if array.ndim > 1 and array.dtype.kind in "fiub"
    }
    if not held or any(len(numbers) > 1 for numbers in held.values()):
        return ()
    shown = ", ".join(f"{name}: {next(iter(numbers)):g}" for name, numbers in held.items())
    return (
        f"all recorded runs hold one number everywhere ({shown}), as trial runs do: figures of "
        "quality say nothing of other inputs. Record what the graph is really given",
    )


def _limit(arrays: Sequence[NDArray[Any]]) -> float:
    """Above which a finite value is no measurement: `HUGE` times the median nonzero magnitude."""
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
    """Infinite values, unless all others are zero, which is a mask."""
    infinite: NDArray[np.bool_] = np.isinf(array)
    return infinite & bool((array[~infinite] != 0).any())


def _describe(name: str, where: NDArray[np.bool_], kind: str) -> str:
    """One line, such as `input x: 1 value is NaN, at [0, 0, 0]`."""
    count = int(where.sum())
    first = [int(index) for index in np.argwhere(where)[0]] if where.ndim else []
    at = f"at {first}" if count == 1 else f"the first at {first}"
    return f"input {name}: {count} {'value is' if count == 1 else 'values are'} {kind}, {at}"

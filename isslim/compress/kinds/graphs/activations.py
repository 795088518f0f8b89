"""Moments of what every site of a graph reads, over recorded runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from isslim.compress.kinds.graphs.running import temporary_session
from isslim.compress.kinds.graphs.values import OVERFLOWING, refuse_many
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning.moments import (
    ActivationStatistics,
    GatheredMoments,
    Moments,
    Sums,
)
from isslim.runtime.graphs.recorded_inputs import NamedArrays


def collect_graph_activations(
    network: GraphNetwork,
    runs: Sequence[NamedArrays],
    labels: Sequence[str],
    progress: ProgressCallback,
) -> tuple[ActivationStatistics, list[str]]:
    """Collects moments of what every site reads, by running a graph with these values as outputs.

    Args:
        network: the original.
        runs: the calibration runs.
        labels: names of the runs, for messages.
        progress: called with the share done after every run.

    Returns:
        The moments, and a line on every run whose values float32 cannot sum and that was left out.

    Raises:
        RunsUnusable: when too many runs would have to be left out.
    """
    observer, moments, lines = network.observer(len(runs)), dict[str, Moments](), list[str]()
    gathered, applied = defaultdict[str, GatheredMoments](GatheredMoments), Counter[str]()
    with temporary_session(observer.model) as graph:
        for done, run in enumerate(runs):
            fetched = graph.run(run, observer.outputs)
            found = observer.rows(fetched)
            fault = _unfit(found)
            if fault is not None:
                lines.append(f"{labels[done]}: {fault}")
            for site, rows in found.items():
                if not len(rows) or fault is not None:
                    continue
                if len(runs) == 1:
                    moments[site] = Moments.of(rows)
                else:
                    gathered[site].add(rows)
            if fault is None:
                applied.update(observer.positions(fetched, found))
            progress((done + 1) / len(runs), "collecting activations")
    refuse_many(len(lines), len(runs), "lead to values that nothing can be learned from", lines)
    moments |= {site: each.moments() for site, each in gathered.items()}
    seen = max((each.count for each in moments.values()), default=0)
    declaration = network.declaration()
    for each in declaration.sites:
        if each.name not in moments:
            # It lies in a branch that never ran. Nothing is known of its inputs: unit variance,
            # uncorrelated, prefers no component over another.
            width = sum(part.size for part in declaration.parts(each))
            nothing = Sums(1, np.zeros(width), np.eye(width))
            moments[each.name] = Moments(nothing, nothing)
    return ActivationStatistics(moments, seen, applied=applied), lines


def _unfit(rows: Mapping[str, NDArray[np.float32]]) -> str | None:
    """Why what the sites of a graph read in one run cannot be summed; None where it can."""
    for site, each in rows.items():
        largest = float(np.abs(each).max(initial=0.0))
        if not largest < OVERFLOWING:
            what = (
                f"values up to {largest:.0e}"
                if np.isfinite(largest)
                else "values that are NaN or infinite"
            )
            return f"{site} reads {what}"
    return None

"""Whether a graph with Scans takes less time than the same with operators, timed on this host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from isslim.compress.contract import ModelTask
from isslim.compress.pruning.network import Model
from isslim.types.manifest import LatencyRecord

ROUNDS = 15
"""Of a comparison: what the clock asks of a busy host, a second or two."""
TRIES = 3
"""Of a comparison, while it is not steady."""


def scan_pays(found: LatencyRecord) -> bool:
    """Whether Scans surely take less time than the operators that they replace.

    Args:
        found: of the graph with Scans, compared with the one without.

    Returns:
        Whether the whole interval of a steady comparison says so.
    """
    return found.steady and found.speedup_low > 1.0


def scans_are_faster(task: ModelTask[Model], operators: Path, scans: Path) -> bool:
    """Whether the clock finds the graph with Scans surely faster, at the task's primary shape.

    Args:
        task: whose graphs they are.
        operators: the graph with operators.
        scans: the same network with Scans in their place.
    """
    found = steady_comparison(task, {"original": operators, "scans": scans})
    return found is not None and scan_pays(found["scans"])


def steady_comparison(
    task: ModelTask[Model], paths: Mapping[str, Path]
) -> dict[str, LatencyRecord] | None:
    """Times graphs at the task's primary shape; None where the clock is not steady.

    Args:
        task: whose graphs they are.
        paths: the graphs; the others are compared with `original`.
    """
    for _ in range(TRIES):
        found = task.compare(paths, task.primary_shape, ROUNDS)
        if all(each.steady for name, each in found.items() if name != "original"):
            return found
    return None

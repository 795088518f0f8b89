"""The joint cut of a language model: units, ranks, blocks and embedding in one order.

The sizes are chosen as a job chooses them, each axis measured alone on training text that no
activations are collected on, but valued by multiply-adds, so that they are the same on every host.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.baseline import Baseline, task_of
from isslim.compress.kinds.language.task import LanguageTask
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import NetworkAxes
from isslim.compress.pruning.ranking import Pruned, kept_indices, outline, prune
from isslim.compress.search.order import removal_plan_of
from isslim.types.recipe import Budget, Recipe

HALVINGS = 20


class CountedTask(LanguageTask):
    """A language model whose sizes are chosen by multiply-adds."""

    def cost(self, work: Path, progress: ProgressCallback) -> Callable[[NetworkAxes], float]:
        """Multiply-adds in the place of a time, those of narrow recurrences as they are.

        A job that cannot measure times counts otherwise, see `SCANNED`.
        """
        return axes.mult_adds


def joint_cut(dense: Baseline, ratio: float, tokens: int) -> Pruned:
    """The mildest joint cut, in closed form, that leaves at most 1 / ratio of the multiply-adds.

    Args:
        dense: the trained model and its texts.
        ratio: how many times fewer multiply-adds.
        tokens: of calibration text.
    """
    recipe = Recipe(budget=Budget(speedup=ratio), calibration_tokens=tokens)
    task = task_of(dense, recipe, CountedTask)
    observed = task.collect_activations(_show)
    with tempfile.TemporaryDirectory() as work:
        removal_plan, _ = removal_plan_of(task, dense.network, observed, Path(work), _show)
    most = axes.mult_adds(dense.network.declaration()) / ratio
    mild, bold = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (mild + bold) / 2
        keep, _ = kept_indices(removal_plan, middle)
        fits = axes.mult_adds(outline(removal_plan, keep)) <= most
        mild, bold = (mild, middle) if fits else (middle, bold)
    return prune(removal_plan, bold)


def _show(done: float, message: str) -> None:
    sys.stderr.write(f"\rjoint cut: {100 * done:3.0f} %, {message}   ")
    sys.stderr.flush()

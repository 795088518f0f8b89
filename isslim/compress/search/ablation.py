"""A second order of removal: by the change of the outputs when a single unit is held at zero.

Structured OBS (`selection`) weighs a unit by the loss in its readers' inputs, from moments. Where
there are few rows, or the function from the readers to the outputs is strongly nonlinear, simply
trying each unit can choose better (Mozer & Smolensky 1989). It takes one evaluation for each unit,
so it is done only where that takes seconds. It uses the calibration data alone: the data that
evaluate a candidate must not have selected it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from isslim.compress.contract import ModelTask
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning import axes
from isslim.compress.pruning.network import Model
from isslim.compress.pruning.ranking import RemovalPlan

MAX_SECONDS = 90.0
"""Limit on the CPU time, of all threads, for trying every unit."""
TIMED = 3
"""Units from which the time for all of them is extrapolated."""
DOUBT = 2
"""How many times as long as it takes the time of an evaluation may be taken for."""


def may_be_ablated(task: ModelTask[Model]) -> bool:
    """Whether every unit can be tried alone, as far as the time of a few runs tells.

    Ranking a large model anew for that takes as long as the rest of its calibration.
    """
    seconds = task.calibration_seconds()
    if seconds is None:
        return False
    declaration = task.original.declaration()
    units = sum(declaration.axes[axis] for axis in task.prunable(declaration))
    return seconds * units <= DOUBT * MAX_SECONDS


def rank_by_ablation(
    removal_plan: RemovalPlan, task: ModelTask[Model], progress: ProgressCallback
) -> RemovalPlan | None:
    """The same network with the order of removal of the module's docstring.

    Args:
        removal_plan: its own order says what may go.
        task: evaluates on the calibration data.
        progress: called with the share done and a message.

    Returns:
        None where the task cannot be evaluated on calibration data, or that would take too long.
    """
    everything, losses = removal_plan.declaration.all_components(), list[float]()
    began = time.process_time()
    for done, (axis, component) in enumerate(removal_plan.order):
        if (
            done == TIMED
            and (time.process_time() - began) / TIMED * len(removal_plan.order) > MAX_SECONDS
        ):
            return None
        keep = everything | {axis: np.setdiff1d(everything[axis], [component])}
        masked = axes.mask_components(removal_plan.arrays, removal_plan.declaration, keep)
        loss = task.calibration_loss(task.original.rebuilt(masked))
        if loss is None or time.process_time() - began > 2 * MAX_SECONDS:
            return None
        losses.append(loss)
        if done % 16 == 0:
            progress(done / len(removal_plan.order), "trying each unit alone")
    return _by_loss(removal_plan, losses)


def _by_loss(removal_plan: RemovalPlan, losses: Sequence[float]) -> RemovalPlan:
    """A plan in the order of losses per saving.

    Axes that keep one size (`rank_components`) go on losing one component each at a time: of each
    the one that costs least of those left.

    Args:
        removal_plan: in any order; what components save that go together stands at the first.
        losses: of each entry of its order.
    """
    together: dict[tuple[str, ...], tuple[float, list[list[tuple[float, int]]]]] = {}
    firsts = [*np.flatnonzero(removal_plan.savings > 0).tolist(), len(losses)]
    for start, end in pairwise(firsts):
        group = tuple(axis for axis, _ in removal_plan.order[start:end])
        _, columns = together.setdefault(
            group, (float(removal_plan.savings[start]), [[] for _ in group])
        )
        for column, place in zip(columns, range(start, end), strict=True):
            column.append((losses[place], place))
    steps = []
    for saving, columns in together.values():
        for step in zip(*map(sorted, columns), strict=True):
            places = [place for _, place in step]
            steps.append((sum(loss for loss, _ in step) / saving, places, saving))
    steps.sort(key=lambda step: step[:2])
    return replace(
        removal_plan,
        order=tuple(removal_plan.order[place] for _, places, _ in steps for place in places),
        savings=np.array(
            [each for _, places, saving in steps for each in (saving, *[0.0] * (len(places) - 1))]
        ),
        costs=np.array([losses[place] for _, places, _ in steps for place in places]),
    )

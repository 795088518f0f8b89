"""A second order of removal: by the change of the outputs when a single unit is held at zero.

Structured OBS (`selection`) weighs a unit by the loss in its readers' inputs, from moments. Where
there are few rows, or the function from the readers to the outputs is strongly nonlinear, simply
trying each unit can choose better (Mozer & Smolensky 1989). It takes one evaluation for each unit,
so it is done only where that takes seconds. It uses the calibration data alone: the data that
evaluate a candidate must not have selected it.
"""

from __future__ import annotations

import time
from dataclasses import replace

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
    saving = {
        axis: float(each)
        for (axis, _), each in zip(removal_plan.order, removal_plan.savings, strict=True)
    }
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
    gain = [loss / saving[axis] for loss, (axis, _) in zip(losses, removal_plan.order, strict=True)]
    places = np.argsort(gain, kind="stable").tolist()
    return replace(
        removal_plan,
        order=tuple(removal_plan.order[place] for place in places),
        savings=removal_plan.savings[places],
    )

"""From a task to candidates for publication: in closed form, distilled, or by rounds of training.

The pipeline exports and measures one after the other, and answers each with the figures that would
be published.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from isslim.compress.contract import Candidate, ModelTask, Published
from isslim.compress.errors import BudgetNotMet
from isslim.compress.progress import Progress
from isslim.compress.pruning.network import Model
from isslim.compress.search.aims import aims_of
from isslim.compress.search.closed_form import ClosedForm
from isslim.compress.search.distilled import Distilled
from isslim.compress.search.rounds import iterate_rounds
from isslim.types.wording import QUALITY_UNKNOWN

Candidates = Generator[Candidate[Model], Published | None, None]


def candidates(task: ModelTask[Model], work: Path, progress: Progress) -> Candidates[Model]:
    """Candidates by the recipe's mode; each is to be answered by what was measured of it (`send`).

    Args:
        task: the uploaded model and its recipe.
        work: the job's folder.
        progress: receives what is done.

    Raises:
        BudgetNotMet: with the curve.
        CompressError: when the mode is not one of this task, or lacks what it needs.
    """
    if task.recipe.mode != "learn":
        yield from _calibrated(task, work, progress)
        return
    trainer = task.trainer()
    progress.enter(
        "learn", f"learning on {trainer.data_description} with the learner '{task.recipe.learner}'"
    )
    for candidate in iterate_rounds(task, trainer, work, progress):
        published = yield candidate
        if published is not None and published.kept:
            return


def _calibrated(task: ModelTask[Model], work: Path, progress: Progress) -> Candidates[Model]:
    minutes = task.minutes
    warned = (
        ""
        if task.origin.not_evaluated is None
        else f"; {QUALITY_UNKNOWN}: {task.origin.not_evaluated}"
    )
    progress.enter("calibrate", f"collecting activations on {task.origin.calibration}{warned}")
    for line in (*task.origin.warnings, *task.origin.left_out):
        progress(0.0, line)
    progress.on_minutes(minutes)
    closed = ClosedForm(task, work, progress)
    distilled = Distilled(task, closed, minutes, work / "finetune", progress)
    if minutes > 0 and task.recipe.budget.quality is not None:
        is_kept = yield from distilled.within_budget()
        if is_kept:
            return
    aims, seen = aims_of(task.recipe), set[tuple[int, float]]()
    while aims.allowance is not None:
        progress.enter("search", aims.description)
        try:
            found = closed.search(aims.allowance)
        except BudgetNotMet:
            if seen or aims.allowance >= 1.0 or task.recipe.budget.quality is None:
                raise
            # The published figure may be below the estimate.
            found = closed.search(1.0)
        if found.key in seen and task.recipe.budget.quality is not None:
            return
        seen.add(found.key)
        if minutes > 0 and task.recipe.budget.quality is None:
            candidate = distilled.counted(found)
        else:
            candidate = closed.candidate(found, closed.network(found))
        published = yield candidate
        aims.record_measurement(found.outcome.quality, published or Published(True, False, None))

"""Candidates that are distilled from the original after the cut.

Within a budget of quality the cut is as deep as distillation makes up for, which the candidates
before one say (`isslim/compress/search/tuning.py`). A budget of size or speed determines the cut.
Where a job is to end by some time, what search and measurement take of it is not trained.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from functools import cached_property
from pathlib import Path
from typing import Generic

from isslim.compress.contract import Candidate, ModelTask, Published, Quality
from isslim.compress.errors import BudgetNotMet
from isslim.compress.progress import Progress
from isslim.compress.pruning.network import Model
from isslim.compress.search.closed_form import ClosedForm, Found
from isslim.compress.search.tuning import STEP, TunedAim, first_of
from isslim.compress.training.stages import Tuned
from isslim.types.kinds.registry import kind_named
from isslim.types.quality import compared_loss, metric_format_of

CLOCKED_SHARE = 0.75
"""Of the minutes, what a candidate takes that has to be smaller only if the clock says so."""
LEAST_SHARE = 0.1
"""Of all minutes, what has to be left for another candidate."""
LEAST_MINUTES = 1.0
"""Minutes that are trained however long the search before took."""
USUAL_SHARE = 0.4
"""Of the usual budget of a kind, in place of a budget of none at all."""


class Distilled(Generic[Model]):
    """Candidates of one job, which share its minutes.

    Args:
        task: the original and its recipe.
        closed: where candidates are cut.
        minutes: most of them, over all candidates together.
        folder: takes a folder for each candidate, from which a killed job resumes.
        progress: receives what is done.
    """

    def __init__(
        self,
        task: ModelTask[Model],
        closed: ClosedForm[Model],
        minutes: float,
        folder: Path,
        progress: Progress,
    ) -> None:
        self._task, self._closed, self._progress = task, closed, progress
        self._minutes, self._folder = minutes, folder
        self._spent = dict[tuple[int, float], float]()

    def within_budget(self) -> Generator[Candidate[Model], Published | None, bool]:
        """Candidates for a budget of quality; each is to be answered by what was measured of it.

        Returns:
            Whether one was kept in all of its forms; else the closed form is what remains.
        """
        limit = self._task.recipe.budget.quality or 0.0
        aim = TunedAim(limit / self._unit, first_of(self._task.metric))
        measured, is_kept = set[tuple[int, float]](), False
        while aim.loss is not None and self._left >= LEAST_SHARE * self._minutes:
            self._progress.enter("search", aim.description)
            found = self._cut(aim.loss * self._unit - limit)
            if found is None or found.key in measured:
                break
            measured.add(found.key)
            before = self._units(found.outcome.quality)
            candidate, quality = self._tuned(found, aim.share)
            loss, fits = self._units(quality), False
            if quality.loss <= limit:
                published = yield candidate
                if published is not None and published.loss is not None:
                    loss = published.loss / self._unit
                fits = published is None or (published.kept and not published.missed)
                is_kept = is_kept or fits
            aim.record_measurement(before, loss, is_kept=fits)
        return is_kept

    def counted(self, found: Found[Model]) -> Candidate[Model]:
        """A candidate of a budget of size or speed, tuned for the minutes that are left.

        Where the clock may ask for a smaller one, some are left for that.
        """
        by_clock = self._task.recipe.budget.speedup is not None
        return self._tuned(found, CLOCKED_SHARE if by_clock else 1.0)[0]

    @property
    def _left(self) -> float:
        """Minutes that no candidate has taken, and that the job's time leaves."""
        spent = sum(self._spent.values())
        by_clock = max((self._task.trained_by - time.monotonic()) / 60, LEAST_MINUTES - spent)
        return max(0.0, min(self._minutes - spent, by_clock))

    @cached_property
    def _unit(self) -> float:
        """The loss that aims are told in: the budget, or where that is none, what is usual."""
        usual = kind_named(self._task.task).default_budget.quality or 1.0
        return self._task.recipe.budget.quality or USUAL_SHARE * usual

    def _units(self, quality: Quality | None) -> float:
        """A loss by the search's estimate, in units of `_unit`."""
        if quality is None:
            return math.inf
        budget = self._task.recipe.budget
        return compared_loss(budget, quality.loss, quality.estimate) / self._unit

    def _cut(self, beyond: float) -> Found[Model] | None:
        """The smallest candidate that loses so much more than the budget; None: there is none.

        Where every candidate loses more, one that loses up to `STEP` times as much is taken.
        """
        limit = self._task.recipe.budget.quality or 0.0
        for allowed in (beyond, STEP * (limit + beyond) - limit):
            try:
                return self._closed.search(beyond=allowed)
            except BudgetNotMet:
                continue
        return None

    def _tuned(self, found: Found[Model], share: float) -> tuple[Candidate[Model], Quality]:
        """A candidate after a share of the minutes that are left, and its quality.

        Where tuning won nothing on the held-out data, the untuned network is the candidate.
        """
        network, task = self._closed.network(found), self._task
        self._progress.enter("fine-tune", "distilling the original into the small model")
        spent = self._spent.get(found.key, 0.0)
        tuned = self._distilled(found, network, spent + share * self._left, spent + self._left)
        scale, before = metric_format_of(task.metric), found.outcome.quality
        before = task.evaluate(network) if before is None else before
        after = task.evaluate(tuned.network)
        description = (
            f"{tuned.minutes:.2g} minutes of distillation, {tuned.steps:,} steps: {scale.name} "
            f"{scale.value(before.value)} -> {scale.value(after.value)} by the quick estimate"
        )
        if tuned.ended:
            description = f"{description}; {tuned.ended}"
        if after.loss < before.loss:
            return self._closed.candidate(found, tuned.network, description), after
        description = f"{description}; not better, so the untuned model was kept"
        return self._closed.candidate(found, network, description), before

    def _distilled(
        self, found: Found[Model], network: Model, minutes: float, most: float
    ) -> Tuned[Model]:
        tuned = self._task.finetune(network, minutes, self._folder_of(found), self._progress, most)
        self._spent[found.key] = tuned.minutes
        return tuned

    def _folder_of(self, found: Found[Model]) -> Path:
        number, share = found.key
        return self._folder / f"{number}-{share:.6f}"

"""From a task to candidates for publication: in closed form, or by rounds of training.

The pipeline exports and measures one after the other, and answers each with the figures that would
be published. The search evaluates by a quick estimate on a part of the held-out text and before any
fine-tuning; so its next allowance depends on the outcome of its last choice: less where that
exceeded the budget, more where it left much of the budget unused.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

from isslim.compress.contract import Candidate, ModelTask, Published, Quality
from isslim.compress.errors import BudgetNotMet
from isslim.compress.progress import Progress
from isslim.compress.pruning.moments import shortages
from isslim.compress.pruning.network import Model
from isslim.compress.pruning.ranking import RemovalPlan
from isslim.compress.pruning.repair import Correction
from isslim.compress.search.ablation import rank_by_ablation
from isslim.compress.search.budget import Known, Outcome, find_within_budget
from isslim.compress.search.order import removal_plan_of
from isslim.compress.search.rounds import iterate_rounds
from isslim.types.quality import compared_loss
from isslim.types.recipe import Budget, Recipe
from isslim.types.report import AllocationRecord
from isslim.types.wording import QUALITY_UNKNOWN

Candidates = Generator[Candidate[Model], Published | None, None]

AIM = 0.97
"""Share of a budget of quality that the published loss is to reach: what is above the budget is not
published."""
MIN_SPENT = 0.8
"""A published loss below this share of the budget leaves enough for another search."""
TUNED_FIRST = 1.5
"""How much more than the budget a first candidate may lose that is fine-tuned: distillation wins
that back."""
TUNED_STEP = 3.0
"""How many times the last candidate's loss the next may have before it is fine-tuned, at most."""
MISSED_STEP = 0.85
"""How much of the last candidate's loss the next may have at least, where only the int8 form missed
the budget."""
ROUNDS, TUNED_ROUNDS = 4, 3
"""Candidates that are measured at most. Each fine-tuned one takes the recipe's minutes."""
STANDS_IN: dict[Correction, str] = {
    "means": "the removed units are replaced by their means: reconstructing them from the kept "
    "ones gave a lower quality",
    "nothing": "the removed units are not replaced: their means, or reconstructing them from the "
    "kept ones, gave a lower quality",
}
HARDER = (1.08, 1.2)
"""What to multiply a budget of speed with, until the measured speed reaches the budget itself."""


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
    original, recipe = task.original, task.recipe
    warned = (
        ""
        if task.origin.not_evaluated is None
        else f"; {QUALITY_UNKNOWN}: {task.origin.not_evaluated}"
    )
    progress.enter("calibrate", f"collecting activations on {task.origin.calibration}{warned}")
    for line in (*task.origin.warnings, *task.origin.left_out):
        progress(0.0, line)
    orders, cautions, allocation = _ordered(task, work, progress)
    aims, seen = _aims(recipe), set[tuple[int, float]]()
    while aims.allowance is not None:
        progress.enter("search", aims.description)
        try:
            number, outcome = _found(orders, task, work, progress, aims.allowance)
        except BudgetNotMet:
            if seen or aims.allowance >= 1.0 or recipe.budget.quality is None:
                raise
            # The published figure may be below the estimate.
            number, outcome = _found(orders, task, work, progress, 1.0)
        if (number, outcome.pruned.share) in seen and recipe.budget.quality is not None:
            return
        seen.add((number, outcome.pruned.share))
        check = task.verify_removal(original, outcome.pruned)
        network, description = original.rebuilt(outcome.pruned.arrays), None
        if recipe.finetune_minutes > 0:
            progress.enter("fine-tune", "distilling the original into the small model")
            network, description = task.finetune(
                network, work / "finetune" / f"{len(seen)}", progress
            )
        remarks = [
            *cautions,
            *(
                []
                if outcome.pruned.correction == "inputs"
                else [STANDS_IN[outcome.pruned.correction]]
            ),
        ]
        published = yield Candidate(
            network,
            outcome.pruned.keep,
            [check],
            outcome.curve,
            description,
            cautions=remarks,
            allocation=allocation,
        )
        aims.record_measurement(outcome.quality, published or Published(True, False, None))


@dataclass(frozen=True)
class _Order:
    """An order of removal, and the evaluations of its candidates."""

    removal_plan: RemovalPlan
    known: Known


def _found(
    orders: list[_Order], task: ModelTask[Model], work: Path, progress: Progress, allowance: float
) -> tuple[int, Outcome]:
    """The number of the order with the best candidate, and that candidate.

    Within a budget of quality it is the smallest, else the one that loses least.

    Raises:
        BudgetNotMet: when no order has one; the answer is that of the order with the gentlest
            candidate.
    """
    found, refused = list[tuple[float, int, Outcome]](), list[BudgetNotMet]()
    for number, order in enumerate(orders):
        try:
            outcome = find_within_budget(
                order.removal_plan, task, task.recipe, work, progress, allowance, order.known
            )
        except BudgetNotMet as answer:
            refused.append(answer)
            continue
        declaration, loss = (
            outcome.pruned.declaration,
            outcome.quality.loss if outcome.quality else 0.0,
        )
        limited = task.recipe.budget.quality is not None
        found.append((float(task.parameters(declaration)) if limited else loss, number, outcome))
    if not found:
        raise min(
            refused,
            key=lambda answer: min((point.loss for point in answer.curve), default=math.inf),
        )
    _, number, outcome = min(found, key=lambda each: each[:2])
    return number, outcome


def _ordered(
    task: ModelTask[Model], work: Path, progress: Progress
) -> tuple[list[_Order], list[str], AllocationRecord | None]:
    """The orders of removal, cautions about their data, and how the first was found."""
    recipe = task.recipe
    observed = task.collect_activations(lambda done, message: progress(0.5 * done, message))
    cautions = shortages(observed)
    for caution in cautions:
        progress(0.5, caution)
    removal_plan, allocation = removal_plan_of(
        task,
        task.original,
        observed,
        work,
        lambda done, message: progress(0.5 + 0.4 * done, message),
    )
    orders = [removal_plan]
    if recipe.budget.speedup is None:
        tried = rank_by_ablation(
            removal_plan, task, lambda done, message: progress(0.9 + 0.1 * done, message)
        )
        orders += [] if tried is None else [tried]
    return [_Order(each, {}) for each in orders], cautions, allocation


class _CountedAim:
    """A size is counted: it needs no second search."""

    def __init__(self) -> None:
        self.allowance: float | None = 1.0
        self.description = "searching the largest model within the budget"

    def record_measurement(self, quality: Quality | None, published: Published) -> None:
        """Ends the search.

        Args:
            quality: of the last candidate by the search's estimate.
            published: how the candidate fared.
        """
        self.allowance = None


class _SpeedAim(_CountedAim):
    """By the clock: harder as long as what is measured does not reach the budget."""

    def __init__(self) -> None:
        super().__init__()
        self._left = list(HARDER)

    def record_measurement(self, quality: Quality | None, published: Published) -> None:
        """Asks for more, or ends the search.

        Args:
            quality: of the last candidate by the search's estimate.
            published: how the candidate fared.
        """
        self.allowance = self._left.pop(0) if self._left and not published.kept else None


@dataclass
class _QualityAim:
    """What of a budget of quality the search may spend, in multiples of the budget.

    Attributes:
        allowance: of the next search; None: there is none.
        description: what it is for.
    """

    budget: Budget
    tuned: bool
    description: str = "searching the smallest model within the budget"
    allowance: float | None = AIM
    _tried: list[tuple[float, float]] = field(default_factory=list)
    _kept: float = -1.0
    _refused: float = float("inf")

    def __post_init__(self) -> None:
        if self.tuned:
            self.allowance = TUNED_FIRST

    def record_measurement(self, quality: Quality | None, published: Published) -> None:
        """Sets the next allowance from the loss estimated before tuning and the published one.

        Args:
            quality: of the last candidate by the search's estimate; None: not evaluated.
            published: how the candidate fared.
        """
        limit = self.budget.quality or 0.0
        self.allowance = None
        if quality is None or published.loss is None or limit <= 0:
            return
        estimated = compared_loss(self.budget, quality.loss, quality.estimate) / limit
        found = published.loss / limit
        before, self._tried = self._tried[-1:], [*self._tried, (estimated, found)]
        milder = not published.kept or (published.missed and not self.tuned)
        if milder:
            self._refused = min(self._refused, estimated)
        elif self._kept < estimated:
            self._kept = estimated
        satisfied = not milder and (
            found >= MIN_SPENT or (self._refused < float("inf") and not self.tuned)
        )
        if satisfied or len(self._tried) >= (TUNED_ROUNDS if self.tuned else ROUNDS):
            return
        asked = self._next(estimated, found, before)
        if published.kept and milder:
            # What 8 bits cost is added to what removal costs, and hardly less where less is
            # removed.
            asked = max(estimated + AIM - found, MISSED_STEP * estimated)
        if milder:
            asked = min(asked, AIM * estimated)
        if asked <= self._kept or asked >= self._refused:
            asked = (
                (max(self._kept, 0.0) + self._refused) / 2 if self._refused < float("inf") else 0.0
            )
        if milder:
            self.description = "searching a model that loses less"
        else:
            self.description = (
                f"searching a smaller model: {max(found, 0.0):.0%} of the budget is spent"
            )
        self.allowance = asked if asked > 0 else None

    def _next(self, estimated: float, found: float, before: list[tuple[float, float]]) -> float:
        """The estimate at which the published loss should be at its aim."""
        for other, there in before:
            # Through both candidates, where a greater loss before led to a greater one after.
            if self.tuned and (estimated - other) * (found - there) > 0:
                asked = estimated + (AIM - found) * (estimated - other) / (found - there)
                return min(asked, TUNED_STEP * estimated)
        if self.tuned or min(estimated, found) <= 0:
            return min(estimated + AIM - found, TUNED_STEP * max(estimated, AIM))
        return estimated * AIM / found


def _aims(recipe: Recipe) -> _CountedAim | _QualityAim:
    if recipe.budget.size_ratio is not None:
        return _CountedAim()
    return (
        _SpeedAim()
        if recipe.budget.speedup is not None
        else _QualityAim(recipe.budget, recipe.finetune_minutes > 0)
    )

"""Candidates in closed form: the orders of removal, and the best candidate within a limit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from isslim.compress.contract import Candidate, ModelTask
from isslim.compress.errors import BudgetNotMet
from isslim.compress.progress import Progress
from isslim.compress.pruning.moments import shortages
from isslim.compress.pruning.network import Model
from isslim.compress.pruning.ranking import RemovalPlan
from isslim.compress.pruning.repair import Correction
from isslim.compress.search.ablation import may_be_ablated, rank_by_ablation
from isslim.compress.search.budget import Known, Outcome, find_within_budget
from isslim.compress.search.order import removal_plan_of, unit_plan_of
from isslim.types.manifest import CheckRecord
from isslim.types.report import AllocationRecord

STANDS_IN: dict[Correction, str] = {
    "means": "the removed units are replaced by their means: reconstructing them from the kept "
    "ones gave a lower quality",
    "nothing": "the removed units are not replaced: their means, or reconstructing them from the "
    "kept ones, gave a lower quality",
}


@dataclass(frozen=True)
class _Order:
    """An order of removal, and the evaluations of its candidates."""

    removal_plan: RemovalPlan
    known: Known


@dataclass(frozen=True)
class Found(Generic[Model]):
    """A candidate of a search.

    Attributes:
        key: equal for equal candidates.
        outcome: what the search found.
        check: the verification of the cut.
    """

    key: tuple[int, float]
    outcome: Outcome
    check: CheckRecord


class ClosedForm(Generic[Model]):
    """The orders of removal of a task, searched as often as needed.

    Args:
        task: the uploaded model and its recipe.
        work: the job's folder.
        progress: receives what is done, in the stage that was entered.
    """

    def __init__(self, task: ModelTask[Model], work: Path, progress: Progress) -> None:
        self._task, self._work, self._progress = task, work, progress
        self._orders, self._cautions, self._allocation = _ordered(task, work, progress)
        self._checks = dict[tuple[int, float], CheckRecord]()

    def search(self, allowance: float = 1.0, beyond: float = 0.0) -> Found[Model]:
        """The best candidate within a multiple of the budget, verified.

        Within a budget of quality it is the smallest of all orders, else the one that loses least.

        Args:
            allowance: see `find_within_budget`.
            beyond: likewise.

        Raises:
            BudgetNotMet: when no order has one; the answer is that of the order with the gentlest
                candidate.
        """
        task, found, refused = self._task, list[tuple[float, int, Outcome]](), list[BudgetNotMet]()
        for number, order in enumerate(self._orders):
            try:
                outcome = find_within_budget(
                    order.removal_plan,
                    task,
                    task.recipe,
                    self._work,
                    self._progress,
                    allowance,
                    order.known,
                    beyond,
                )
            except BudgetNotMet as answer:
                refused.append(answer)
                continue
            declaration, loss = (
                outcome.pruned.declaration,
                outcome.quality.loss if outcome.quality else 0.0,
            )
            limited = task.recipe.budget.quality is not None
            size = float(task.parameters(declaration))
            found.append((size if limited else loss, number, outcome))
        if not found:
            raise min(
                refused,
                key=lambda answer: min((point.loss for point in answer.curve), default=math.inf),
            )
        _, number, outcome = min(found, key=lambda each: each[:2])
        key = number, outcome.pruned.share
        if key not in self._checks:
            self._checks[key] = task.verify_removal(task.original, outcome.pruned)
        return Found(key, outcome, self._checks[key])

    def network(self, found: Found[Model]) -> Model:
        """The network of a candidate."""
        return self._task.original.rebuilt(found.outcome.pruned.arrays)

    def candidate(
        self, found: Found[Model], network: Model, description: str | None = None
    ) -> Candidate[Model]:
        """A candidate for publication.

        Args:
            found: by `search`.
            network: what its network became by training, or its network itself.
            description: what training did, in one line; None without training.
        """
        pruned = found.outcome.pruned
        remarks = [] if pruned.correction == "inputs" else [STANDS_IN[pruned.correction]]
        return Candidate(
            network,
            pruned.keep,
            [found.check],
            found.outcome.curve,
            description,
            cautions=[*self._cautions, *remarks],
            allocation=self._allocation,
        )


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
    if recipe.budget.speedup is None and may_be_ablated(task):
        # One component at a time is tried, where an order by measurement removes many together.
        single = removal_plan
        if allocation is not None:
            single = unit_plan_of(task, task.original, observed)
        tried = rank_by_ablation(
            single, task, lambda done, message: progress(0.9 + 0.1 * done, message)
        )
        orders += [] if tried is None else [tried]
    return [_Order(each, {}) for each in orders], cautions, allocation

"""From a task to candidates for publication, the boldest first: in closed form (`calibrate`), or by rounds of training (`learn`).

The pipeline exports and measures one after the other until the measured figures keep to the budget.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from compress.calibrate import Learned, learn
from compress.search import find
from compress.tasks.contract import Candidate, Model, ModelTask, Quality, StageReport
from store.recipe import Recipe


def candidates(task: ModelTask[Model], work: Path, stages: StageReport) -> Iterator[Candidate[Model]]:
    """Candidates by the recipe's mode.

    Args:
        task: the uploaded model and what is asked for.
        work: the job's folder.
        stages: progress.

    Raises:
        BudgetNotMet: with the curve.
        CompressError: when the mode is not one of this task, or lacks what it needs.
    """
    return task.learn(work, stages) if task.recipe.mode == "learn" else _calibrated(task, work, stages)


def _calibrated(task: ModelTask[Model], work: Path, stages: StageReport) -> Iterator[Candidate[Model]]:
    original, recipe = task.original, task.recipe
    stages.enter("observe", f"observing {task.origin.calibration}")
    learned = _ordered(task, work, stages)
    known: dict[float, Quality] = {}
    for allowance in _allowances(recipe):
        stages.enter("search", "searching the smallest model within the budget")
        outcome = find(learned, task, recipe, work, stages.tell, allowance, known)
        check = task.verify_removal(original, outcome.pruned)
        network, told = original.rebuilt(outcome.pruned.arrays), None
        if recipe.finetune_minutes > 0:
            stages.enter("fine-tune", "distilling the original into the small model")
            network, told = task.finetune(network, work / "finetune" / f"{allowance:g}", stages.tell)
        yield Candidate(network, outcome.pruned.keep, [check], outcome.curve, told)


def _ordered(task: ModelTask[Model], work: Path, stages: StageReport) -> Learned:
    recipe, declaration = task.recipe, task.original.declaration()
    observed = task.observe(lambda done, message: stages.tell(0.5 * done, message))
    cost = None
    if recipe.budget.speedup is not None:
        cost = task.cost(work, lambda done, message: stages.tell(0.5 + 0.4 * done, message))
    stages.tell(0.9, "ordering the components")
    return learn(
        task.original.arrays(),
        declaration,
        observed,
        prunable=task.prunable(declaration),
        count=_valued(recipe),
        turned=recipe.rotate_embedding,
        narrowed=recipe.narrow_softmax and task.may_narrow,
        cost=cost,
    )


def _allowances(recipe: Recipe) -> tuple[float, ...]:
    """What to multiply a budget with before searching, until the measured figure keeps to the budget itself.

    With fine-tuning to follow, a greater loss than the budget's is allowed before it: distillation wins that back. A
    size is counted, so it needs no second search.
    """
    if recipe.budget.size_ratio is not None:
        return (1.0,)
    if recipe.budget.speedup is not None:
        return (1.0, 1.08, 1.2)
    return (1.5, 0.97, 0.85) if recipe.finetune_minutes > 0 else (0.97, 0.9, 0.75)


def _valued(recipe: Recipe) -> Literal["parameters", "mult_adds", "both"]:
    """A size budget counts parameters, a quality budget both, a speed budget work where time cannot be read."""
    if recipe.budget.size_ratio is not None:
        return "parameters"
    return "mult_adds" if recipe.budget.speedup is not None else "both"

"""Two ways to a smaller network, one result: in closed form (`calibrate`), or by rounds of training (`learn`).

Each way is a sequence of candidates, the boldest first. The pipeline exports and measures one after the other until the
measured figures keep to the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from compress import axes
from compress.axes import Declaration, Keep
from compress.calibrate import Learned, Pruned, learn
from compress.errors import TextUnusable
from compress.finetuning import finetune
from compress.learning import learn_structure
from compress.measurement import StageReport
from compress.networks.contract import LanguageModel
from compress.observation import observe
from compress.search import find
from compress.speed import measure_curve
from compress.texts import Texts
from compress.verification import verify_removal
from store.manifest import CheckRecord, CurvePoint, EpochPoint, Recipe


@dataclass(frozen=True)
class Candidate:
    """A smaller network, proven equal to what it was cut from.

    Attributes:
        network: in evaluation mode.
        kept: per axis, which of the original's components it has, ascending.
        checks: the proofs of its cuts.
        curve: everything that was tried on the way.
        told: what training did, in a line; None without any.
        epochs: of learning.
    """

    network: LanguageModel
    kept: Keep
    checks: list[CheckRecord]
    curve: list[CurvePoint]
    told: str | None = None
    epochs: list[EpochPoint] = field(default_factory=list)


def candidates(
    original: LanguageModel, texts: Texts, recipe: Recipe, work: Path, stages: StageReport
) -> Iterator[Candidate]:
    """Candidates by the recipe's mode.

    Args:
        original: the uploaded model.
        texts: what is observed, trained and judged on.
        recipe: mode and budget.
        work: the job's folder.
        stages: progress.

    Raises:
        BudgetNotMet: with the curve.
        TextUnusable: when `learn` has no text of the user's to train on.
    """
    way = _learnt if recipe.mode == "learn" else _calibrated
    return way(original, texts, recipe, work, stages)


def _calibrated(
    original: LanguageModel, texts: Texts, recipe: Recipe, work: Path, stages: StageReport
) -> Iterator[Candidate]:
    stages.enter("observe", f"observing {texts.calibration_origin}")
    learned = _ordered(original, texts, recipe, work, stages)
    for allowance in _allowances(recipe):
        stages.enter("search", "searching the smallest model within the budget")
        outcome = find(learned, original, texts.held_out, recipe, work, stages.tell, allowance)
        check = _verified(original, outcome.pruned, texts)
        network, told = original.rebuilt(outcome.pruned.arrays), None
        if recipe.finetune_minutes > 0:
            stages.enter("fine-tune", "distilling the original into the small model")
            folder = work / "finetune" / f"{allowance:g}"
            network, told = finetune(network, original, texts, recipe, folder, stages.tell)
        yield Candidate(network, outcome.pruned.keep, [check], outcome.curve, told)


def _learnt(
    original: LanguageModel, texts: Texts, recipe: Recipe, work: Path, stages: StageReport
) -> Iterator[Candidate]:
    if not texts.training_given:
        raise TextUnusable(
            "the mode 'learn' trains on a text of yours, and none was uploaded: send `train` (or `calibration`), or ask "
            "for the mode 'calibrate', which needs no text"
        )
    for allowance in (0.97, 0.85):
        stages.enter("learn", f"learning on {len(texts.training):,} tokens with the learner '{recipe.learner}'")
        folder = work / "learn" / f"{allowance:g}"
        folder.mkdir(parents=True, exist_ok=True)

        def verify(before: LanguageModel, pruned: Pruned) -> None:
            _verified(before, pruned, texts)

        found = learn_structure(original, texts, recipe, folder, stages.tell, verify, allowance)
        told = (
            f"{recipe.learn_epochs:g} epochs of learning with '{recipe.learner}' in {found.round} rounds, distilling from "
            "the original"
        )
        # The last network with all that the rounds removed put back as zeros: indices and algebra of the whole way.
        full = axes.put_back(found.network.arrays(), original.declaration(), found.kept)
        check = verify_removal(found.network, original.rebuilt(full), texts.held_out)
        yield Candidate(found.network, found.kept, [check], found.curve, told, found.epochs)
        if recipe.budget.perplexity_rise is None:
            return


def _ordered(original: LanguageModel, texts: Texts, recipe: Recipe, work: Path, stages: StageReport) -> Learned:
    observed = observe(original, texts.calibration, progress=lambda done: stages.tell(0.5 * done, "observing"))
    cost = None if recipe.budget.speedup is None else _time_here(original, work, stages)
    stages.tell(0.5, "ordering the components")
    declaration = original.declaration()
    prunable = [axis for axis in declaration.axes if recipe.prune_embedding or axis != "embedding"]
    return learn(
        original.arrays(),
        declaration,
        observed,
        prunable=prunable,
        count=_valued(recipe),
        turned=recipe.rotate_embedding,
        cost=cost,
    )


def _time_here(original: LanguageModel, work: Path, stages: StageReport) -> Callable[[Declaration], float] | None:
    """What a speed budget values removals by: this host's clock, or None where it is too unsteady to be read."""
    curve = measure_curve(original, work, lambda done, message: stages.tell(0.5 + 0.4 * done, message))
    if curve.is_trusted:
        stages.tell(0.9, f"latency curve within {curve.error:.0%} of what was measured")
        return curve.milliseconds
    stages.tell(
        0.9, f"clock too unsteady (the latency curve is off by {curve.error:.0%}): counting multiply-adds instead"
    )
    return None


def _verified(before: LanguageModel, pruned: Pruned, texts: Texts) -> CheckRecord:
    return verify_removal(before.rebuilt(pruned.arrays), before.rebuilt(pruned.reference), texts.held_out)


def _allowances(recipe: Recipe) -> tuple[float, ...]:
    """What to multiply a budget with before searching, until the measured figure keeps to the budget itself.

    With fine-tuning to follow, a greater rise than the budget's is allowed before it: distillation wins that back. A
    size is counted, so it needs no second search.
    """
    if recipe.budget.size_ratio is not None:
        return (1.0,)
    if recipe.budget.speedup is not None:
        return (1.0, 1.08, 1.2)
    return (1.5, 0.97, 0.85) if recipe.finetune_minutes > 0 else (0.97, 0.85, 0.7)


def _valued(recipe: Recipe) -> Literal["parameters", "mult_adds", "both"]:
    """A size budget counts parameters, a quality budget both, a speed budget work where time cannot be read."""
    if recipe.budget.size_ratio is not None:
        return "parameters"
    return "mult_adds" if recipe.budget.speedup is not None else "both"

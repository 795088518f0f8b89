"""From the budget to one pruned model: tries shares, keeps the curve, rolls back to the last that was within.

A perplexity budget is judged on the held-out text by the quick estimate of `training.evaluation.perplexity`, the same one for
original and candidate. A size budget is a matter of counting, a speed budget of timing the exported candidate against
the original on this host, interleaved.

The published perplexity comes from the runtime as one stream and differs a little from the estimate, and a fine-tune
may win back more or less: so the pipeline passes an allowance, a share of the budget to search with, and comes again with
a smaller one when the measurement refuses the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from compress import axes
from compress.calibrate import Judged, Learned, Pruned, prune, search
from compress.errors import BudgetNotMet
from compress.export import export
from compress.networks.contract import LanguageModel
from compress.sizes import embedding_width, layer_units
from compress.training.evaluation import perplexity
from runtime.latency import compare
from runtime.session import VariantSession
from store.manifest import CurvePoint, Recipe

LEAST_GAIN = 0.02
"""A model that loses less than this share of its parameters is no answer."""

Tell = Callable[[float, str], None]


@dataclass(frozen=True)
class Outcome:
    """The chosen candidate and every point that was tried."""

    pruned: Pruned
    curve: list[CurvePoint]


class _Judge(Protocol):
    def __call__(self, pruned: Pruned, network: LanguageModel, rise: float) -> bool: ...


def find(
    learned: Learned,
    original: LanguageModel,
    held_out: Tensor,
    recipe: Recipe,
    work: Path,
    tell: Tell,
    allowance: float = 1.0,
) -> Outcome:
    """The candidate that the budget asks for.

    Args:
        learned: the order of removal.
        original: the unpruned model.
        held_out: int64 (N,).
        recipe: its budget decides.
        work: a folder for the graphs that a speed budget times.
        tell: progress.
        allowance: the share of a perplexity budget to search with.

    Returns:
        For a perplexity budget the smallest model within it; for a size or speed budget the largest that reaches it.

    Raises:
        BudgetNotMet: with the curve.
    """
    base = perplexity(original, held_out)
    points: dict[float, CurvePoint] = {}
    judge = _judge_of(learned, original, recipe, work, allowance)

    def attempt(share: float) -> Judged:
        pruned = prune(learned, share)
        network = original.rebuilt(pruned.arrays)
        found = perplexity(network, held_out)
        within = judge(pruned, network, found / base - 1)
        points[share] = CurvePoint(
            removed_share=pruned.share,
            embedding=embedding_width(pruned.declaration),
            units=layer_units(pruned.declaration),
            parameters=axes.parameters(pruned.declaration),
            mult_adds=axes.mult_adds(pruned.declaration),
            perplexity=found,
            perplexity_rise=found / base - 1,
            within_budget=within,
        )
        tell(min(0.95, len(points) / 9), f"{share:.0%} removed: perplexity {found:.2f} ({found / base - 1:+.1%})")
        return Judged(share, within)

    good = search(attempt)
    curve = sorted(points.values(), key=lambda point: point.removed_share)
    reached = [share for share, point in points.items() if point.within_budget]
    if recipe.budget.perplexity_rise is None:
        # Here `within` means "not yet small or fast enough": the answer is the first share beyond it.
        reached = [share for share, point in points.items() if not point.within_budget]
        good = min(reached) if reached else None
        curve = [point.model_copy(update={"within_budget": not point.within_budget}) for point in curve]
    if good is None or points[good].parameters > (1 - LEAST_GAIN) * axes.parameters(learned.declaration):
        raise BudgetNotMet(_why(recipe, curve), curve=curve)
    return Outcome(prune(learned, good), curve)


def _judge_of(learned: Learned, original: LanguageModel, recipe: Recipe, work: Path, allowance: float) -> _Judge:
    budget = recipe.budget
    if budget.size_ratio is not None:
        limit = budget.size_ratio * axes.parameters(learned.declaration)
        return lambda pruned, network, rise: axes.parameters(pruned.declaration) > limit
    if budget.speedup is not None:
        wanted = budget.speedup
        export(original, work / "timed-original.onnx")
        first = VariantSession(work / "timed-original.onnx", threads=1)

        def slower(pruned: Pruned, network: LanguageModel, rise: float) -> bool:
            export(network, work / "timed-compressed.onnx")
            second = VariantSession(work / "timed-compressed.onnx", threads=1)
            timed = compare({"original": first, "compressed": second}, steps=30, batch=1, pairs=9)
            return timed["compressed"].speedup < wanted

        return slower
    allowed = (budget.perplexity_rise or 0.0) * allowance
    return lambda pruned, network, rise: rise <= allowed


def _why(recipe: Recipe, curve: list[CurvePoint]) -> str:
    asked = recipe.budget.model_dump(exclude_none=True)
    closest = min(curve, key=lambda point: point.perplexity_rise)
    return (
        f"no model meets the budget {asked}: the gentlest of {len(curve)} tried removes {closest.removed_share:.1%} "
        f"and changes perplexity by {closest.perplexity_rise:+.2%}; allow more, or see the curve for what is possible"
    )

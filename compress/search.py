"""From the budget to one pruned model: tries shares, keeps the curve, rolls back to the last that was within.

A budget of quality is judged on the held-out data by the task's quick estimate, the same one for original and candidate. A
size budget is a matter of counting, a speed budget of timing the exported candidate against the original on this host,
interleaved: it is the lower end of the speed-up's interval that has to reach the budget, so that the median of the published
measurement rarely falls below.

The published figure comes from the runtime and differs a little from the estimate, a fine-tune may win back more or less, and
clocks are noisy: so the pipeline passes an allowance, a multiple of the budget to search with, and comes again with a harder
one when the measurement refuses the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compress import axes
from compress.calibrate import Judged, Learned, Pruned, prune, search
from compress.errors import BudgetNotMet
from compress.tasks.contract import Model, ModelTask, Tell
from store.manifest import CurvePoint
from store.quality import SCALES, Scale
from store.recipe import Budget, Recipe

LEAST_GAIN = 0.02
"""A model that loses less than this share of its parameters is no answer."""


@dataclass(frozen=True)
class Outcome:
    """The chosen candidate and every point that was tried."""

    pruned: Pruned
    curve: list[CurvePoint]


def find(
    learned: Learned, task: ModelTask[Model], recipe: Recipe, work: Path, tell: Tell, allowance: float = 1.0
) -> Outcome:
    """The candidate that the budget asks for.

    Args:
        learned: the order of removal.
        task: the unpruned model and what candidates are judged on.
        recipe: its budget decides.
        work: a folder for the graphs that a speed budget times.
        tell: progress.
        allowance: what to multiply a budget of quality or speed with before searching.

    Returns:
        For a budget of quality the smallest model within it; for a size or speed budget the largest that reaches it.

    Raises:
        BudgetNotMet: with the curve.
    """
    budget, scale = recipe.budget, SCALES[task.metric]
    whole = task.parameters(learned.declaration)
    clock = None if budget.speedup is None else _clock(task, work)
    points: dict[float, CurvePoint] = {}
    reached: list[float] = []

    def attempt(share: float) -> Judged:
        pruned = prune(learned, share)
        network = task.original.rebuilt(pruned.arrays)
        found = task.judge(network)
        speedup, surely = (None, None) if clock is None else clock(network)
        parameters = task.parameters(pruned.declaration)
        points[share] = CurvePoint(
            sizes=dict(pruned.declaration.axes),
            removed_share=pruned.share,
            parameters=parameters,
            mult_adds=axes.mult_adds(pruned.declaration),
            value=found.value,
            loss=found.loss,
            speedup=speedup,
            within_budget=_keeps(budget, found.loss, parameters / whole, speedup),
        )
        harder = None if surely is None else surely / allowance
        good = _keeps(budget, found.loss / allowance, parameters / whole, harder)
        if good:
            reached.append(share)
        tell(min(0.95, len(points) / 9), f"{share:.0%} removed: {scale.told(found.value, found.loss)}")
        # The climb goes on while more may be removed: within a budget of quality, short of one of size or speed.
        return Judged(share, good if budget.quality is not None else not good)

    search(attempt)
    best = max if budget.quality is not None else min
    good = best(reached, default=None)
    if good is None or points[good].parameters > (1 - LEAST_GAIN) * whole:
        curve = sorted(points.values(), key=lambda point: point.removed_share)
        raise BudgetNotMet(_why(budget, scale, curve, whole), curve=curve)
    points[good] = points[good].model_copy(update={"chosen": True})
    return Outcome(prune(learned, good), sorted(points.values(), key=lambda point: point.removed_share))


def _keeps(budget: Budget, loss: float, size_ratio: float, speedup: float | None) -> bool:
    if budget.size_ratio is not None:
        return size_ratio <= budget.size_ratio
    if budget.speedup is not None:
        return speedup is not None and speedup >= budget.speedup
    return loss <= (budget.quality or 0.0)


def _clock(task: ModelTask[Model], work: Path) -> Callable[[Model], tuple[float, float]]:
    """Times networks against the original: the speed-up, and the lower end of its interval."""
    paths = {"original": work / "timed-original.onnx", "compressed": work / "timed-compressed.onnx"}
    task.export(task.original, paths["original"])

    def clock(network: Model) -> tuple[float, float]:
        task.export(network, paths["compressed"])
        timed = task.compare(paths, task.spoken_shape, 9)["compressed"]
        return timed.speedup, timed.speedup_low

    return clock


def _why(budget: Budget, scale: Scale, curve: list[CurvePoint], whole: int) -> str:
    """Names the point of the curve that comes closest to the budget."""
    if budget.size_ratio is not None:
        closest = min(curve, key=lambda point: point.parameters)
        asked = f"at most {budget.size_ratio:g} of the parameters"
        found = f"the smallest of {len(curve)} tried keeps {closest.parameters / whole:.3g} of them"
    elif budget.speedup is not None:
        closest = max(curve, key=lambda point: point.speedup or 0.0)
        asked = f"{budget.speedup:g} times the speed"
        found = f"the fastest of {len(curve)} tried reaches {closest.speedup or 0.0:.3g} times"
    else:
        closest = min(curve, key=lambda point: point.loss)
        asked = f"a {scale.loss_name} of at most {budget.quality or 0.0:.4g}"
        found = f"the gentlest of {len(curve)} tried keeps {closest.parameters / whole:.1%} of the parameters"
    return (
        f"no model meets the budget of {asked}: {found}, at {scale.told(closest.value, closest.loss)}; "
        "ask for less, or see the curve for what is possible"
    )

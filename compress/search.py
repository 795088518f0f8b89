"""From the budget to one pruned model: tries shares, keeps the curve, rolls back to the last that was within.

A perplexity budget is judged on the held-out text by the quick estimate of `training.evaluation.perplexity`, the same one for
original and candidate. A size budget is a matter of counting, a speed budget of timing the exported candidate against
the original on this host, interleaved: it is the lower end of the speed-up's interval that has to reach the budget, so
that the median of the published measurement rarely falls below.

The published perplexity comes from the runtime as one stream and differs a little from the estimate, a fine-tune may win
back more or less, and clocks are noisy: so the pipeline passes an allowance, a multiple of the budget to search with,
and comes again with a harder one when the measurement refuses the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
from store.manifest import SENTENCE, Budget, CurvePoint, Recipe

LEAST_GAIN = 0.02
"""A model that loses less than this share of its parameters is no answer."""

Tell = Callable[[float, str], None]


@dataclass(frozen=True)
class Outcome:
    """The chosen candidate and every point that was tried."""

    pruned: Pruned
    curve: list[CurvePoint]


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
        allowance: what to multiply a perplexity or speed budget with before searching.

    Returns:
        For a perplexity budget the smallest model within it; for a size or speed budget the largest that reaches it.

    Raises:
        BudgetNotMet: with the curve.
    """
    base, budget = perplexity(original, held_out), recipe.budget
    whole = axes.parameters(learned.declaration)
    clock = None if budget.speedup is None else _clock(original, work)
    points: dict[float, CurvePoint] = {}
    reached: list[float] = []

    def attempt(share: float) -> Judged:
        pruned = prune(learned, share)
        network = original.rebuilt(pruned.arrays)
        found = perplexity(network, held_out)
        speedup, surely = (None, None) if clock is None else clock(network)
        rise, parameters = found / base - 1, axes.parameters(pruned.declaration)
        points[share] = CurvePoint(
            removed_share=pruned.share,
            embedding=embedding_width(pruned.declaration),
            units=layer_units(pruned.declaration),
            parameters=parameters,
            mult_adds=axes.mult_adds(pruned.declaration),
            perplexity=found,
            perplexity_rise=rise,
            speedup=speedup,
            within_budget=_keeps(budget, rise, parameters / whole, speedup),
        )
        harder = None if surely is None else surely / allowance
        good = _keeps(budget, rise / allowance, parameters / whole, harder)
        if good:
            reached.append(share)
        tell(min(0.95, len(points) / 9), f"{share:.0%} removed: perplexity {found:.2f} ({rise:+.1%})")
        # The climb goes on while more may be removed: within a perplexity budget, short of one of size or speed.
        return Judged(share, good if budget.perplexity_rise is not None else not good)

    search(attempt)
    best = max if budget.perplexity_rise is not None else min
    good = best(reached, default=None)
    if good is None or points[good].parameters > (1 - LEAST_GAIN) * whole:
        curve = sorted(points.values(), key=lambda point: point.removed_share)
        raise BudgetNotMet(_why(budget, curve, whole), curve=curve)
    points[good] = points[good].model_copy(update={"chosen": True})
    return Outcome(prune(learned, good), sorted(points.values(), key=lambda point: point.removed_share))


def _keeps(budget: Budget, rise: float, size_ratio: float, speedup: float | None) -> bool:
    if budget.size_ratio is not None:
        return size_ratio <= budget.size_ratio
    if budget.speedup is not None:
        return speedup is not None and speedup >= budget.speedup
    return rise <= (budget.perplexity_rise or 0.0)


def _clock(original: LanguageModel, work: Path) -> Callable[[LanguageModel], tuple[float, float]]:
    """Times networks against the original: the speed-up, and the lower end of its interval."""
    export(original, work / "timed-original.onnx")
    first = VariantSession(work / "timed-original.onnx", threads=1)

    def clock(network: LanguageModel) -> tuple[float, float]:
        export(network, work / "timed-compressed.onnx")
        second = VariantSession(work / "timed-compressed.onnx", threads=1)
        steps, batch = SENTENCE
        timed = compare({"original": first, "compressed": second}, steps=steps, batch=batch, pairs=9)["compressed"]
        return timed.speedup, timed.speedup_low

    return clock


def _why(budget: Budget, curve: list[CurvePoint], whole: int) -> str:
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
        closest = min(curve, key=lambda point: point.perplexity_rise)
        asked = f"a rise of perplexity by at most {budget.perplexity_rise or 0.0:.4g}"
        found = f"the gentlest of {len(curve)} tried keeps {closest.parameters / whole:.1%} of the parameters"
    return (
        f"no model meets the budget of {asked}: {found} and changes perplexity by {closest.perplexity_rise:+.2%}; "
        "ask for less, or see the curve for what is possible"
    )

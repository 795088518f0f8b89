"""From the budget to one pruned model: tries shares, keeps the curve, takes the best within it.

A budget on quality is evaluated on the held-out data by the task's quick estimate, the same one for
original and candidate, or by the upper end of that estimate's interval where the budget is a
confident one (`isslim.types.quality.compared_loss`). A size budget is a matter of counting, a speed
budget of timing the exported candidate against the original on this host, interleaved: it is the
lower end of the speed-up's interval that has to reach the budget, so that the median of the
published measurement rarely falls below.

The published figure comes from the runtime and differs a little from the estimate, a fine-tune may
win back more or less, and clocks are noisy: so the pipeline passes an allowance, a multiple of the
budget to search with, and comes again with a harder one when the measurement refuses the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic

from isslim.compress.contract import ModelTask, Quality
from isslim.compress.errors import BudgetNotMet
from isslim.compress.progress import Progress
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import NetworkAxes
from isslim.compress.pruning.network import Model
from isslim.compress.pruning.ranking import (
    GRID,
    Probe,
    Pruned,
    RemovalPlan,
    bisect_share,
    kept_indices,
    outline,
    prune,
)
from isslim.compress.pruning.repair import Correction
from isslim.types.manifest import CurvePoint
from isslim.types.quality import SLACK, MetricFormat, compared_loss, metric_format_of
from isslim.types.recipe import Budget, Recipe

Known = dict[tuple[float, Correction], Quality]
"""Evaluated candidates, by the removed share and the replacement of the removed components."""
CORRECTION_TEXTS: dict[Correction, str] = {
    "inputs": "",
    "means": ", means standing in for what was removed",
    "nothing": ", nothing standing in for what was removed",
}
"""What a regression competes with, and itself: on few rows, or where a unit cannot be predicted
from the others, less is better."""
MIN_GAIN = 0.02
"""Within a budget of quality, a model that saves less than this share of both its parameters and
its multiply-adds is no answer.

Either is enough: the rows of an embedding may hold nearly all of the parameters and do none of the
work.
"""


@dataclass(frozen=True)
class Outcome:
    """The chosen candidate, its quality by the quick estimate, and every point that was tried.

    Attributes:
        pruned: the candidate.
        curve: what was tried, from the least removed to the most.
        quality: of the candidate; None where it was not evaluated.
    """

    pruned: Pruned
    curve: list[CurvePoint]
    quality: Quality | None


def gain(parameters: int, work: int, whole_parameters: int, whole_work: int) -> float:
    """What a smaller model saves: the share of the parameters or of the work, whichever is larger.

    Args:
        parameters: of the smaller model.
        work: its multiply-adds.
        whole_parameters: of the original.
        whole_work: the original's multiply-adds.
    """
    return max(1 - parameters / max(whole_parameters, 1), 1 - work / max(whole_work, 1))


def find_within_budget(  # noqa: PLR0913 - what to search in, by what, and what is known already
    removal_plan: RemovalPlan,
    task: ModelTask[Model],
    recipe: Recipe,
    work: Path,
    progress: Progress,
    allowance: float = 1.0,
    known: Known | None = None,
    beyond: float = 0.0,
) -> Outcome:
    """The candidate that the budget asks for.

    Args:
        removal_plan: the order of removal.
        task: the unpruned model and the data on which candidates are evaluated.
        recipe: its budget decides.
        work: a folder for the graphs that a speed budget times.
        progress: receives what is done, and every candidate as a point when it is evaluated.
        allowance: what to multiply a budget of quality or speed with before searching.
        known: the quality of candidates that an earlier search of the same order measured; more
            are added. No progress is reported of what is known.
        beyond: what a candidate may lose more than a budget of quality, in its terms.

    Returns:
        For a budget of quality the smallest model within it; for a size or speed budget the largest
        that reaches it. The best of its corrections (`repair`) is used.

    Raises:
        BudgetNotMet: with the curve.
    """
    whole = task.parameters(removal_plan.whole), axes.mult_adds(removal_plan.whole)
    clock = None if recipe.budget.speedup is None else _clock(task, work)
    known = {} if known is None else known
    searching = _Search(
        removal_plan, task, recipe.budget, *whole, clock, progress, allowance, known, beyond
    )
    limited = recipe.budget.quality is not None

    def probe(share: float) -> Probe:
        # The climb goes on while more may go: within a budget of quality, short of another one.
        within = searching.reached(share) is limited
        return Probe(searching.tried[-1].share, within)

    bisect_share(probe)
    best = max if limited else min
    good = [each for each in searching.tried if each.good]
    if limited:
        good = [each for each in good if searching.gain(each) >= MIN_GAIN]
    chosen = best(good, key=lambda each: each.share, default=None)
    if chosen is None:
        raise BudgetNotMet(_why(searching, metric_format_of(task.metric)), curve=searching.curve())
    chosen = searching.corrected(chosen)
    return Outcome(
        prune(removal_plan, chosen.share, chosen.correction),
        searching.curve(chosen),
        chosen.quality,
    )


@dataclass
class _Tried:
    """A candidate, and whether it reaches what is asked for; its quality where that was looked at.

    Its arrays are not kept: those of all candidates together would take gigabytes.
    """

    share: float
    declaration: NetworkAxes
    parameters: int
    mult_adds: int
    speedup: float | None
    correction: Correction = "inputs"
    good: bool = False
    quality: Quality | None = None


@dataclass
class _Search(Generic[Model]):
    """The candidates of one search, evaluated no more often than needed where that is costly."""

    removal_plan: RemovalPlan
    task: ModelTask[Model]
    budget: Budget
    parameters: int
    mult_adds: int
    clock: Callable[[Model], tuple[float, float]] | None
    progress: Progress
    allowance: float
    known: Known
    beyond: float = 0.0
    tried: list[_Tried] = field(default_factory=list)

    def reached(self, share: float) -> bool:
        """Tries a candidate: whether it reaches what is asked for, the allowance counted in."""
        # A size is found by counting; a few points for the curve are enough.
        if self.budget.size_ratio is not None and (self.task.costly or share not in GRID):
            keep, gone = kept_indices(self.removal_plan, share)
            network, declaration = None, outline(self.removal_plan, keep)
        else:
            pruned = prune(self.removal_plan, share)
            network, declaration = self.task.original.rebuilt(pruned.arrays), pruned.declaration
            gone = pruned.share
        clock = self.clock
        speedup, surely = (None, None) if clock is None or network is None else clock(network)
        each = _Tried(
            gone,
            declaration,
            self.task.parameters(declaration),
            axes.mult_adds(declaration),
            speedup,
        )
        description = f"{each.parameters:,} parameters"
        fresh = (each.share, each.correction) not in self.known
        if network is not None and (self.budget.quality is not None or not self.task.costly):
            each.quality = self.evaluate(each.share, each.correction, network)
        each.good = self.keeps(each, surely, self.allowance, self.beyond)
        if self.budget.quality is not None and not each.good and not self.task.costly:
            each = self.corrected(each)
            each.good = self.keeps(each, surely, self.allowance, self.beyond)
        self.tried.append(each)
        if each.quality is not None:
            description = (
                metric_format_of(self.task.metric).describe(each.quality.value, each.quality.loss)
                + CORRECTION_TEXTS[each.correction]
            )
        if fresh and each.quality is not None:
            self.progress.on_point(self.point(each))
        if fresh:
            self.progress(len(self.tried) / 9, f"{gone:.0%} removed: {description}")
        return each.good

    def corrected(self, each: _Tried) -> _Tried:
        """A candidate with its best correction, which replaces the candidate in the search."""
        if each.quality is None and self.task.costly:
            return each
        qualities = {
            correction: self.evaluate(each.share, correction) for correction in CORRECTION_TEXTS
        }
        best = min(qualities, key=lambda correction: qualities[correction].loss)
        found = replace(each, correction=best, quality=qualities[best])
        self.tried = [found if other is each else other for other in self.tried]
        return found

    def keeps(
        self, each: _Tried, speedup: float | None, allowance: float = 1.0, beyond: float = 0.0
    ) -> bool:
        """Whether a candidate keeps to the budget times the allowance.

        Args:
            each: the candidate.
            speedup: the factor that counts for a budget of speed: the median, or the lower end of
                its interval; None: it was not timed, which meets no such budget.
            allowance: multiplies a budget of quality or speed, not one of size.
            beyond: what may be lost more than a budget of quality.
        """
        budget = self.budget
        if budget.size_ratio is not None:
            return each.parameters <= budget.size_ratio * self.parameters
        if budget.speedup is not None:
            return speedup is not None and speedup >= allowance * budget.speedup
        quality, most = each.quality, allowance * (budget.quality or 0.0) + beyond + SLACK
        return quality is not None and compared_loss(budget, quality.loss, quality.estimate) <= most

    def gain(self, each: _Tried) -> float:
        """See `gain`."""
        return gain(each.parameters, each.mult_adds, self.parameters, self.mult_adds)

    def evaluate(
        self, share: float, correction: Correction, network: Model | None = None
    ) -> Quality:
        """Of the network at a share; what is known is not evaluated again.

        Args:
            share: of all removable savings, how much is gone.
            correction: the replacement of the removed components.
            network: the candidate that both stand for; None: it is made here.
        """
        if (share, correction) not in self.known:
            if network is None:
                pruned = prune(self.removal_plan, share, correction)
                network = self.task.original.rebuilt(pruned.arrays)
            self.known[share, correction] = self.task.evaluate(network)
        return self.known[share, correction]

    def curve(self, chosen: _Tried | None = None) -> list[CurvePoint]:
        """What was evaluated, from the least removed to the most, where the outputs are finite.

        Two shares between which no unit lies are one candidate, and one point.
        """
        once = {
            (each.share, each.correction, each.speedup): each
            for each in self.tried
            if each is not chosen and each.quality is not None
        }
        if chosen is not None:
            once[chosen.share, chosen.correction, chosen.speedup] = chosen
        points = [
            self.point(each, chosen=each is chosen)
            for each in sorted(once.values(), key=lambda each: each.share)
        ]
        return [point for point in points if math.isfinite(point.loss)]

    def point(self, each: _Tried, *, chosen: bool = False) -> CurvePoint:
        """A candidate as a point of the curve; evaluated if it was not yet.

        Args:
            each: the candidate.
            chosen: whether it is what the search returns.
        """
        if each.quality is None:
            each.quality = self.evaluate(each.share, each.correction)
        return CurvePoint(
            sizes=dict(each.declaration.axes),
            removed_share=each.share,
            parameters=each.parameters,
            mult_adds=each.mult_adds,
            value=each.quality.value,
            loss=each.quality.loss,
            estimate=each.quality.estimate,
            speedup=each.speedup,
            within_budget=self.keeps(each, each.speedup),
            chosen=chosen,
            correction=each.correction,
        )


def _clock(task: ModelTask[Model], work: Path) -> Callable[[Model], tuple[float, float]]:
    """Times networks against the original: the speed-up, and the lower end of its interval."""
    paths = {"original": work / "timed-original.onnx", "compressed": work / "timed-compressed.onnx"}
    task.export(task.original, paths["original"])

    def clock(network: Model) -> tuple[float, float]:
        task.export(network, paths["compressed"])
        timed = task.compare(paths, task.primary_shape, 9)["compressed"]
        return timed.speedup, timed.speedup_low

    return clock


def _why(searching: _Search[Model], scale: MetricFormat) -> str:
    """What was possible, and which rule turned it down."""
    budget, tried, whole = searching.budget, searching.tried, searching.parameters
    if budget.size_ratio is not None:
        closest = searching.point(min(tried, key=lambda each: each.parameters))
        asked = f"at most {budget.size_ratio:g} of the parameters"
        share = f"{closest.parameters / whole:.3g}" if closest.parameters < whole else "all"
        found = f"the smallest of {len(tried)} tried keeps {share} of them"
    elif budget.speedup is not None:
        closest = searching.point(max(tried, key=lambda each: each.speedup or 0.0))
        asked = f"{budget.speedup:g} times the speed"
        found = f"the fastest of {len(tried)} tried reaches {closest.speedup or 0.0:.3g} times"
    else:
        return _why_not_within(searching, scale)
    return (
        f"no model meets the budget of {asked}: {found}, at "
        f"{scale.describe(closest.value, closest.loss)}; "
        "ask for less, or see the curve for what is possible"
    )


def _why_not_within(searching: _Search[Model], scale: MetricFormat) -> str:
    """Which rule refused every candidate of a budget of quality.

    Nothing is within it, or what is within saves too little, or the published figures were above.
    """
    budget, tried = searching.budget, searching.tried
    limit = scale.loss(budget.quality or 0.0).removeprefix("+")
    asked = f"no model meets the budget of a {scale.loss_name} of at most {limit}"

    def kept(each: _Tried) -> str:
        return (
            f"keeps {each.parameters / max(searching.parameters, 1):.2%} of the parameters and "
            f"{each.mult_adds / max(searching.mult_adds, 1):.2%} of the multiply-adds"
        )

    # A share so small that no unit went with it says nothing of what is possible.
    tried = [each for each in tried if searching.gain(each) > 0] or tried
    within = [each for each in tried if searching.keeps(each, None)]
    if not within:
        gentlest = min(tried, key=lambda each: _weighed(budget, each))
        quality = gentlest.quality
        description = (
            "" if quality is None else scale.describe_excess(budget, quality.loss, quality.estimate)
        )
        return (
            f"{asked}: the mildest of {len(tried)} tried {kept(gentlest)}, {description}; allow "
            "more, or see the curve for what is possible"
        )
    best = max(within, key=searching.gain)
    description = "" if best.quality is None else scale.in_sentence(best.quality.loss)
    if searching.gain(best) < MIN_GAIN:
        return (
            f"not worth pruning: {asked} and is worth publishing; the best of the {len(within)} "
            f"within it (of {len(tried)} tried) {kept(best)}, "
            f"{description}; a model that saves less than {MIN_GAIN:.0%} of both is not "
            "published (the rule MIN_GAIN)"
        )
    return (
        f"{asked} as it is published: the best of {len(tried)} tried {kept(best)}, {description} "
        "by the search's estimate, and the "
        f"published figures, which decide, were above it; only a {scale.loss_name} of at most "
        f"{scale.loss(searching.allowance * (budget.quality or 0.0)).removeprefix('+')} by the "
        "estimate was looked for"
    )


def _weighed(budget: Budget, each: _Tried) -> float:
    return (
        math.inf
        if each.quality is None
        else compared_loss(budget, each.quality.loss, each.quality.estimate)
    )

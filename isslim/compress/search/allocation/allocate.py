"""Chooses how much of each axis goes before how much of the others, by measurement.

Each axis is measured alone (`probes`), a curve is drawn through its measurements (`curves`), and a
path through the sizes saves most of what the recipe asks for at the least loss (`knapsack`,
`pricing`). The path is an order of removal like any other: the search takes a share of it.

Measurements far from the sizes that a budget leads to say little there. So the path is followed to
where the budget is predicted to end, that network is measured, and where the prediction was wrong
each axis is measured again at its size there, and the path drawn anew, once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from isslim.compress.contract import ModelTask
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning import axes
from isslim.compress.pruning.network import Model
from isslim.compress.pruning.ranking import RemovalPlan
from isslim.compress.search.allocation.curves import Curve, loss_curve
from isslim.compress.search.allocation.knapsack import Counts, Jump, path
from isslim.compress.search.allocation.knobs import Knob, knobs_of
from isslim.compress.search.allocation.pricing import Pricing
from isslim.compress.search.allocation.probes import Probes, measured_losses
from isslim.types.recipe import Budget, Recipe
from isslim.types.report import AllocationRecord, AxisProbe

AGREES = 0.25
"""Relative difference of a measured loss from the predicted one up to which it is believed."""
WON_BACK = 1.5
"""How many times the budget a network may lose that is then distilled."""
FILE = "probes.json"


def allocate(
    removal_plan: RemovalPlan,
    task: ModelTask[Model],
    base: float,
    pricing: Pricing,
    work: Path,
    progress: ProgressCallback,
) -> tuple[RemovalPlan, AllocationRecord]:
    """The same plan in the order of measured losses per saving.

    Args:
        removal_plan: its own order says how each axis shrinks.
        task: with `probe_loss`.
        base: the loss of the plan's network before anything is cut.
        pricing: what removals are valued by.
        work: the compression's folder, for the measurements.
        progress: called with the share done and a message.

    Returns:
        The plan, whose savings are those of `pricing`, and how its order was found.
    """
    knobs = knobs_of(removal_plan, task.equal_axes())
    if not knobs:
        return removal_plan, _record(task.recipe, pricing, knobs, [])
    removal_plan = replace(removal_plan, cost=pricing.cost)
    probes = Probes(removal_plan, task, base, work / FILE)
    measured = measured_losses(
        probes, knobs, lambda done, message: progress(0.7 * done, f"probe: {message}")
    )
    curves = _curves(knobs, measured)
    jumps = _path(removal_plan, knobs, curves, pricing)
    won_back = WON_BACK if task.minutes > 0 else 1.0
    allowed = math.inf
    if task.recipe.budget.quality is not None:
        allowed = won_back * task.probe_limit(task.recipe.budget.quality)
    gone = _aimed(removal_plan, knobs, jumps, task.recipe.budget, pricing, allowed)
    expected = sum(float(curve[count]) for curve, count in zip(curves, gone, strict=True))
    found = probes.loss(dict(zip(knobs, gone, strict=True)))
    progress(0.8, f"together: {found:+.4f} {task.probe_scale.unit}, predicted {expected:+.4f}")
    if abs(found - expected) > max(AGREES * expected, task.probe_scale.noise):
        for knob, losses, count in zip(knobs, measured, gone, strict=True):
            if count:
                losses[count] = probes.loss({knob: count})
        jumps = _path(removal_plan, knobs, _curves(knobs, measured), pricing)
        progress(0.95, "sizes chosen again, by what each axis loses there")
    progress(1.0, pricing.reason)
    if not jumps:
        return removal_plan, _record(task.recipe, pricing, knobs, measured)
    return _reordered(removal_plan, knobs, jumps), _record(task.recipe, pricing, knobs, measured)


def _curves(knobs: Sequence[Knob], measured: Sequence[dict[int, float]]) -> list[Curve]:
    return [loss_curve(knob.costs, losses) for knob, losses in zip(knobs, measured, strict=True)]


def _path(
    removal_plan: RemovalPlan, knobs: Sequence[Knob], curves: Sequence[Curve], pricing: Pricing
) -> list[Jump]:
    known: dict[Counts, float] = {}

    def cost(done: Counts) -> float:
        if done not in known:
            known[done] = pricing.cost(pricing.cheapest(_resized(removal_plan, knobs, done)))
        return known[done]

    return path(curves, cost)


def _resized(
    removal_plan: RemovalPlan, knobs: Sequence[Knob], done: Sequence[int]
) -> axes.NetworkAxes:
    """The axes of the network after some steps of each."""
    sizes: dict[str, int] = {}
    for knob, gone in zip(knobs, done, strict=True):
        sizes |= knob.sizes(gone)
    return axes.resized(removal_plan.declaration, sizes)


def _aimed(
    removal_plan: RemovalPlan,
    knobs: Sequence[Knob],
    jumps: Sequence[Jump],
    budget: Budget,
    pricing: Pricing,
    limit: float,
) -> list[int]:
    """The steps of each axis that are done where the budget is predicted to end."""
    done, lost = [0] * len(knobs), 0.0
    share = budget.size_ratio or (1 / budget.speedup if budget.speedup is not None else 0.0)
    for jump in jumps:
        if lost + jump.loss > limit and any(done):
            break
        if share:
            smaller = pricing.cheapest(_resized(removal_plan, knobs, done))
            if pricing.main(smaller) <= share * pricing.main(pricing.whole):
                break
        done[jump.knob], lost = jump.end, lost + jump.loss
    return done


def _reordered(
    removal_plan: RemovalPlan, knobs: Sequence[Knob], jumps: Sequence[Jump]
) -> RemovalPlan:
    """A plan in the order of jumps; what a jump saves stands at its first component."""
    order: list[tuple[str, int]] = []
    savings: list[float] = []
    costs: list[float] = []
    for jump in jumps:
        removed = knobs[jump.knob].removed(jump.start, jump.end)
        order += removed
        savings += [jump.saving, *[0.0] * (len(removed) - 1)]
        costs += [jump.loss, *[0.0] * (len(removed) - 1)]
    return replace(
        removal_plan, order=tuple(order), savings=np.array(savings), costs=np.array(costs)
    )


def _record(
    recipe: Recipe, pricing: Pricing, knobs: Sequence[Knob], measured: Sequence[dict[int, float]]
) -> AllocationRecord:
    return AllocationRecord(
        optimize=recipe.optimize,
        basis=pricing.basis,
        reason=pricing.reason,
        probes=[
            AxisProbe(axis=axis, size=knob.size - gone, loss=loss)
            for knob, losses in zip(knobs, measured, strict=True)
            for gone, loss in sorted(losses.items())
            for axis in knob.axes
        ],
    )

"""The order of removal of a network, under the options of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from isslim.compress.contract import ModelTask
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning.moments import ActivationStatistics
from isslim.compress.pruning.network import Model
from isslim.compress.pruning.ranking import RemovalPlan, rank_components
from isslim.compress.search.allocation.allocate import allocate
from isslim.compress.search.allocation.pricing import price
from isslim.compress.search.narrowing import narrowing_of
from isslim.types.recipe import Recipe
from isslim.types.report import AllocationRecord


def removal_plan_of(
    task: ModelTask[Model],
    network: Model,
    observed: ActivationStatistics,
    work: Path,
    progress: ProgressCallback,
) -> tuple[RemovalPlan, AllocationRecord | None]:
    """Orders the components of a network: each axis by the closed form, then all by measurement.

    In the form of the upload (`Recipe.form`) no basis changes and no layer is inserted, and layers
    that the upload's code builds with one number keep one size.

    Args:
        task: the uploaded model and its recipe.
        network: the original, or what is left of it.
        observed: its activations on calibration data.
        work: a folder for graphs that are timed and for what was measured.
        progress: called with the share done and a message.

    Returns:
        The order, and how it was found; None where the task has no `probe_loss`, so that the closed
        form's own costs compare the axes (`rank_components`).
    """
    recipe, declaration = task.recipe, network.declaration()
    free = recipe.form == "free"
    base = task.probe_loss(network)
    cost = None
    if base is None and recipe.budget.speedup is not None:
        cost = task.cost(work, progress)
    progress(1.0 if base is None else 0.0, "ordering the components")
    places, blocks = narrowing_of(task, network, observed)
    removal_plan = rank_components(
        network.arrays(),
        declaration,
        observed,
        prunable=task.prunable(declaration),
        count=_valued(recipe) if base is None else "components",
        rotate_axes=free and recipe.rotate_embedding,
        narrow=places,
        blocks=blocks,
        equal=task.equal_axes(),
        cost=cost,
    )
    if base is None:
        return removal_plan, None
    pricing = price(task, work, lambda done, message: progress(0.4 * done, message))
    return allocate(
        removal_plan,
        task,
        base,
        pricing,
        work,
        lambda done, message: progress(0.4 + 0.6 * done, message),
    )


def unit_plan_of(
    task: ModelTask[Model], network: Model, observed: ActivationStatistics
) -> RemovalPlan:
    """The order by the closed form's own costs alone, without narrow layers.

    Args:
        task: the uploaded model and its recipe.
        network: the original, or what is left of it.
        observed: its activations on calibration data.
    """
    declaration = network.declaration()
    return rank_components(
        network.arrays(),
        declaration,
        observed,
        prunable=task.prunable(declaration),
        count=_valued(task.recipe),
        rotate_axes=False,
        equal=task.equal_axes(),
    )


def _valued(recipe: Recipe) -> Literal["parameters", "mult_adds", "both"]:
    """What a removal is valued by: multiply-adds stand for time where there is no cost model."""
    if recipe.budget.size_ratio is not None:
        return "parameters"
    return "mult_adds" if recipe.budget.speedup is not None else "both"

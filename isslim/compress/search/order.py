"""The order of removal of a network, under the options of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from isslim.compress.contract import ModelTask
from isslim.compress.pruning.axes import NarrowPlace, NetworkAxes
from isslim.compress.pruning.moments import ActivationStatistics
from isslim.compress.pruning.narrow import BOTTLENECK, may_narrow_softmax
from isslim.compress.pruning.network import Model
from isslim.compress.pruning.ranking import RemovalPlan, rank_components


def removal_plan_of(
    task: ModelTask[Model],
    network: Model,
    observed: ActivationStatistics,
    *,
    count: Literal["parameters", "mult_adds", "both"] = "both",
    cost: Callable[[NetworkAxes], float] | None = None,
) -> RemovalPlan:
    """Orders the components of a network; see `rank_components`.

    In the form of the upload (`Recipe.form`) no basis changes and no layer is inserted, and layers
    that the upload's code builds with one number keep one size.

    Args:
        task: the uploaded model and its recipe.
        network: the original, or what is left of it.
        observed: its activations on calibration data.
        count: what a removal is valued by.
        cost: of a network of some sizes; see `rank_components`.
    """
    recipe, declaration = task.recipe, network.declaration()
    free = recipe.form == "free"
    return rank_components(
        network.arrays(),
        declaration,
        observed,
        prunable=task.prunable(declaration),
        count=count,
        rotate_axes=free and recipe.rotate_embedding,
        narrow=_places(task, declaration) if free else (),
        equal=task.equal_axes(),
        cost=cost,
    )


def _places(task: ModelTask[Model], declaration: NetworkAxes) -> list[NarrowPlace]:
    """Where narrow layers may be put in under the options of the recipe."""
    narrowed = task.recipe.narrow_softmax and task.may_narrow and may_narrow_softmax(declaration)
    return [BOTTLENECK] if narrowed else []

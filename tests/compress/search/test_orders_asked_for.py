"""What the recipe says of the order of removal reaches it, in a search and in a round of training.

The expected cut is that of the order with the arguments written out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import Arrays
from isslim.compress.pruning.narrow import BOTTLENECK, declare_narrow
from isslim.compress.pruning.ranking import RemovalPlan, prune, rank_components
from isslim.compress.search.candidates import candidates
from isslim.compress.search.rounds import iterate_rounds, run_rounds
from isslim.types.recipe import Budget, Recipe
from tests.compress.search import toy_text
from tests.compress.search.toy import Stages, by_units
from tests.compress.search.toy_text import SpeakerTask, SpeakerTrainer

ORIGINAL = toy_text.drawn()
OPTIONS = [
    ({}, True, {"rotate_axes": True, "narrow": [BOTTLENECK]}),
    ({}, False, {"rotate_axes": True, "narrow": []}),
    ({"narrow_softmax": False}, True, {"rotate_axes": True, "narrow": []}),
    ({"rotate_embedding": False}, True, {"rotate_axes": False, "narrow": [BOTTLENECK]}),
    ({"form": "same"}, True, {"rotate_axes": False, "narrow": []}),
]


def order(**options: Any) -> RemovalPlan:
    declaration = ORIGINAL.declaration()
    return rank_components(
        ORIGINAL.arrays(),
        declaration,
        toy_text.observed(ORIGINAL),
        prunable=list(declaration.axes),
        **options,
    )


def task_for(recipe: Recipe, *, may_narrow: bool = True) -> SpeakerTask:
    return SpeakerTask(ORIGINAL, recipe, by_units(0.0), may_narrow=may_narrow)


def same(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(("asked", "may_narrow", "options"), OPTIONS)
def test_a_search_cuts_in_the_order_of_the_recipe(
    asked: dict[str, Any], may_narrow: bool, options: dict[str, Any], tmp_path: Path
) -> None:
    recipe = Recipe(budget=Budget(size_ratio=0.6), **asked)
    task = task_for(recipe, may_narrow=may_narrow)
    found = next(candidates(task, tmp_path, Stages()))
    (chosen,) = (point for point in found.curve if point.chosen)
    expected = prune(order(count="parameters", **options), chosen.removed_share, chosen.correction)
    same(found.network.given, expected.arrays)


def test_a_speed_budget_is_searched_by_what_time_each_component_takes(tmp_path: Path) -> None:
    found = next(candidates(task_for(Recipe(budget=Budget(speedup=1.5))), tmp_path, Stages()))
    assert found.network.units == toy_text.UNITS  # they cost no time
    assert found.network.declaration().axes["embedding"] < toy_text.EMBEDDING


def test_axes_that_keep_one_size_are_cut_together(tmp_path: Path) -> None:
    task = task_for(Recipe(budget=Budget(size_ratio=0.6), narrow_softmax=False))
    task.equal = [["embedding", "units"]]
    found = next(candidates(task, tmp_path, Stages()))
    sizes = found.network.declaration().axes
    assert sizes["embedding"] == sizes["units"] < toy_text.UNITS


def learning(**asked: Any) -> Recipe:
    return Recipe.model_validate({"mode": "learn", "learn_epochs": 6.0, **asked})


@pytest.mark.parametrize(("asked", "may_narrow", "options"), OPTIONS)
def test_a_round_cuts_in_the_order_of_the_recipe(
    asked: dict[str, bool], may_narrow: bool, options: dict[str, Any], tmp_path: Path
) -> None:
    task = task_for(learning(budget={"size_ratio": 0.6}, **asked), may_narrow=may_narrow)
    run_rounds(task, SpeakerTrainer(), tmp_path, Stages())
    ((before, pruned),) = task.verified
    assert before is ORIGINAL
    expected = prune(order(count="parameters", **options), pruned.share + 1e-9, pruned.correction)
    same(pruned.arrays, expected.arrays)


def test_learning_with_a_bottleneck_is_proven_at_full_size(tmp_path: Path) -> None:
    task = task_for(learning(budget={"size_ratio": 0.6}))
    (found,) = iterate_rounds(task, SpeakerTrainer(), tmp_path, Stages())
    _, whole = task.verified[-1]
    width = found.network.declaration().axes[BOTTLENECK.axis]
    assert whole.declaration.axes[BOTTLENECK.axis] == width < toy_text.UNITS
    # What the bottleneck lost is zero at full size too, and the cut of that is the small network.
    assert whole.reference[BOTTLENECK.weight].shape == (toy_text.UNITS, toy_text.UNITS)
    plain = declare_narrow(ORIGINAL.declaration(), BOTTLENECK)
    small, _ = axes.select_components(whole.reference, plain, whole.keep)
    same(small, found.network.given)

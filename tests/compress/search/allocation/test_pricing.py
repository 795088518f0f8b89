"""What sizes are chosen for, and what a network then costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isslim.compress.pruning import axes, blocks
from isslim.compress.pruning.narrow import BOTTLENECK, declare_narrow
from isslim.compress.search.allocation.pricing import FILE, Pricing, price
from isslim.runtime.shape import Shape
from isslim.types.recipe import Recipe
from tests.compress.search.allocation.toy_probes import ProbedTask, task_of
from tests.compress.search.toy_text import time_of

WHOLE = task_of().original.declaration()


def priced(task: ProbedTask, folder: Path) -> Pricing:
    return price(task, folder, lambda done, message: None)


@pytest.mark.parametrize(
    ("asked", "basis", "reason"),
    [
        ({}, "time", "the time of 30 x 1 tokens in the form that is served, measured"),
        ({"optimize": "stream"}, "time", "the time of 1 x 1 tokens"),
        ({"optimize": "batch"}, "time", "the time of 30 x 10 tokens"),
        ({"optimize": "batch", "budget": {"speedup": 2.0}}, "time", "30 x 10 tokens in float32"),
        ({"optimize": "size"}, "parameters", "counting parameters"),
        ({"budget": {"size_ratio": 0.5}}, "parameters", "counting parameters"),
    ],
)
def test_it_is_what_the_recipe_says(
    asked: dict[str, Any], basis: str, reason: str, tmp_path: Path
) -> None:
    task = task_of(Recipe.model_validate(asked))
    task.usual_shapes = (*task.usual_shapes, Shape(30, 10))
    found = priced(task, tmp_path)
    assert found.basis == basis
    assert reason in found.reason
    assert found.main is (task.parameters if basis == "parameters" else time_of) or basis != "time"


def test_without_a_steady_clock_sizes_are_chosen_by_counting(tmp_path: Path) -> None:
    class Unsteady(ProbedTask):
        def cost(self, work: Path, progress: object) -> None:
            return None

    task = task_of()
    unsteady = Unsteady(task.original, task.recipe, task.rule)
    found = priced(unsteady, tmp_path)
    assert found.basis == "multiply-adds"
    assert found.reason == (
        "sizes chosen by counting, because this host could not be timed steadily"
    )
    untimed = Unsteady(task.original, task.recipe, task.rule)
    Unsteady.timed = False
    assert priced(untimed, tmp_path).reason == "sizes chosen by counting multiply-adds"
    smaller = axes.resized(WHOLE, {"units": 5})
    size = axes.parameters(smaller) / axes.parameters(WHOLE)
    work = axes.mult_adds(smaller) / axes.mult_adds(WHOLE)
    assert found.cost(smaller) == pytest.approx(work + FILE * size, rel=1e-12)


def test_the_original_costs_one_and_its_file(tmp_path: Path) -> None:
    found = priced(task_of(), tmp_path)
    assert found.cost(WHOLE) == pytest.approx(1 + FILE)
    half = axes.resized(WHOLE, {"embedding": 5})
    size = axes.parameters(half) / axes.parameters(WHOLE)
    assert found.cost(half) == pytest.approx(6 / 11 + FILE * size, rel=1e-12)


@pytest.mark.parametrize(("width", "stays"), [(10, False), (9, True), (3, True)])
def test_a_narrow_layer_that_was_put_in_is_there_only_where_it_pays(
    width: int, stays: bool
) -> None:
    pricing = Pricing(axes.mult_adds, WHOLE, "multiply-adds", "")
    narrow = declare_narrow(WHOLE, BOTTLENECK, width)
    found = pricing.cheapest(narrow)
    assert (BOTTLENECK.axis in found.axes) is stays
    assert pricing.cost(found) == min(map(pricing.cost, (WHOLE, narrow)))


def test_a_narrow_layer_of_the_original_stays() -> None:
    narrow = declare_narrow(WHOLE, BOTTLENECK, 10)
    assert Pricing(axes.mult_adds, narrow, "multiply-adds", "").cheapest(narrow) is narrow


@pytest.mark.parametrize(("ranks", "left"), [((10, 10), 0), ((10, 3), 1), ((3, 2), 2)])
def test_blocks_of_which_none_is_narrow_are_one_matrix(ranks: tuple[int, int], left: int) -> None:
    pricing = Pricing(axes.mult_adds, WHOLE, "multiply-adds", "")
    declaration = blocks.declare_blocks(WHOLE, (50, 70))
    for block, rank in enumerate(ranks):
        declaration = declare_narrow(declaration, blocks.place_of(block), rank)
    found = pricing.cheapest(declaration)
    assert len(found.narrow) == left
    assert blocks.block_sizes(found) == ((50, 70) if left else ())
    if not left:
        assert pricing.cost(found) == pytest.approx(pricing.cost(WHOLE), rel=1e-12)

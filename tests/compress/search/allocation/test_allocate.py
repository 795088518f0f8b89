"""A plan in the order of what was measured: what it removes, what it says of it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isslim.compress.pruning import axes
from isslim.compress.pruning.ranking import RemovalPlan, kept_indices, prune
from isslim.compress.search.allocation.allocate import allocate
from isslim.compress.search.allocation.pricing import FILE, Pricing
from isslim.compress.search.candidates import candidates
from isslim.types.recipe import Budget, Recipe
from isslim.types.report import AllocationRecord
from tests.compress.search.allocation.toy_probes import (
    ProbedTask,
    Sizes,
    gently,
    plan_of,
    task_of,
)
from tests.compress.search.toy import Stages


def allocated(
    task: ProbedTask, folder: Path, **asked: Any
) -> tuple[RemovalPlan, AllocationRecord, list[str]]:
    told: list[str] = []
    whole = task.original.declaration()
    pricing = Pricing(axes.mult_adds, whole, "multiply-adds", "by counting", **asked)
    plan, record = allocate(
        plan_of(task), task, 0.0, pricing, folder, lambda done, message: told.append(message)
    )
    return plan, record, told


def test_a_share_of_it_is_hardly_worse_than_the_best_of_all_sizes(tmp_path: Path) -> None:
    task = task_of()
    plan, _, _ = allocated(task, tmp_path)
    whole = task.original.declaration()
    pricing = Pricing(axes.mult_adds, whole, "multiply-adds", "")

    def made(sizes: dict[str, int]) -> tuple[float, float]:
        declaration = pricing.cheapest(axes.resized(plan.declaration, sizes))
        return pricing.cost(declaration), gently(declaration.axes)

    everything = [
        made(dict(zip(plan.declaration.axes, sizes, strict=True)))
        for sizes in itertools.product(range(4, 11), repeat=3)
    ]
    for share in np.linspace(0.05, 1.0, 20):
        pruned = prune(plan, share)
        cost = pricing.cost(pruned.declaration)
        best = min(loss for spent, loss in everything if spent <= cost + 1e-9)
        assert gently(pruned.declaration.axes) <= 1.2 * best + 1e-4


def test_its_savings_are_those_of_what_is_paid_and_its_costs_those_that_were_measured(
    tmp_path: Path,
) -> None:
    task = task_of()
    plan, _, _ = allocated(task, tmp_path)
    smallest = prune(plan, 1.0).declaration
    whole = task.original.declaration()
    pricing = Pricing(axes.mult_adds, whole, "multiply-adds", "")
    assert plan.savings.sum() == pytest.approx(1 + FILE - pricing.cost(smallest), rel=1e-9)
    sizes = {axis: len(index) for axis, index in kept_indices(plan, 1.0)[0].items()}
    assert plan.costs.sum() == pytest.approx(gently(sizes))
    assert len(plan.order) == len(set(plan.order)) == len(plan.savings) == len(plan.costs)
    # A jump is never divided: all that it saves stands at its first component.
    assert plan.savings[0] > 0
    for share in np.linspace(0, 1, 30):
        keep, gone = kept_indices(plan, share)
        assert gone <= share + 1e-12
        removed = sum(plan.declaration.axes[axis] - len(index) for axis, index in keep.items())
        assert removed == len(plan.order) or plan.savings[removed] > 0


def test_what_was_measured_is_in_the_record(tmp_path: Path) -> None:
    _, record, told = allocated(task_of(Recipe(optimize="batch")), tmp_path)
    assert (record.optimize, record.basis, record.reason) == (
        "batch", "multiply-adds", "by counting"
    )  # fmt: skip
    assert told[-1] == "by counting"
    sizes = {(probe.axis, probe.size) for probe in record.probes}
    assert {("units", 6), ("units", 4), ("bottleneck", 6)} <= sizes
    for probe in record.probes:
        alone = {"embedding": 10, "units": 10} | {probe.axis: probe.size}
        assert probe.loss == pytest.approx(gently(alone), abs=1e-12)


def test_axes_that_keep_one_size_are_sized_together(tmp_path: Path) -> None:
    task = task_of()
    task.equal = [["embedding", "units"]]
    plan, record, _ = allocated(task, tmp_path)
    for share in np.linspace(0, 1, 20):
        keep, _ = kept_indices(plan, share)
        assert len(keep["embedding"]) == len(keep["units"])
    assert [each.axis for each in record.probes][:2] == ["embedding", "units"]


def kinked(sizes: Sizes) -> float:
    """Free down to 8 units, which no probe of fewer shows."""
    return gently({axis: size for axis, size in sizes.items() if axis != "units"}) + (
        0.001 * max(0, 8 - sizes["units"]) if sizes["units"] > 6 else gently({"units": 0})
    )


@pytest.mark.parametrize(("loses", "again"), [(gently, False), (kinked, True)])
def test_where_the_prediction_is_wrong_each_axis_is_measured_at_its_size(
    loses: Any, again: bool, tmp_path: Path
) -> None:
    task = task_of(Recipe(budget=Budget(perplexity_rise=0.02)), loses)
    _, record, told = allocated(task, tmp_path)
    assert any("sizes chosen again" in each for each in told) is again
    (together,) = (each for each in told if each.startswith("together"))
    assert "predicted" in together
    if again:
        assert {probe.size for probe in record.probes if probe.axis == "units"} > {4, 6}


def test_a_search_takes_it_and_a_candidate_carries_the_record(tmp_path: Path) -> None:
    task = task_of(Recipe(budget=Budget(size_ratio=0.6)))
    found = next(candidates(task, tmp_path, Stages()))
    assert found.allocation is not None
    assert found.allocation.basis == "parameters"
    whole = task.original.declaration()
    left = axes.parameters(found.network.declaration())
    assert left <= 0.6 * axes.parameters(whole)


def test_a_network_without_anything_to_remove_is_left_alone(tmp_path: Path) -> None:
    task = task_of()
    whole = task.original.declaration()
    plan = RemovalPlan(task.original.arrays(), whole, whole, (), np.zeros(0), {})
    pricing = Pricing(axes.mult_adds, whole, "multiply-adds", "by counting")
    found, record = allocate(plan, task, 0.0, pricing, tmp_path, lambda done, message: None)
    assert (found.order, record.probes) == ((), [])

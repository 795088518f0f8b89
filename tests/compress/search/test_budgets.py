"""What a refusal says was possible and which rule refused it: it never contradicts itself."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from isslim.compress.contract import Quality
from isslim.compress.errors import BudgetNotMet
from isslim.compress.kinds.language.activations import collect_activations
from isslim.compress.kinds.language.task import LanguageTask
from isslim.compress.kinds.registry import UploadedFiles, read_task
from isslim.compress.progress import Lines, Progress
from isslim.compress.pruning import axes
from isslim.compress.pruning.ranking import RemovalPlan, rank_components
from isslim.compress.search.budget import MIN_GAIN, Known, find_within_budget, gain
from isslim.types.manifest import Estimate
from isslim.types.quality import keeps
from isslim.types.recipe import Budget, Recipe
from tests.conftest import Trained

LIMIT = 0.02


class Judged(LanguageTask):
    """A task whose losses are given: a share of what was removed, and an interval around it."""

    slope, floor, width, count = 1.0, 0.0, 0.0, 5000

    def evaluate(self, network: object) -> Quality:
        removed = 1 - axes.parameters(network.declaration()) / axes.parameters(
            self.original.declaration()
        )  # type: ignore[attr-defined]
        loss = self.floor + self.slope * removed
        estimate = Estimate(
            low=loss - self.width,
            high=loss + self.width,
            count=self.count,
            unit="tokens",
            method="block bootstrap",
        )
        return Quality(100 * (1 + loss), loss, estimate)


@pytest.fixture(scope="module")
def prepared(trained: Trained) -> tuple[Judged, RemovalPlan]:
    task = read_task(
        UploadedFiles(
            model=trained.model,
            vocabulary=trained.vocabulary,
            calibration=trained.calibration,
            held_out=trained.held_out,
        ),
        Recipe(budget=Budget(perplexity_rise=LIMIT)),
    )
    task.__class__ = Judged
    declaration = task.original.declaration()
    observed = collect_activations(task.original, task.texts.calibration)
    return task, rank_components(
        task.original.arrays(), declaration, observed, prunable=tuple(declaration.axes)
    )


def refused(
    task: Judged, removal_plan: RemovalPlan, budget: Budget, tmp_path: Path, allowance: float = 1.0
) -> BudgetNotMet | None:
    try:
        find_within_budget(
            removal_plan,
            task,
            Recipe(budget=budget),
            tmp_path,
            Progress(),
            allowance,
        )
    except BudgetNotMet as answer:
        return answer
    return None


@pytest.mark.parametrize("slope", [0.0, 0.2, 0.9, 1.5, 3.0, 40.0])
@pytest.mark.parametrize("floor", [-0.01, 0.0, 0.0199, 0.02000001, 0.5])
@pytest.mark.parametrize(("width", "count"), [(0.0, 5000), (0.004, 5000), (0.004, 300)])
@pytest.mark.parametrize("allowance", [1.0, 0.6])
def test_refusal_names_the_rule_that_turned_down_what_was_possible(
    slope: float,
    floor: float,
    width: float,
    count: int,
    allowance: float,
    prepared: tuple[Judged, RemovalPlan],
    tmp_path: Path,
) -> None:
    task, removal_plan = prepared
    task.slope, task.floor, task.width, task.count = slope, floor, width, count
    budget = Budget(perplexity_rise=LIMIT)
    answer = refused(task, removal_plan, budget, tmp_path, allowance)
    if answer is None:
        return
    whole = task.original.declaration()
    within = [point for point in answer.curve if point.within_budget]
    saved = [
        gain(point.parameters, point.mult_adds, axes.parameters(whole), axes.mult_adds(whole))
        for point in within
    ]
    if not within:
        assert "the mildest of" in answer.detail
        loss = min(point.loss for point in answer.curve)
        estimate = Estimate(
            low=0, high=loss + width, count=count, unit="tokens", method="block bootstrap"
        )
        assert not keeps(budget, loss, estimate)
        told = [
            float(each) for each in re.findall(r"([\d.]+)%, where the budget allows", answer.detail)
        ]
        told += [
            float(each) for each in re.findall(r"upper end, ([\d.]+)%, has to keep", answer.detail)
        ]
        assert told or "(95 %:" in answer.detail
        assert all(each > 100 * LIMIT for each in told)  # as printed
    elif max(saved) < MIN_GAIN:
        assert "saves less than 2% of both is not published (the rule MIN_GAIN)" in answer.detail
        assert "mildest" not in answer.detail
    else:
        assert allowance < 1
        assert "the published figures, which decide, were above it" in answer.detail


def test_shares_between_which_no_unit_lies_are_one_point(
    prepared: tuple[Judged, RemovalPlan], tmp_path: Path
) -> None:
    task, removal_plan = prepared
    task.slope, task.floor, task.width, task.count = 40.0, 0.5, 0.0, 5000
    few = replace(removal_plan, order=removal_plan.order[:3], savings=removal_plan.savings[:3])
    answer = refused(task, few, Budget(perplexity_rise=LIMIT), tmp_path)
    assert answer is not None
    assert [point.removed_share for point in answer.curve] == [0.0]


def test_saving_work_alone_is_a_gain() -> None:
    assert gain(995, 80, 1000, 100) == pytest.approx(0.2)
    assert gain(900, 100, 1000, 100) == pytest.approx(0.1)
    assert gain(0, 0, 0, 0) == 1.0


def test_shares_that_were_judged_are_not_told_again(
    prepared: tuple[Judged, RemovalPlan], tmp_path: Path
) -> None:
    task, removal_plan = prepared
    task.slope, task.floor, task.width, task.count = 0.05, 0.0, 0.0, 5000
    told, known = list[str](), Known()
    for allowance in (1.0, 0.8):
        recipe = Recipe(budget=Budget(perplexity_rise=LIMIT))
        find_within_budget(
            removal_plan,
            task,
            recipe,
            tmp_path,
            Lines(lambda done, message: told.append(message)),
            allowance,
            known,
        )
    assert len(told) == len(set(told)) == len({share for share, _ in known})

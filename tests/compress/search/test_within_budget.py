"""The search on a kind whose losses are known: what it tries and chooses, and how it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from isslim.compress.errors import BudgetNotMet
from isslim.compress.progress import Lines, Progress
from isslim.compress.pruning import axes
from isslim.compress.pruning.ranking import prune
from isslim.compress.pruning.repair import Correction
from isslim.compress.search.budget import Known, Outcome, find_within_budget, gain
from isslim.types.recipe import Budget, Recipe
from tests.compress.search import toy
from tests.compress.search.toy import UNITS, Rule, ToyTask, by_units

LIMIT = 0.05
ORIGINAL = toy.drawn()
PLAN = toy.plan_of(ORIGINAL)
SHARES = {gone: gone / 16 for gone in range(17)}
"""By how many units are gone: 16 of 20 may go."""


def task_for(budget: Budget, rule: Rule, **more: object) -> ToyTask:
    return ToyTask(ORIGINAL, Recipe(budget=budget), rule, **more)  # type: ignore[arg-type]


def search(
    task: ToyTask,
    work: Path,
    allowance: float = 1.0,
    known: Known | None = None,
    told: list[tuple[float, str]] | None = None,
) -> Outcome:
    lines = [] if told is None else told
    return find_within_budget(
        PLAN,
        task,
        task.recipe,
        work,
        Lines(lambda done, message: lines.append((done, message))),
        allowance,
        known,
    )


def test_within_a_budget_of_quality_the_smallest_is_chosen(tmp_path: Path) -> None:
    task, told = task_for(Budget(perplexity_rise=LIMIT), by_units(0.004, means=0.01)), []
    found = search(task, tmp_path, told=told)
    # 12 units of a loss of 0.4 % each are within 5 %, 13 are not.
    assert found.pruned.share == SHARES[12]
    assert found.quality is not None
    assert found.quality.loss == pytest.approx(0.048)
    expected = prune(PLAN, 0.8, "inputs")
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(found.pruned.arrays[name], array)
    assert [point.removed_share for point in found.curve] == [
        SHARES[gone] for gone in (3, 6, 9, 12, 13, 14)
    ]
    for point, gone in zip(found.curve, (3, 6, 9, 12, 13, 14), strict=True):
        assert point.sizes == {"units": UNITS - gone}
        assert point.parameters == toy.parameters(UNITS - gone)
        assert point.mult_adds == toy.OUTPUTS * (UNITS - gone)
        assert point.loss == pytest.approx(0.004 * gone)
        assert point.value == pytest.approx(100 + 0.4 * gone)
        assert point.estimate is not None
        assert point.estimate.high == point.loss
        assert point.within_budget is (gone <= 12)
        assert point.chosen is (gone == 12)
        assert (point.speedup, point.correction) == (None, "inputs")
    assert task.exported == []
    # Each network once; of the choice and of what breaks the budget the weaker corrections too.
    assert task.judged == [
        (17, "inputs"),
        (14, "inputs"),
        (11, "inputs"),
        (8, "inputs"),
        *((units, each) for units in (6, 7) for each in ("inputs", "means", "nothing")),
        (8, "means"),
        (8, "nothing"),
    ]
    assert told == [
        (1 / 9, "19% removed: perplexity 101.20 (+1.20%)"),
        (2 / 9, "38% removed: perplexity 102.40 (+2.40%)"),
        (3 / 9, "56% removed: perplexity 103.60 (+3.60%)"),
        (4 / 9, "75% removed: perplexity 104.80 (+4.80%)"),
        (5 / 9, "88% removed: perplexity 105.60 (+5.60%)"),
        (6 / 9, "81% removed: perplexity 105.20 (+5.20%)"),
    ]


def test_share_of_progress_stays_below_one(tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    search(task_for(Budget(perplexity_rise=1.0), by_units(0.004)), tmp_path, told=told)
    assert [done for done, _ in told] == pytest.approx([1 / 9, 2 / 9, 3 / 9, 4 / 9, 5 / 9, 6 / 9])


@pytest.mark.parametrize("better", ["means", "nothing"])
def test_what_stands_in_is_what_is_evaluated_best(better: Correction, tmp_path: Path) -> None:
    rule = by_units(0.004, **{better: -0.005})
    task, told = task_for(Budget(perplexity_rise=LIMIT), rule), []
    found = search(task, tmp_path, told=told)
    # With 0.5 % less, a 13th unit is within.
    assert (found.pruned.share, found.pruned.correction) == (SHARES[13], better)
    assert found.quality is not None
    assert found.quality.loss == pytest.approx(0.047)
    np.testing.assert_array_equal(
        found.pruned.arrays["bias"], prune(PLAN, SHARES[13], better).arrays["bias"]
    )
    (chosen,) = (point for point in found.curve if point.chosen)
    assert (chosen.correction, chosen.loss) == (better, found.quality.loss)
    text = {
        "means": ", means standing in for what was removed",
        "nothing": ", nothing standing in for what was removed",
    }[better]
    assert "81% removed: perplexity 104.70 (+4.70%)" + text in [line for _, line in told]
    assert len(found.curve) == len({point.removed_share for point in found.curve})


def test_choice_takes_the_better_correction_where_the_regression_was_within(tmp_path: Path) -> None:
    task = task_for(Budget(perplexity_rise=1.0), by_units(0.004, nothing=-0.01))
    found = search(task, tmp_path)
    assert found.pruned.correction == "nothing"
    assert [point.correction for point in found.curve] == ["inputs"] * 6 + ["nothing"]


def test_a_costly_judgement_is_made_of_what_is_needed_alone(tmp_path: Path) -> None:
    task = task_for(Budget(perplexity_rise=LIMIT), by_units(0.004, means=-1.0), costly=True)
    found = search(task, tmp_path)
    assert found.pruned.share == SHARES[12]
    assert found.pruned.correction == "means"
    assert task.judged == [
        *((units, "inputs") for units in (17, 14, 11, 8, 6, 7)),
        (8, "means"),
        (8, "nothing"),
    ]


def test_what_is_known_is_neither_judged_nor_told_again(tmp_path: Path) -> None:
    known, told = Known(), []
    task = task_for(Budget(perplexity_rise=LIMIT), by_units(0.004))
    search(task, tmp_path, known=known)
    judged = len(task.judged)
    again = search(task, tmp_path, known=known, told=told)
    assert (len(task.judged), told) == (judged, [])
    assert again.pruned.share == SHARES[12]
    assert known[SHARES[12], "inputs"] == again.quality
    harder = search(task, tmp_path, 0.5, known, told)
    assert harder.pruned.share == SHARES[6]
    assert told == [
        (4 / 9, "50% removed: perplexity 103.20 (+3.20%)"),
        (5 / 9, "44% removed: perplexity 102.80 (+2.80%)"),
    ]


@pytest.mark.parametrize(("allowance", "gone"), [(0.5, 6), (0.96, 12), (0.95, 11), (1.3, 15)])
def test_allowance_multiplies_the_budget_and_the_curve_does_not(
    allowance: float, gone: int, tmp_path: Path
) -> None:
    task = task_for(Budget(perplexity_rise=LIMIT), by_units(0.004))
    found = search(task, tmp_path, allowance)
    assert found.pruned.share == SHARES[gone]
    assert all(point.within_budget is (point.loss <= LIMIT) for point in found.curve)


def test_upper_end_of_the_interval_counts_where_few_judge(tmp_path: Path) -> None:
    budget = Budget(perplexity_rise=LIMIT)
    few = task_for(budget, by_units(0.004), width=0.012, count=300)
    assert search(few, tmp_path).pruned.share == SHARES[9]
    many = task_for(budget, by_units(0.004), width=0.012, count=5000)
    assert search(many, tmp_path).pruned.share == SHARES[12]


@pytest.mark.parametrize("costly", [False, True])
def test_a_size_budget_leaves_the_largest_within_it(costly: bool, tmp_path: Path) -> None:
    # 9 units hold 145 of 310 parameters, 10 hold 160.
    task = task_for(Budget(size_ratio=0.5), by_units(0.004, nothing=-0.001), costly=costly)
    told: list[tuple[float, str]] = []
    found = search(task, tmp_path, told=told)
    assert found.pruned.share == SHARES[11]
    (chosen,) = (point for point in found.curve if point.chosen)
    assert chosen.parameters == 145
    if costly:
        assert task.judged == [(9, "inputs")]
        assert [point.removed_share for point in found.curve] == [SHARES[11]]
        assert told[0] == (1 / 9, "19% removed: 265 parameters")
    else:
        assert found.quality is not None
        assert found.pruned.correction == chosen.correction == "nothing"
        assert [point.removed_share for point in found.curve] == [
            SHARES[gone] for gone in (3, 6, 9, 11, 12)
        ]
        assert [point.within_budget for point in found.curve] == [False] * 3 + [True] * 2
        # What was only counted was not evaluated; what was chosen, with each correction.
        assert task.judged == [
            *((UNITS - gone, "inputs") for gone in (3, 6, 9, 12)),
            *((UNITS - 11, correction) for correction in ("inputs", "means", "nothing")),
        ]
        assert told[0][1].startswith("19% removed: perplexity")


def test_a_size_budget_that_is_met_exactly_is_met(tmp_path: Path) -> None:
    task = task_for(Budget(size_ratio=145 / 310), by_units(0.004))
    assert search(task, tmp_path).pruned.share == SHARES[11]


@pytest.mark.parametrize(("allowance", "gone"), [(1.0, 11), (1.2, 13)])
def test_a_speed_budget_is_reached_by_the_lower_end(
    allowance: float, gone: int, tmp_path: Path
) -> None:
    # 0.9 x 20 / 9 is 2.0; of 7 units 2.57.
    task = task_for(Budget(speedup=2.0), by_units(0.004), sure=0.9)
    found = search(task, tmp_path, allowance)
    assert found.pruned.share == SHARES[gone]
    assert task.exported[0] == (20, "timed-original.onnx")
    assert {name for _, name in task.exported[1:]} == {"timed-compressed.onnx"}
    for point in found.curve:
        assert point.speedup == pytest.approx(20 / point.sizes["units"])
        assert point.within_budget is (point.speedup >= 2.0)


def test_curve_leaves_out_what_is_not_finite(tmp_path: Path) -> None:
    def rule(units: int, correction: Correction) -> float:
        return math.inf if units < 10 else 0.001 * (UNITS - units)

    found = search(task_for(Budget(perplexity_rise=LIMIT), rule), tmp_path)
    assert found.pruned.share == SHARES[10]
    assert max(point.removed_share for point in found.curve) == SHARES[10]


def refusal(task: ToyTask, work: Path, allowance: float = 1.0) -> BudgetNotMet:
    with pytest.raises(BudgetNotMet) as refused:
        search(task, work, allowance)
    return refused.value


def test_size_that_cannot_be_reached_is_refused_with_the_smallest(tmp_path: Path) -> None:
    answer = refusal(task_for(Budget(size_ratio=0.1), by_units(0.004)), tmp_path)
    assert answer.detail == (
        "no model meets the budget of at most 0.1 of the parameters: the smallest of 8 tried keeps "
        "0.274 of them, at perplexity 106.00 (+6.00%); ask for less, or see the curve for what is "
        "possible"
    )
    assert [point.removed_share for point in answer.curve] == [
        SHARES[gone] for gone in (3, 6, 9, 12, 15)
    ]
    assert not any(point.within_budget or point.chosen for point in answer.curve)


def test_speed_that_cannot_be_reached_is_refused_with_the_fastest(tmp_path: Path) -> None:
    answer = refusal(task_for(Budget(speedup=9.0), by_units(0.004)), tmp_path)
    assert answer.detail == (
        "no model meets the budget of 9 times the speed: the fastest of 8 tried reaches 4 times, "
        "at perplexity 106.00 (+6.00%); ask for less, or see the curve for what is possible"
    )


def test_quality_that_nothing_keeps_is_refused_with_the_mildest(tmp_path: Path) -> None:
    answer = refusal(task_for(Budget(perplexity_rise=LIMIT), by_units(0.06)), tmp_path)
    # Of five tried shares one took no unit, and is not counted.
    assert answer.detail == (
        "no model meets the budget of a rise of perplexity of at most 5.00%: the mildest of 4 "
        "tried keeps 95.16% of the parameters and 95.00% of the multiply-adds, at a rise of "
        "perplexity of 6.00% (95 %: +6.00% to +6.00%, 5,000 tokens), where the budget allows "
        "5.00%; allow more, or see the curve for what is possible"
    )
    assert [point.removed_share for point in answer.curve] == [0.0, SHARES[1], SHARES[3]]


def test_mildest_is_what_loses_least_and_not_what_is_largest(tmp_path: Path) -> None:
    task = task_for(
        Budget(perplexity_rise=LIMIT), lambda units, correction: 0.06 + 0.001 * (units - 17)
    )
    detail = refusal(task, tmp_path).detail
    assert "the mildest of 2 tried keeps 85.48% of the parameters" in detail
    assert "at a rise of perplexity of 6.00%" in detail


BROAD = toy.drawn(100)
BROAD_PLAN = toy.plan_of(BROAD)


def broad_refusal(rule: Rule, work: Path, allowance: float = 1.0) -> str:
    task = ToyTask(BROAD, Recipe(budget=Budget(perplexity_rise=LIMIT)), rule)
    with pytest.raises(BudgetNotMet) as refused:
        find_within_budget(BROAD_PLAN, task, task.recipe, work, Progress(), allowance)
    return refused.value.detail


def test_a_model_that_saves_hardly_anything_is_refused(tmp_path: Path) -> None:
    # One unit of a hundred is within the budget, two are not.
    detail = broad_refusal(lambda units, correction: 0.04 * (100 - units), tmp_path)
    assert detail == (
        "not worth pruning: no model meets the budget of a rise of perplexity of at most 5.00% and "
        "is worth publishing; the best of the 1 within it (of 5 tried) keeps 99.01% of the "
        "parameters and 99.00% of the multiply-adds, at a rise of perplexity of 4.00%; a model "
        "that saves less than 2% of both is not published (the rule MIN_GAIN)"
    )


def test_two_hundredths_are_worth_it(tmp_path: Path) -> None:
    # Two units of a hundred: 2 % of the multiply-adds, 1.99 % of the parameters.
    task = ToyTask(
        BROAD,
        Recipe(budget=Budget(perplexity_rise=LIMIT)),
        lambda units, correction: 0.025 * (100 - units),
    )
    found = find_within_budget(BROAD_PLAN, task, task.recipe, tmp_path, Progress())
    assert found.pruned.declaration.axes == {"units": 98}


def test_figures_that_were_above_the_budget_are_named_where_the_estimate_is_within(
    tmp_path: Path,
) -> None:
    answer = refusal(task_for(Budget(perplexity_rise=LIMIT), by_units(0.04)), tmp_path, 0.5)
    assert answer.detail == (
        "no model meets the budget of a rise of perplexity of at most 5.00% as it is published: "
        "the best of 4 tried keeps 95.16% of the parameters and 95.00% of the multiply-adds, at a "
        "rise of perplexity of 4.00% by the search's estimate, and the published figures, which "
        "decide, were above it; only a rise of perplexity of at most 2.50% by the estimate was "
        "looked for"
    )


def test_saving_work_alone_is_a_gain() -> None:
    assert gain(995, 80, 1000, 100) == pytest.approx(0.2)
    assert gain(900, 100, 1000, 100) == pytest.approx(0.1)
    assert gain(0, 0, 0, 0) == 1.0
    assert gain(1, 3, 2, 4) == 0.5
    assert gain(1, 1, 1, 1) == 0.0


def test_a_corrected_choice_takes_the_place_of_the_candidate_on_the_curve(tmp_path: Path) -> None:
    task = task_for(Budget(perplexity_rise=LIMIT), by_units(0.004, nothing=-0.0001))
    curve = search(task, tmp_path).curve
    assert [(point.removed_share, point.correction) for point in curve if point.within_budget] == [
        (SHARES[3], "inputs"),
        (SHARES[6], "inputs"),
        (SHARES[9], "inputs"),
        (SHARES[12], "nothing"),
    ]


def test_a_budget_of_nothing_allows_nothing(tmp_path: Path) -> None:
    answer = refusal(task_for(Budget(perplexity_rise=0.0), by_units(0.004)), tmp_path)
    assert answer.detail.startswith(
        "no model meets the budget of a rise of perplexity of at most 0.00%: the mildest of 4 "
    )
    task = task_for(Budget(perplexity_rise=0.0), by_units(0.0))
    assert search(task, tmp_path).pruned.share == SHARES[15]


def test_arrays_of_judged_candidates_are_let_go(tmp_path: Path) -> None:
    """Those of all candidates together would take gigabytes."""
    task = task_for(Budget(size_ratio=0.5), by_units(0.004))
    found = search(task, tmp_path)
    assert len(task.judged) == len(set(task.judged))
    assert found.pruned.arrays["in"].shape == (9, toy.INPUTS)
    assert axes.parameters(found.pruned.declaration) == 145


def test_candidates_arrive_as_points_when_they_are_judged(tmp_path: Path) -> None:
    task, stages = task_for(Budget(perplexity_rise=LIMIT), by_units(0.004)), toy.Stages()
    found = find_within_budget(PLAN, task, task.recipe, tmp_path, stages)
    assert len(stages.points) == len(stages.told)
    by_share = {point.removed_share: point for point in stages.points}
    assert by_share.keys() == {point.removed_share for point in found.curve}
    for point in found.curve:
        if point.correction == "inputs":
            assert by_share[point.removed_share].loss == point.loss

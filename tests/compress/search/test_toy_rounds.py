"""Rounds of learning on a kind whose losses are known: how bold each is, and what is kept."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from isslim.compress.errors import BudgetNotMet
from isslim.compress.progress import Lines
from isslim.compress.search.round_state import RoundState, read_state
from isslim.compress.search.rounds import iterate_rounds, run_rounds
from isslim.types.recipe import Budget, Recipe
from tests.compress.search import toy
from tests.compress.search.toy import MARK, Rule, Stages, Toy, ToyTask, ToyTrainer, by_units

LIMIT = 0.05
ORIGINAL = toy.drawn()
Told = list[tuple[float, str]]


def recipe(learner: str = "calibrated", start: str = "uploaded", **budget: float) -> Recipe:
    return Recipe.model_validate(
        {
            "mode": "learn",
            "learner": learner,
            "learn_epochs": 6.0,
            "start": start,
            "budget": Budget(**(budget or {"perplexity_rise": LIMIT})),
        }
    )


def task_for(asked: Recipe, rule: Rule, **more: object) -> ToyTask:
    return ToyTask(ORIGINAL, asked, rule, **more)  # type: ignore[arg-type]


def rounds(
    task: ToyTask,
    trainer: ToyTrainer,
    work: Path,
    told: Told | None = None,
    allowance: float = 1.0,
) -> RoundState[Toy]:
    lines = [] if told is None else told
    return run_rounds(
        task, trainer, work, Lines(lambda done, message: lines.append((done, message))), allowance
    )


def test_a_round_that_breaks_the_budget_is_tried_again_half_as_bold(tmp_path: Path) -> None:
    # 0.8 % a unit. The slack of quality above 5 % is 0.1 (boldness - 0.1): 14 % lets 15 units go
    # (all that the search takes), 9 % 11, 6.5 % 8, 5.25 % 6, which is within.
    task, trainer, told = task_for(recipe(), by_units(0.008)), ToyTrainer(), Told()
    found = rounds(task, trainer, tmp_path, told)
    assert [point.sizes["units"] for point in found.curve] == [5, 9, 12, 14]
    assert [point.within_budget for point in found.curve] == [False, False, False, True]
    assert [done for done, message in told if message.startswith("round")] == pytest.approx(
        [k / 6 for k in (0, 1, 1, 2, 2, 3, 3, 4, 4, 5)]
    )
    lines = [message for _, message in told if message.startswith("round")]
    assert lines == [
        "round 1: removal step 1",
        "round 1: perplexity 112.00 (+12.00%), rolled back",
        "round 2: removal step 0.5",
        "round 2: perplexity 108.80 (+8.80%), rolled back",
        "round 3: removal step 0.25",
        "round 3: perplexity 106.40 (+6.40%), rolled back",
        "round 4: removal step 0.125",
        "round 4: perplexity 104.80 (+4.80%), kept",
        "round 5: removal step 0.125",
        "round 6: removal step 0.1",
    ]
    # Nothing can be taken away in the fifth; half as bold would be below the least.
    assert (found.round, found.removal_step) == (6, 0.0)
    assert found.network.units == 14
    assert [epoch.round for epoch in found.epochs] == [1, 2, 3, 4]
    assert trainer.distilled == [
        (units, 1.0, round_, f"round-{round_ + 1}-distilled.checkpoint")
        for round_, units in enumerate((5, 9, 12, 14))
    ]
    assert trainer.learnt == []
    np.testing.assert_array_equal(
        ORIGINAL.given["in"][found.kept["units"]], found.network.given["in"]
    )
    for point, units in zip(found.curve, (5, 9, 12, 14), strict=True):
        parameters, work = toy.parameters(units) / toy.parameters(20), units / 20
        assert point.removed_share == pytest.approx(1 - (parameters + work) / 2)
        assert (point.parameters, point.mult_adds) == (toy.parameters(units), 10 * units)
        assert point.loss == pytest.approx(0.008 * (20 - units))
        assert point.value == pytest.approx(100 + 0.8 * (20 - units))
        assert point.estimate is not None
    within = [done for done, message in told if message == "distilling"]
    assert within == pytest.approx([(k + 0.5) / 6 for k in range(4)])


def test_a_kept_round_is_followed_by_one_from_its_network(tmp_path: Path) -> None:
    # Training wins back 4 % at once: every round may go on from where the last one is.
    def bonus(network: Toy) -> float:
        return 0.04 * round(float(network.given["bias"].mean()) / MARK)

    task = task_for(recipe(), by_units(0.011), bonus=bonus)
    trainer = ToyTrainer()
    found = rounds(task, trainer, tmp_path)
    sizes = [point.sizes["units"] for point in found.curve]
    assert sizes == sorted(sizes, reverse=True) or False in [
        point.within_budget for point in found.curve
    ]
    kept = [point for point in found.curve if point.within_budget]
    assert found.network.units == kept[-1].sizes["units"]
    assert len(kept) >= 2
    # Indices are those of the original over all rounds.
    np.testing.assert_array_equal(
        ORIGINAL.given["in"][found.kept["units"]], found.network.given["in"]
    )
    starts = [before.units for before, _ in task.verified]
    assert starts[0] == 20
    assert set(starts[1:]) <= {20, *(point.sizes["units"] for point in kept)}
    assert starts[-1] < 20


def test_training_that_harms_is_not_taken(tmp_path: Path) -> None:
    def malus(network: Toy) -> float:
        return -1.0 if network.given["bias"].mean() > MARK / 2 else 0.0

    found = rounds(task_for(recipe(), by_units(0.008), bonus=malus), ToyTrainer(), tmp_path)
    assert found.curve[0].loss == pytest.approx(0.12)
    assert float(found.network.given["bias"].mean()) < MARK / 2


def test_training_that_diverges_is_a_round_that_is_rolled_back(tmp_path: Path) -> None:
    task, told = task_for(recipe(), by_units(0.008)), Told()
    trainer = ToyTrainer(diverges=lambda round_: round_ == 0)
    found = rounds(task, trainer, tmp_path, told)
    assert (0.0, "round 1 diverges and is rolled back: too fast") in told
    assert [message for _, message in told if "removal step" in message][:2] == [
        "round 1: removal step 1",
        "round 2: removal step 0.5",
    ]
    assert found.curve[0].sizes == {"units": 9}


@pytest.mark.parametrize("learner", ["proximal", "l0"])
def test_a_learner_takes_a_share_before_the_cut(learner: str, tmp_path: Path) -> None:
    task, trainer = task_for(recipe(learner), by_units(0.005)), ToyTrainer()
    found = rounds(task, trainer, tmp_path)
    # 0.3 of 20 are 6: 3 % lost. The cut then goes as far as 5 %: 4 more.
    assert trainer.learnt[0] == (20, 0.3, pytest.approx(0.6), 0, "round-1-learnt.checkpoint")
    assert trainer.distilled[0] == (10, pytest.approx(0.4), 0, "round-1-distilled.checkpoint")
    assert found.curve[0].sizes == {"units": 10}
    assert [each.training_value for each in found.epochs[:2]] == [2.0, 1.0]
    assert found.network.units == 10
    np.testing.assert_array_equal(
        ORIGINAL.given["in"][found.kept["units"]], found.network.given["in"]
    )
    # From there 0.3 of 10 are 6.5 % in all, which is refused, 0.15 and 0.075 too; 0.0375 take none.
    shares = [share for _, share, *_ in trainer.learnt]
    assert shares == pytest.approx([0.3, 0.3, 0.15, 0.075, 0.0375, 0.0375])


def test_a_learner_that_goes_too_far_is_not_cut_further(tmp_path: Path) -> None:
    # 6 units lose 6 % by themselves: no cut keeps to that, and the distilled network is judged.
    task, trainer = task_for(recipe("proximal"), by_units(0.01)), ToyTrainer()
    found = rounds(task, trainer, tmp_path)
    assert trainer.distilled[0][0] == 14
    assert found.curve[0].within_budget is False
    assert found.curve[1].sizes == {"units": 15}  # 0.15 of 20 are 3, and the cut takes two more
    assert found.curve[1].within_budget is True


def test_a_network_beyond_the_budget_is_cut_for_nothing_where_few_judge_too(tmp_path: Path) -> None:
    # What the learner left loses 6 %, surely less than 7 %, and the rest of a cut is free.
    task = task_for(
        recipe("proximal"), lambda units, _: 0.06 if units < 20 else 0.0, width=0.01, count=300
    )
    trainer = ToyTrainer()
    with pytest.raises(BudgetNotMet):
        rounds(task, trainer, tmp_path)
    assert trainer.learnt[0][:2] == (20, 0.3)
    assert trainer.distilled[0][0] < 14


@pytest.mark.parametrize("lost", [math.inf, math.nan])
def test_a_round_of_no_finite_loss_is_no_point_and_can_be_resumed(
    lost: float, tmp_path: Path
) -> None:
    task = task_for(
        recipe("proximal"), by_units(0.0), bonus=lambda network: -lost if network.units < 19 else 0
    )
    found = rounds(task, ToyTrainer(), tmp_path)
    assert [point.loss for point in found.curve] == [0.0]
    again = ToyTrainer()
    assert rounds(task, again, tmp_path).curve == found.curve
    assert again.learnt == []


def test_a_training_that_computes_nonsense_is_not_taken(tmp_path: Path) -> None:
    task = task_for(
        recipe("group_lasso"), by_units(0.001),
        bonus=lambda network: math.nan if toy.is_trained(network) else 0.0,
    )  # fmt: skip
    found = rounds(task, ToyTrainer(), tmp_path)
    assert not toy.is_trained(found.network)


@pytest.mark.parametrize(
    "asked",
    [
        recipe("group_lasso"),
        recipe("proximal", "scratch"),
        recipe("proximal", size_ratio=0.5),
    ],
    ids=["group lasso", "scratch", "size"],
)
def test_one_round_of_all_epochs_where_rounds_make_no_sense(asked: Recipe, tmp_path: Path) -> None:
    task, trainer = task_for(asked, by_units(0.005)), ToyTrainer()
    found = rounds(task, trainer, tmp_path)
    assert found.round == 1
    ((units, share, epochs, round_, _),) = trainer.learnt
    assert (units, share, epochs, round_) == (20, 0.3, pytest.approx(3.6), 0)
    assert trainer.distilled[0][1] == pytest.approx(2.4)
    assert len(found.curve) == 1
    origin = toy.drawn(seed=9) if asked.start == "scratch" else ORIGINAL
    np.testing.assert_array_equal(
        origin.given["in"][found.kept["units"]], found.network.given["in"]
    )


def test_a_size_budget_is_of_the_original(tmp_path: Path) -> None:
    found = rounds(
        task_for(recipe("proximal", size_ratio=0.5), by_units(0.005)), ToyTrainer(), tmp_path
    )
    assert found.network.units == 9  # of 14: 145 / 310 of the original's
    assert found.curve[0].within_budget is True
    # A learner that went so far already is not cut.
    small = ToyTask(ORIGINAL, recipe("proximal", size_ratio=0.8), by_units(0.005))
    assert rounds(small, ToyTrainer(), _folder(tmp_path, "small")).network.units == 14
    assert small.verified == []


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def test_a_size_that_is_reached_exactly_is_not_cut_further(tmp_path: Path) -> None:
    share = toy.parameters(14) / toy.parameters(20)
    task = task_for(recipe("proximal", size_ratio=share), by_units(0.005))
    found = rounds(task, ToyTrainer(), tmp_path)
    assert found.network.units == 14
    assert task.verified == []
    assert found.curve[0].within_budget is True


def test_a_size_budget_that_is_missed_is_refused(tmp_path: Path) -> None:
    task = task_for(recipe("calibrated", size_ratio=0.1), by_units(0.005))
    with pytest.raises(BudgetNotMet) as refused:
        rounds(task, ToyTrainer(), tmp_path)
    assert refused.value.detail == (
        "learning found no smaller model within the budget {'size_ratio': 0.1} in 1 round of 6 "
        "epochs; none of them left a smaller one whose loss is known: allow more, or train longer"
    )


def test_a_speed_budget_is_kept_by_what_was_cut_for_it(tmp_path: Path) -> None:
    task = task_for(recipe("calibrated", speedup=2.0), by_units(0.005))
    found = rounds(task, ToyTrainer(), tmp_path)
    assert found.network.units == 9
    assert found.curve[0].within_budget is True


def test_quality_that_no_round_keeps_is_refused_with_the_curve(tmp_path: Path) -> None:
    task = task_for(recipe("proximal"), by_units(0.2))
    with pytest.raises(BudgetNotMet) as refused:
        rounds(task, ToyTrainer(), tmp_path)
    assert refused.value.detail == (
        "learning found no smaller model within the budget {'perplexity_rise': 0.05} in 5 rounds "
        "of 1 epochs; the closest is one at a rise of perplexity of 20.00%: allow more, or train "
        "longer"
    )
    assert [point.sizes["units"] for point in refused.value.curve] == [14, 17, 18, 19, 19]


def test_allowance_is_a_share_of_the_budget(tmp_path: Path) -> None:
    # The learner takes 6 units, which lose 4.95 % of 5 %: all that there is, or too much.
    task = task_for(recipe("group_lasso"), by_units(0.00825))
    whole = rounds(task, ToyTrainer(), tmp_path, allowance=1.0)
    assert (whole.network.units, whole.curve[0].within_budget) == (14, True)
    with pytest.raises(BudgetNotMet):
        rounds(task, ToyTrainer(), _folder(tmp_path, "strict"), allowance=0.97)


@pytest.mark.parametrize("learner", ["calibrated", "group_lasso"])
def test_a_cut_keeps_to_the_allowed_share_of_the_budget(learner: str, tmp_path: Path) -> None:
    # 0.5 % a unit: within 5 % go 10 units, within 0.97 of it 9, within 0.85 8.
    for allowance, units in ((1.0, 10), (0.97, 11), (0.85, 12)):
        task = task_for(recipe(learner), by_units(0.005))
        work = _folder(tmp_path, f"{allowance}")
        assert rounds(task, ToyTrainer(), work, allowance=allowance).network.units == units


def test_upper_end_counts_where_few_judge(tmp_path: Path) -> None:
    with pytest.raises(BudgetNotMet):
        rounds(
            task_for(recipe("group_lasso"), by_units(0.005), width=0.03, count=300),
            ToyTrainer(),
            tmp_path,
        )


class Killed(Exception):
    """Stands for the kill."""


def test_a_killed_job_goes_on_with_its_next_round(tmp_path: Path) -> None:
    whole = rounds(task_for(recipe(), by_units(0.008)), ToyTrainer(), _folder(tmp_path, "whole"))
    work = _folder(tmp_path, "killed")

    def kill(done: float, message: str) -> None:
        if message.startswith("round 4: removal step"):
            raise Killed

    task, trainer = task_for(recipe(), by_units(0.008)), ToyTrainer()
    with pytest.raises(Killed):
        run_rounds(task, trainer, work, Lines(kill))
    state = read_state(ORIGINAL, work / "learning.state")
    assert state is not None
    assert (state.round, state.removal_step, len(state.curve)) == (3, 0.125, 3)
    again = ToyTrainer()
    found = rounds(task, again, work)
    assert [round_ for _, _, round_, _ in again.distilled] == [3]
    assert found.curve == whole.curve
    assert found.epochs == whole.epochs
    for name, array in whole.network.given.items():
        np.testing.assert_array_equal(found.network.given[name], array)
    # A round in which nothing was taken away is remembered too.
    last = read_state(ORIGINAL, work / "learning.state")
    assert last is not None
    assert (last.round, last.removal_step) == (6, 0.0)


def test_a_candidate_is_proven_against_the_original(tmp_path: Path) -> None:
    task, stages = ToyTask(ORIGINAL, recipe(), by_units(0.008)), Stages()
    generator = iterate_rounds(task, ToyTrainer(), tmp_path, stages)
    found = next(generator)
    assert found.network.units == 14
    assert found.description == (
        "6 epochs of learning with 'calibrated' in 6 rounds, distilling from the original"
    )
    before, pruned = task.verified[-1]
    assert before is ORIGINAL
    # At full size, what the rounds removed is zero.
    kept = found.kept["units"]
    assert pruned.reference["in"].shape == (20, toy.INPUTS)
    np.testing.assert_array_equal(pruned.reference["in"][kept], found.network.given["in"])
    gone = np.setdiff1d(np.arange(20), kept)
    assert not pruned.reference["in"][gone].any()
    assert not pruned.reference["out"][:, gone].any()
    np.testing.assert_array_equal(pruned.keep["units"], kept)
    assert pruned.declaration.axes == {"units": 14}
    assert [check.name for check in found.checks] == ["cut"]
    assert [point.sizes["units"] for point in found.curve] == [5, 9, 13, 14]
    assert [each.round for each in found.epochs] == [1, 2, 3, 4]
    assert (tmp_path / "learn" / "0.97" / "learning.state").exists()
    assert stages.told[0] == (0.0, "round 1: removal step 1")
    # The published figure broke the budget: again with 0.85 of it, 4.25 %.
    assert next(generator).network.units == 15
    assert stages.entered == [("learn", "learning again, more careful")]
    assert (tmp_path / "learn" / "0.85" / "learning.state").exists()


def test_a_job_that_was_killed_while_learning_goes_on_in_its_folder(tmp_path: Path) -> None:
    task = ToyTask(ORIGINAL, recipe("calibrated", size_ratio=0.5), by_units(0.008))
    (first,) = iterate_rounds(task, ToyTrainer(), tmp_path, Stages())
    again = ToyTrainer()
    (found,) = iterate_rounds(task, again, tmp_path, Stages())
    assert again.distilled == []
    assert found.curve == first.curve


def test_learning_again_keeps_to_less_of_the_budget(tmp_path: Path) -> None:
    # 15 units lose 4.2 %, within 0.85 of 5 % too; all 16 that may go 4.48 %, within 0.97 alone.
    task, stages = ToyTask(ORIGINAL, recipe(), by_units(0.0028)), Stages()
    found = list(iterate_rounds(task, ToyTrainer(), tmp_path, stages))
    assert [each.network.units for each in found] == [4, 5]
    assert len(stages.entered) == 2


def test_a_size_is_learnt_once(tmp_path: Path) -> None:
    task = ToyTask(ORIGINAL, recipe("calibrated", size_ratio=0.5), by_units(0.008))
    assert len(list(iterate_rounds(task, ToyTrainer(), tmp_path, Stages()))) == 1


def test_rounds_and_their_epochs_arrive_as_they_end(tmp_path: Path) -> None:
    stages = Stages()
    found = run_rounds(task_for(recipe(), by_units(0.008)), ToyTrainer(), tmp_path, stages)
    assert stages.points == found.curve
    assert stages.epochs == found.epochs

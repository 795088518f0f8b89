"""How deep to cut what is distilled afterwards: by trials, and by what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from isslim.compress.search.tuning import (
    FIRST,
    LATER,
    MEASURED,
    SLOPE,
    SPARED,
    STEP,
    TRIALS,
    TunedAim,
)

AIM = 1 - SPARED


def chosen(after_trial: Callable[[float], float], budget: float = 1.0) -> tuple[list[float], bool]:
    """The losses that are tried, and whether the last one is taken."""
    aim, tried = TunedAim(budget), list[float]()
    while aim.loss is not None:
        tried.append(aim.loss)
        if aim.record_trial(aim.loss, after_trial(aim.loss)):
            return tried, True
    return tried, False


def test_first_candidate_loses_more_than_the_budget() -> None:
    assert TunedAim(1.0).loss == 1 + FIRST
    assert TunedAim(0.0).loss == FIRST


def after_all_minutes(before: float, after: float) -> float:
    """What is expected of a trial, of which each doubling of the minutes wins a share again."""
    return after - 2 * LATER * (before - after)


@pytest.mark.parametrize("left", [0.64, 0.7, 0.9])
def test_cut_is_as_deep_as_distillation_makes_up_for(left: float) -> None:
    tried, taken = chosen(lambda loss: left * loss)
    assert taken
    assert len(tried) <= TRIALS
    assert after_all_minutes(tried[-1], left * tried[-1]) == pytest.approx(AIM)


@pytest.mark.parametrize("left", [0.3, 0.5])
def test_where_a_trial_wins_most_back_the_next_is_bolder_by_a_careful_slope(left: float) -> None:
    tried, taken = chosen(lambda loss: left * loss)
    assert taken
    first = 1 + FIRST
    won = after_all_minutes(first, left * first)
    assert tried == [first, pytest.approx(first + (AIM - won) / SLOPE)]


def test_more_minutes_are_expected_to_win_more() -> None:
    short, long = TunedAim(1.0, doublings=1.0), TunedAim(1.0, doublings=3.0)
    for aim in (short, long):
        assert not aim.record_trial(4.0, 3.0)
    assert short.loss is not None
    assert long.loss is not None
    assert short.loss < long.loss


def test_second_candidate_is_that_at_which_the_tuned_one_reaches_its_aim() -> None:
    aim = TunedAim(1.0)
    assert not aim.record_trial(1.8, 1.2)
    expected = after_all_minutes(1.8, 1.2)
    assert aim.loss == pytest.approx(1.8 * AIM / expected)
    assert aim.description.startswith("searching a smaller model")
    milder = TunedAim(1.0)
    assert not milder.record_trial(1.8, 1.6)
    assert milder.loss == pytest.approx(1.8 * AIM / after_all_minutes(1.8, 1.6))
    assert milder.description == "searching a model that loses less"


def test_between_a_candidate_on_either_side_it_goes_along_the_line() -> None:
    aim = TunedAim(1.0)
    aim.record_measurement(1.8, 0.5, is_kept=True)
    aim.record_measurement(4.0, 2.0, is_kept=False)
    assert aim.loss == pytest.approx(1.8 + (AIM - 0.5) * (4.0 - 1.8) / (2.0 - 0.5))


def test_where_distillation_does_not_help_the_closed_form_remains() -> None:
    assert chosen(lambda loss: loss) == ([1 + FIRST], False)
    assert chosen(lambda loss: 0.96 * loss) == ([1 + FIRST], False)


def test_student_that_is_better_than_its_teacher_is_cut_deeper_in_steps() -> None:
    aim = TunedAim(1.0)
    assert not aim.record_trial(1.8, 0.8)
    assert aim.loss == pytest.approx(1.8 + (AIM - after_all_minutes(1.8, 0.8)) / SLOPE)
    bold = TunedAim(1.0)
    bold.record_trial(1.8, -2.0)
    assert bold.loss == pytest.approx(STEP * 1.8)


def test_of_all_trials_the_deepest_that_is_expected_to_fit_is_taken() -> None:
    aim = TunedAim(1.0)
    assert not aim.record_trial(1.8, 1.0)
    assert not aim.record_trial(4.0, 3.5)  # the second is the last
    assert aim.loss == 1.8
    assert aim.record_trial(1.8, 1.0)


def test_where_no_trial_is_expected_to_fit_the_closed_form_remains() -> None:
    aim = TunedAim(1.0)
    for before, after in ((1.8, 1.7), (1.5, 1.45)):
        assert not aim.record_trial(before, after)
    assert aim.loss is None


def test_same_candidate_again_is_taken_where_it_fits() -> None:
    deepest = TunedAim(1.0)
    deepest.record_trial(1.8, 0.5)
    assert deepest.record_trial(1.8, 0.5)
    mildest = TunedAim(1.0)
    mildest.record_trial(1.8, 1.6)
    assert not mildest.record_trial(1.8, 1.6)
    assert mildest.loss is None


def test_without_minutes_for_another_trial_the_candidate_is_taken_or_none() -> None:
    assert TunedAim(1.0).record_trial(1.8, 0.5, last=True)
    aim = TunedAim(1.0)
    assert not aim.record_trial(1.8, 1.6, last=True)
    assert aim.loss is None


def test_measurement_that_leaves_much_is_followed_by_a_deeper_candidate() -> None:
    aim = TunedAim(1.0)
    assert aim.record_trial(1.8, 1.3)
    aim.record_measurement(1.8, 0.6, is_kept=True)
    assert aim.loss == pytest.approx(1.8 * AIM / 0.6)
    enough = TunedAim(1.0)
    enough.record_measurement(1.8, 0.8, is_kept=True)
    assert enough.loss is None


def test_measurement_beyond_the_budget_is_followed_by_a_milder_candidate() -> None:
    aim = TunedAim(1.0)
    aim.record_measurement(1.8, 1.15, is_kept=False)
    assert aim.loss == pytest.approx(1.8 * AIM / 1.15)
    # Refused for another reason than its loss, such as its int8 form.
    other = TunedAim(1.0)
    other.record_measurement(1.8, 0.9, is_kept=False)
    assert other.loss == pytest.approx(1.8 * AIM)


def test_bolder_candidate_is_judged_by_what_minutes_won_on_the_one_before() -> None:
    measured = TunedAim(1.0)
    assert measured.record_trial(1.8, 1.3)
    measured.record_measurement(1.8, 0.6, is_kept=True)  # 1.4 times what the trial won
    assert measured.record_trial(2.76, 1.98)  # so 0.89 are expected
    assert not TunedAim(1.0).record_trial(2.76, 1.98)


def test_bolder_candidate_that_is_too_bold_is_followed_by_one_between() -> None:
    aim = TunedAim(1.0)
    assert aim.record_trial(1.8, 1.3)
    aim.record_measurement(1.8, 0.6, is_kept=True)
    assert not aim.record_trial(2.8, 2.4, last=True)
    expected = 2.4 - 1.4 * (2.8 - 2.4)
    assert aim.loss == pytest.approx(1.8 + (AIM - 0.6) / (expected - 0.6))
    assert aim.is_settled  # it is tuned without a trial


def test_measurements_are_counted() -> None:
    aim, asked = TunedAim(1.0), list[float | None]()
    for number in range(MEASURED):
        aim.record_measurement(1.8 / 2**number, 1.2, is_kept=False)
        asked.append(aim.loss)
    assert [each is None for each in asked] == [False] * (MEASURED - 1) + [True]


def test_nothing_may_be_lost() -> None:
    tried, taken = chosen(lambda loss: 0.5 * loss - 0.4, budget=0.0)
    assert taken
    assert after_all_minutes(tried[-1], 0.5 * tried[-1] - 0.4) <= 0
    assert not chosen(lambda loss: 0.9 * loss + 0.1, budget=0.0)[1]


def test_cut_that_loses_nothing_by_itself_leads_on() -> None:
    aim = TunedAim(1.0)
    assert not aim.record_trial(-0.1, -0.4)
    assert aim.loss is not None
    assert aim.loss > 0


@pytest.mark.parametrize("budget", [0.0, 1.0])
@pytest.mark.parametrize("lost", [math.nan, math.inf])
def test_loss_that_is_no_number_is_followed_by_a_milder_candidate(
    lost: float, budget: float
) -> None:
    tried, measured = TunedAim(budget), TunedAim(budget)
    for aim in (tried, measured):
        assert aim.loss is not None
        assert not aim.record_trial(aim.loss, 0.5)
    bold = [tried.loss, measured.loss]
    assert tried.loss is not None
    assert measured.loss is not None
    assert not tried.record_trial(tried.loss, lost)
    measured.record_measurement(measured.loss, lost, is_kept=False)
    for aim, before in zip((tried, measured), bold, strict=True):
        assert before is not None
        assert aim.loss is not None
        assert 0 < aim.loss < before

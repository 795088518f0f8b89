"""How deep to cut what is distilled afterwards: by what was measured of the candidates before."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from isslim.compress.search.tuning import FIRST, MEASURED, SLOPE, SPARED, STEP, TunedAim, first_of

AIM = 1 - SPARED


def measured(
    tuned: Callable[[float], float], budget: float = 1.0
) -> tuple[list[float], list[float]]:
    """The losses before and after tuning of all candidates, which are kept within the budget."""
    aim, before, after = TunedAim(budget), list[float](), list[float]()
    while aim.loss is not None:
        before.append(aim.loss)
        after.append(tuned(aim.loss))
        aim.record_measurement(before[-1], after[-1], is_kept=after[-1] <= budget)
    return before, after


def test_first_candidate_loses_far_more_than_the_budget() -> None:
    assert TunedAim(1.0).loss == 1 + FIRST
    assert TunedAim(0.0).loss == FIRST
    # A change of outputs is a root: its square is as many times the budget's.
    assert first_of("accuracy") == FIRST
    assert TunedAim(1.0, first_of("output_change")).loss == pytest.approx(math.sqrt(1 + FIRST))


def test_candidates_share_the_minutes() -> None:
    aim, left, shares = TunedAim(1.0), 1.0, list[float]()
    for number in range(MEASURED):
        shares.append(aim.share * left)
        left -= shares[-1]
        aim.record_measurement(2.0 + number, 0.1, is_kept=True)
    assert shares == pytest.approx([1 / MEASURED] * MEASURED)
    assert aim.loss is None


@pytest.mark.parametrize("left", [0.1, 0.2, 0.3, 0.5, 0.64, 0.8])
def test_cut_is_as_deep_as_distillation_makes_up_for(left: float) -> None:
    _, after = measured(lambda loss: left * loss)
    assert len(after) <= MEASURED
    assert max(found for found in after if found <= 1) >= 0.7


def test_second_candidate_is_that_at_which_the_tuned_one_reaches_its_aim() -> None:
    aim = TunedAim(1.0)
    aim.record_measurement(1.8, 0.72, is_kept=True)
    assert aim.loss == pytest.approx(1.8 * AIM / 0.72)
    assert aim.description.startswith("searching a smaller model")
    milder = TunedAim(1.0)
    milder.record_measurement(5.0, 4.0, is_kept=False)
    assert milder.loss == pytest.approx(5.0 * max(1 / STEP, AIM / 4.0))
    assert milder.description == "searching a model that loses less"


def test_between_a_candidate_on_either_side_it_goes_along_the_line() -> None:
    aim = TunedAim(1.0)
    aim.record_measurement(1.8, 0.5, is_kept=True)
    aim.record_measurement(4.0, 2.0, is_kept=False)
    assert aim.loss == pytest.approx(1.8 + (AIM - 0.5) * (4.0 - 1.8) / (2.0 - 0.5))


def test_where_distillation_does_not_help_the_closed_form_remains() -> None:
    for left in (1.0, 0.96):
        before, _ = measured(lambda loss, left=left: left * loss)  # type: ignore[misc]
        assert before == [1 + FIRST]


def test_student_that_is_better_than_its_teacher_is_cut_deeper_in_steps() -> None:
    aim = TunedAim(1.0)
    aim.record_measurement(1.8, -0.1, is_kept=True)
    assert aim.loss == pytest.approx(1.8 + (AIM + 0.1) / SLOPE)
    bold = TunedAim(1.0)
    bold.record_measurement(1.8, -2.0, is_kept=True)
    assert bold.loss == pytest.approx(STEP * 1.8)


def test_measurement_that_leaves_little_is_the_last() -> None:
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


def test_measurements_are_counted() -> None:
    aim, asked = TunedAim(1.0), list[float | None]()
    for number in range(MEASURED):
        aim.record_measurement(1.8 / 2**number, 1.2, is_kept=False)
        asked.append(aim.loss)
    assert [each is None for each in asked] == [False] * (MEASURED - 1) + [True]


def test_nothing_may_be_lost() -> None:
    _, after = measured(lambda loss: 0.5 * loss - 0.4, budget=0.0)
    assert -0.3 <= max(found for found in after if found <= 0) <= 0
    _, never = measured(lambda loss: 0.5 * loss + 0.1, budget=0.0)
    assert min(never) > 0


def test_refused_candidate_that_loses_nothing_is_followed_by_a_milder_one() -> None:
    # Where nothing may be lost, one is refused whose int8 form alone, or whose interval, is above.
    aim = TunedAim(0.0)
    aim.record_measurement(4.0, -0.1, is_kept=False)
    assert aim.loss == pytest.approx(4.0 - SPARED / SLOPE)
    assert aim.description == "searching a model that loses less"


def test_cut_that_loses_nothing_by_itself_leads_on() -> None:
    aim = TunedAim(1.0)
    aim.record_measurement(-0.1, -0.4, is_kept=True)
    assert aim.loss is not None
    assert aim.loss > 0


@pytest.mark.parametrize("budget", [0.0, 1.0])
@pytest.mark.parametrize("lost", [math.nan, math.inf])
def test_loss_that_is_no_number_is_followed_by_a_milder_candidate(
    lost: float, budget: float
) -> None:
    first, second = TunedAim(budget), TunedAim(budget)
    second.record_measurement(2.0, budget - 0.5, is_kept=True)
    for aim in (first, second):
        before = aim.loss
        assert before is not None
        aim.record_measurement(before, lost, is_kept=False)
        assert aim.loss is not None
        assert 0 < aim.loss < before

"""What the next search of a closed form may spend: by what was estimated, and what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.contract import Published, Quality
from isslim.compress.search.aims import AIM, MIN_SPENT, MISSED_STEP, ROUNDS, STEP, QualityAim
from isslim.types.manifest import Estimate
from isslim.types.recipe import Budget

LIMIT = 0.05


def aim(limit: float = LIMIT) -> QualityAim:
    return QualityAim(Budget(perplexity_rise=limit))


def answered(
    spending: QualityAim,
    estimated: float,
    found: float,
    *,
    kept: bool | None = None,
    missed: bool = False,
) -> float | None:
    """The next allowance, where a candidate of an estimated loss measured another; in budgets."""
    limit = spending.budget.quality or 0.0
    within = found <= 1 if kept is None else kept
    spending.record_measurement(
        Quality(0.0, estimated * limit), Published(within, missed, found * limit)
    )
    return spending.allowance


def test_aim_before_anything_is_measured() -> None:
    assert aim().allowance == 0.97
    assert (AIM, MIN_SPENT, STEP, MISSED_STEP, ROUNDS) == (0.97, 0.8, 3.0, 0.85, 4)


@pytest.mark.parametrize(
    ("estimated", "found", "following"),
    [
        (0.9, 0.8, None),  # enough is spent
        (0.9, 0.79, 0.9 * AIM / 0.79),
        (0.9, 0.45, 0.9 * AIM / 0.45),
        (0.9, 1.0, None),  # as much as the budget allows
        (0.9, 1.2, 0.9 * AIM / 1.2),
        (0.5, 0.0, 0.5 + AIM),
        (0.1, -0.5, 0.1 + AIM + 0.5),
        (0.0, 0.5, 0.0 + AIM - 0.5),
        (0.1, -3.0, STEP * AIM),
    ],
)
def test_next_estimate_is_that_at_which_the_published_loss_reaches_its_aim(
    estimated: float, found: float, following: float | None
) -> None:
    spending = aim()
    allowed = answered(spending, estimated, found)
    assert allowed == (None if following is None else pytest.approx(following))
    if found > 1:
        assert spending.description == "searching a model that loses less"
    elif following is not None:
        share = f"{100 * max(found, 0):.0f}%"
        assert spending.description == f"searching a smaller model: {share} of the budget is spent"
    else:
        assert spending.description == "searching the smallest model within the budget"


def test_after_a_kept_and_a_refused_one_the_search_ends() -> None:
    spending = aim()
    assert answered(spending, 0.97, 0.6) == pytest.approx(0.97 * AIM / 0.6)
    # Refused: between what was kept and what was refused, where the next step leads no lower.
    assert answered(spending, 1.5, 1.6) == pytest.approx((0.97 + 1.5) / 2)
    assert answered(spending, 1.2, 0.5) is None


def test_a_refused_step_stays_above_what_was_kept() -> None:
    spending = aim()
    answered(spending, 0.5, 0.4)
    assert answered(spending, 1.0, 1.3) == pytest.approx(AIM / 1.3)
    again = aim()
    answered(again, 0.9, 0.4)
    assert answered(again, 1.0, 1.3) == pytest.approx((0.9 + 1.0) / 2)
    # Exactly what was kept is no step.
    third = aim()
    answered(third, AIM / 1.25, 0.4)
    assert answered(third, 1.0, 1.25) == pytest.approx((AIM / 1.25 + 1.0) / 2)


def test_a_milder_candidate_that_is_refused_too_is_followed_by_a_milder_one() -> None:
    spending = aim()
    assert answered(spending, 0.9, 1.5) == pytest.approx(0.9 * AIM / 1.5)
    assert answered(spending, 0.58, 1.2) == pytest.approx(0.58 * AIM / 1.2)
    # A worse figure of a candidate that loses more by the estimate moves no bound up.
    assert answered(spending, 0.7, 0.5) is None


def test_only_int8_missing_the_budget_leaves_a_little_less() -> None:
    assert answered(aim(), 0.9, 1.02, kept=True, missed=True) == pytest.approx(0.9 + AIM - 1.02)
    assert answered(aim(), 0.9, 1.5, kept=True, missed=True) == pytest.approx(0.9 * MISSED_STEP)
    assert answered(aim(), 0.9, 0.98, kept=True, missed=True) == pytest.approx(0.9 * AIM)


def test_what_was_refused_is_not_come_near_to() -> None:
    assert answered(aim(), 0.9, 0.9, kept=False) == pytest.approx(AIM * 0.9)


def test_exactly_four_fifths_are_enough() -> None:
    assert answered(aim(limit=1.0), 0.9, 0.8) is None


def test_a_bolder_one_that_leads_below_what_was_kept_ends_the_search() -> None:
    spending = aim()
    answered(spending, 0.9, 0.5)
    assert answered(spending, 0.3, 0.79) is None
    assert answered(aim(), 0.0, 0.5, kept=False) is None


def test_rounds_are_counted() -> None:
    plain = aim()
    allowed = [answered(plain, 0.9 / 2**k, 1.1) for k in range(4)]
    assert [each is None for each in allowed] == [False, False, False, True]


def test_no_estimate_no_figure_and_no_budget_end_the_search() -> None:
    for quality, published, limit in (
        (None, Published(True, False, 0.01), LIMIT),
        (Quality(0.0, 0.01), Published(True, False, None), LIMIT),
        (Quality(0.0, 0.0), Published(True, False, 0.05), 0.0),
    ):
        spending = aim(limit=limit)
        spending.record_measurement(quality, published)
        assert spending.allowance is None


def test_upper_end_is_what_the_estimate_is_taken_for() -> None:
    spending = QualityAim(Budget(perplexity_rise=LIMIT, confident=True))
    high = Estimate(low=0.0, high=0.9 * LIMIT, count=5000, unit="tokens", method="block bootstrap")
    spending.record_measurement(
        Quality(0.0, 0.5 * LIMIT, high), Published(True, False, 0.5 * LIMIT)
    )
    assert spending.allowance == pytest.approx(0.9 * AIM / 0.5)


def test_a_step_that_leads_nowhere_ends_the_search() -> None:
    # Nothing was kept, and 8 bits cost more than the whole budget.
    assert answered(aim(), 0.0, 1.5, kept=False) is None


def test_the_search_ends_whatever_is_measured() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        spending, rounds = aim(), 0
        while spending.allowance is not None:
            assert np.isfinite(spending.allowance)
            assert spending.allowance > 0
            answered(
                spending,
                float(spending.allowance * generator.uniform(0.5, 1)),
                float(generator.normal(1, 1)),
                missed=bool(generator.random() < 0.3),
            )
            rounds += 1
        assert 0 < rounds <= ROUNDS

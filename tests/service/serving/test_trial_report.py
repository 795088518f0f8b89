"""What trials have shown: means, intervals, and what a rule makes of them."""

from __future__ import annotations

import math

import pytest

from isslim.service.serving.repeatable import Outcome
from isslim.service.serving.trial_report import decide, trial_of
from isslim.store.comparisons import Tally
from isslim.types.schemas.aliases import Candidate, Rule

RULE = Rule(change_below=0.1, requests=50)
TRIED = Candidate(model="2" * 16, variant="compressed", share=0.1, rule=RULE)


def tally(changes: list[float], failed: int = 0) -> Tally:
    found = Tally(failed=failed)
    for change in changes:
        against = Outcome(-1 - change, (1, 2), 2.0).against(Outcome(-1.0, (1, 3), 4.0))
        found.note(against)
    return found


def test_figures_of_a_comparison_have_the_sign_and_the_base_of_the_candidate() -> None:
    found = Outcome(-1.5, ("a", "b", "c"), 1.0).against(Outcome(-1.0, ("a", "x", "c"), 4.0))
    assert found == {
        "difference": -0.5,
        "change": 0.5,
        "same": pytest.approx(2 / 3),
        "log_time_ratio": pytest.approx(math.log(1 / 4)),
    }
    answers = Outcome(None, ((0, 3), (5, 9)), 1.0).against(Outcome(None, ((0, 3), (4, 9)), 1.0))
    assert (answers["change"], answers["same"], answers["difference"]) == (0.5, 0.5, 0.0)


@pytest.mark.parametrize(("count", "student"), [(2, 12.706), (3, 4.303), (5, 2.776), (31, 2.042)])
def test_interval_is_that_of_students_distribution(count: int, student: float) -> None:
    changes = [0.01 * each for each in range(count)]
    mean = sum(changes) / count
    spread = math.sqrt(sum((each - mean) ** 2 for each in changes) / (count - 1))
    change = trial_of("shadow", TRIED, tally(changes), is_text=True).change
    assert change is not None
    assert change.high is not None
    assert change.mean == pytest.approx(mean)
    assert change.high - mean == pytest.approx(student * spread / math.sqrt(count), rel=0.01)


def test_figures_are_unknown_before_the_first_comparison_and_sure_of_none() -> None:
    trial = trial_of("canary", TRIED, Tally(), is_text=True)
    assert (trial.change, trial.same, trial.time_ratio) == (None, None, None)
    trial = trial_of("canary", TRIED, tally([0.05]), is_text=False)
    assert trial.change is not None
    assert trial.change.mean == pytest.approx(0.05)
    assert (trial.change.low, trial.change.high) == (None, None)
    assert (trial.difference, trial.decision) == (None, "undecided")
    assert trial.time_ratio is not None
    assert trial.time_ratio.mean == pytest.approx(0.5)
    # 1 of 2 decisions was the same: yes or no would vary as much.
    same = trial_of("canary", TRIED, tally([0.05] * 100), is_text=True).same
    assert same is not None
    assert (same.low, same.high) == (pytest.approx(0.404, abs=1e-3), pytest.approx(0.596, abs=1e-3))


@pytest.mark.parametrize(
    ("changes", "failed", "decision"),
    [
        ([0.05] * 49, 0, "undecided"),
        ([0.04, 0.06] * 25, 0, "held"),
        ([0.04, 0.06] * 25, 1, "broken"),
        ([0.0, 0.19] * 25, 0, "undecided"),
        ([0.5] * 19, 0, "undecided"),
        ([0.5] * 20, 0, "broken"),
        ([], 1, "broken"),
        ([], 0, "undecided"),
    ],
)
def test_rule_is_held_or_broken_by_an_end_of_the_interval(
    changes: list[float], failed: int, decision: str
) -> None:
    found = tally(changes, failed)
    change = trial_of("canary", TRIED, found, is_text=True).change
    assert decide(RULE, found, change) == decision

"""How deep to cut a model that is distilled afterwards, so that the tuned one reaches the budget.

Distillation wins much of a cut's loss back, and how much differs from model to model. So the first
candidate is cut far beyond the budget, since after a mild cut a short trial wins nothing that could
be seen, and the trial says how much is won; the next is chosen by that. Every doubling of the
minutes wins about as much again. Once one has been published, it is known what all minutes win
beyond a trial, and where that left much of the budget a bolder one follows. Losses here are in
units of the caller's, usually multiples of the budget.

Legend: `before` is the loss of a closed form, which the search knows; `after` that after a trial.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from isslim.compress.search.aims import MIN_SPENT

FIRST = 3.0
"""What the first candidate loses more than the budget, in units."""
SPARED = 0.08
"""Of the budget, for what 8 bits cost and the estimate is off by."""
UNSPENT = 1 - MIN_SPENT
"""A tuned candidate that is expected to leave more units of the budget is followed by a deeper
one."""
LATER = 0.4
"""What a doubling of a trial's minutes wins beyond it, as a share of what the trial won, until that
has been measured. Of language models of 256 and 400 units it was 0.6 and more."""
MOST_LATER = 1.5
"""What all minutes are taken to win at most, as such a share."""
NO_HELP = 0.95
"""Share of a loss that is left by a trial where distillation does not help."""
SLOPE = 0.3
"""How much more a tuned candidate loses, at least, for a unit more that is lost by the cut."""
STEP = 4.0
"""How many times as much as the last candidate the next may lose before it is tuned, at most."""
TRIALS, MEASURED = 2, 3
"""Candidates that are tried, and measured, at most."""


@dataclass
class TunedAim:
    """What the next candidate may lose before it is tuned.

    Attributes:
        budget: in units: 1, or 0 where nothing may be lost.
        doublings: how often a trial's minutes are doubled, for a candidate that takes its share.
        description: what the next candidate is searched for.
        loss: of the next candidate, before it is tuned; None: there is none.
        is_settled: whether it is to be tuned without another trial.
    """

    budget: float
    doublings: float = 2.0
    description: str = "searching a model that loses what distillation wins back"
    loss: float | None = None
    is_settled: bool = False
    _tried: dict[float, float] = field(default_factory=dict)
    _found: dict[float, float] = field(default_factory=dict)
    _later: float = 0.0
    _trials: int = 0
    _measured: int = 0

    def __post_init__(self) -> None:
        self.loss, self._later = self.budget + FIRST, LATER * self.doublings

    @property
    def aim(self) -> float:
        """What a tuned candidate is to lose."""
        return (1 - SPARED) * self.budget

    def record_trial(self, before: float, after: float, *, last: bool = False) -> bool:
        """Whether to spend the minutes on this candidate; else `loss` says what follows.

        Args:
            before: its loss before the trial.
            after: its loss after it.
            last: whether no minutes are left for another trial.
        """
        if self.is_settled:
            return True
        after = _or_infinite(after)
        known = before in self._tried or before in self._found
        self._tried[before] = after
        expected = self._expected[before]
        self._trials += 1
        self.loss = None
        if after > NO_HELP * before and self._trials == 1:
            return False
        if self._least <= expected <= self.aim:
            return True
        if last or known or self._trials >= TRIALS:
            self._settle(expected)
            return self.loss == before
        self._ask(expected)
        return False

    def record_measurement(self, before: float, found: float, *, is_kept: bool) -> None:
        """Sets what follows a candidate that took its minutes.

        Args:
            before: its loss before it was tuned.
            found: the loss that was published, or that it had where it was not.
            is_kept: whether all of its forms keep to the budget.
        """
        tried = self._tried.get(before, before)
        self.loss, self.is_settled = None, False
        self._measured += 1
        # What is refused loses too much, whatever was measured of it.
        found = found if is_kept else max(_or_infinite(found), self.budget)
        self._found[before] = found
        if before > tried:
            self._later = min(MOST_LATER, max(0.0, (tried - found) / (before - tried)))
        if self._measured < MEASURED and (not is_kept or found < self._least):
            self._ask(found)

    @property
    def _least(self) -> float:
        """What a tuned candidate is to lose at least, or a bolder one follows."""
        return self.budget - UNSPENT

    @property
    def _expected(self) -> dict[float, float]:
        """What is left of each loss after all minutes, as measured or by a trial."""
        by_trial = {
            before: after - self._later * max(0.0, before - after)
            for before, after in self._tried.items()
        }
        return {**by_trial, **self._found}

    def _settle(self, expected: float) -> None:
        """Nothing more can be tried: the deepest that is expected to keep to the budget.

        Where that has been measured, one that is bolder and milder than the last one.
        """
        fits = [loss for loss, then in self._expected.items() if then <= self.aim]
        deepest = max(fits, default=None)
        self.is_settled, self.loss = True, deepest
        if deepest is not None and deepest in self._found:
            self._ask(expected)
            if self.loss is not None and self.loss <= deepest:
                self.loss = None

    def _ask(self, expected: float) -> None:
        """The loss at which the tuned one should be at its aim, by those on both sides of it."""
        below = [each for each in self._expected.items() if each[1] <= self.aim]
        above = [each for each in self._expected.items() if each[1] > self.aim]
        low, high = max(below, default=None), min(above, default=None)
        if low is not None and high is not None and low[0] < high[0]:
            slope = (high[1] - low[1]) / (high[0] - low[0])
            self.loss = low[0] + (self.aim - low[1]) / slope
        else:
            before, then = max(below) if expected <= self.aim else min(above)
            base = max(before, UNSPENT)
            asked = before + (self.aim - then) / max(then / base, SLOPE)
            self.loss = min(STEP * base, max(base / STEP, asked))
        self.description = (
            "searching a smaller model: distillation wins more back"
            if expected <= self.aim
            else "searching a model that loses less"
        )


def _or_infinite(loss: float) -> float:
    """What is no number is beyond every budget."""
    return math.inf if math.isnan(loss) else loss

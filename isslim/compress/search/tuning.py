"""How deep to cut a model that is distilled afterwards, so that the tuned one reaches the budget.

Distillation wins much of a cut's loss back, and how much differs from model to model. So the first
candidate is cut beyond the budget, and a short trial says which share of its loss is left; the
next is chosen by that. Losses here are in units of the caller's, usually multiples of the budget.

Legend: `before` is the loss of a closed form, which the search knows; `after` that after a trial.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST = 0.8
"""What the first candidate loses more than the budget, in units."""
SPARED = 0.08
"""Of the budget, for what 8 bits cost and the estimate is off by."""
UNSPENT = 0.2
"""A tuned candidate that is expected to leave more units of the budget is followed by a deeper
one."""
LATER = 0.8
"""What of the loss after a trial is left after all minutes, at most."""
NO_HELP = 0.95
"""Share of a loss that is left by a trial where distillation does not help."""
SLOPE = 0.3
"""How much more a tuned candidate loses, at least, for a unit more that is lost by the cut."""
STEP = 3.0
"""How many times as much as the last candidate the next may lose before it is tuned, at most."""
TRIALS, MEASURED = 3, 3
"""Candidates that are tried, and measured, at most."""


@dataclass
class TunedAim:
    """What the next candidate may lose before it is tuned.

    Attributes:
        budget: in units: 1, or 0 where nothing may be lost.
        description: what the next candidate is searched for.
        loss: of the next candidate, before it is tuned; None: there is none.
    """

    budget: float
    description: str = "searching a model that loses what distillation wins back"
    loss: float | None = None
    _expected: dict[float, float] = field(default_factory=dict)
    _trials: int = 0
    _measured: int = 0
    _settled: bool = False

    def __post_init__(self) -> None:
        self.loss = self.budget + FIRST

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
        if self._settled:
            return True
        known = before in self._expected
        expected = after * LATER if after > 0 else after
        self._expected.setdefault(before, expected)
        self._trials += 1
        self.loss = None
        if after > NO_HELP * before and self._trials == 1:
            return False
        if self.budget - UNSPENT <= expected <= self.aim:
            return True
        if last or known or self._trials >= TRIALS:
            # Nothing more can be tried: the deepest that is expected to keep to the budget.
            fits = [loss for loss, then in self._expected.items() if then <= self.aim]
            self._settled, self.loss = True, max(fits, default=None)
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
        self.loss, self._settled = None, False
        self._measured += 1
        # What is refused loses too much, whatever was measured of it.
        found = found if is_kept else max(found, self.budget)
        self._expected[before] = found
        if self._measured < MEASURED and (not is_kept or found < self.budget - UNSPENT):
            self._ask(found)

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

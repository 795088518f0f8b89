"""How deep to cut a model that is distilled afterwards, so that the tuned one reaches the budget.

Distillation wins much of a cut's loss back, and how much differs from model to model, and with the
minutes: a short trial says little of a long training, and after a mild cut it wins nothing that
could be seen. So candidates take equal shares of the minutes, the first is cut far beyond the
budget, and each next one is chosen by what was measured of those before. Losses here are in units
of the caller's, usually multiples of the budget.

Legend: `before` is the loss of a closed form, which the search knows; `found` that of the tuned
network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from isslim.compress.search.aims import MIN_SPENT

FIRST = 4.0
"""What the first candidate loses more than the budget, in units; of a loss that is a root of a mean
square, in those of the square."""
SPARED = 0.08
"""Units by which a tuned candidate is to stay below the budget, for what 8 bits cost and the
estimate is off by."""
UNSPENT = 1 - MIN_SPENT
"""A tuned candidate that leaves more units of the budget is followed by a deeper one."""
NO_HELP = 0.95
"""Share of a loss that is left where distillation does not help."""
SLOPE = 0.3
"""How much more a tuned candidate loses, at least, for a unit more that is lost by the cut."""
STEP = 4.0
"""How many times as much as the last candidate the next may lose before it is tuned, at most."""
MEASURED = 3
"""Candidates that are tuned, at most."""


def first_of(metric: str) -> float:
    """What the first candidate loses more than the budget, in units.

    Four times the budget is sixteen times the squared error, of which no distillation makes up.
    """
    return math.sqrt(1 + FIRST) - 1 if metric == "output_change" else FIRST


@dataclass
class TunedAim:
    """What the next candidate may lose before it is tuned.

    Attributes:
        budget: in units: 1, or 0 where nothing may be lost.
        first: see `first_of`.
        description: what the next candidate is searched for.
        loss: of the next candidate, before it is tuned; None: there is none.
        _found: of each candidate so far, its loss before it was tuned, and what that became.
    """

    budget: float
    first: float = FIRST
    description: str = "searching a model that loses what distillation wins back"
    loss: float | None = None
    _found: dict[float, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.loss = self.budget + self.first

    @property
    def aim(self) -> float:
        """What a tuned candidate is to lose."""
        return self.budget - SPARED

    @property
    def share(self) -> float:
        """Of the minutes that are left, what the next candidate takes."""
        return 1 / max(1, MEASURED - len(self._found))

    def record_measurement(self, before: float, found: float, *, is_kept: bool) -> None:
        """Sets what follows a candidate that took its minutes.

        Args:
            before: its loss before it was tuned.
            found: the loss that was published, or that it had where it was not.
            is_kept: whether all of its forms keep to the budget.
        """
        self.loss = None
        # What is refused loses too much, whatever was measured of it; what is no number, too.
        if not is_kept:
            found = math.inf if math.isnan(found) else max(found, self.budget)
        is_first = not self._found
        self._found[before] = found
        if is_first and not is_kept and math.isfinite(found) and found > NO_HELP * before:
            return  # distillation does not help here: the closed form is what remains
        if len(self._found) < MEASURED and (not is_kept or found < self.budget - UNSPENT):
            self._ask(found)

    def _ask(self, last: float) -> None:
        """Sets the loss at which the next candidate, once tuned, should be at its aim.

        Between the nearest candidates on both sides of the aim it lies on the line through them.
        Where there are only candidates on one side, what the nearest lost after tuning is taken as
        a share of what it lost before.

        Args:
            last: what the last candidate lost, tuned.
        """
        below = [each for each in self._found.items() if each[1] <= self.aim]
        above = [each for each in self._found.items() if each[1] > self.aim]
        low, high = max(below, default=None), min(above, default=None)
        if low is not None and high is not None and low[0] < high[0]:
            slope = (high[1] - low[1]) / (high[0] - low[0])
            self.loss = low[0] + (self.aim - low[1]) / slope
        else:
            before, tuned = max(below) if last <= self.aim else min(above)
            base = max(before, UNSPENT)  # a cut may lose nothing, or less than that
            asked = before + (self.aim - tuned) / max(tuned / base, SLOPE)
            self.loss = min(STEP * base, max(base / STEP, asked))
        self.description = (
            "searching a smaller model: distillation wins more back"
            if last <= self.aim
            else "searching a model that loses less"
        )

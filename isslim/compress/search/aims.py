"""What the next search of a closed form may spend, from how the last candidate was measured.

The search evaluates by a quick estimate on a part of the held-out text; so its next allowance
depends on the outcome of its last choice: less where that exceeded the budget, more where it left
much of the budget unused.
"""

from __future__ import annotations

from dataclasses import dataclass

from isslim.compress.contract import Published, Quality
from isslim.types.quality import compared_loss
from isslim.types.recipe import Budget, Recipe

AIM = 0.97
"""Share of a budget of quality that the published loss is to reach: what is above the budget is not
published."""
MIN_SPENT = 0.8
"""A published loss below this share of the budget leaves enough for another search."""
STEP = 3.0
"""How many times the last candidate's loss the next may have, at most."""
MISSED_STEP = 0.85
"""How much of the last candidate's loss the next may have at least, where only the int8 form missed
the budget."""
ROUNDS = 4
"""Candidates that are measured at most."""
HARDER = (1.08, 1.2)
"""What to multiply a budget of speed with, until the measured speed reaches the budget itself."""


class CountedAim:
    """A size is counted: it needs no second search."""

    def __init__(self) -> None:
        self.allowance: float | None = 1.0
        self.description = "searching the largest model within the budget"

    def record_measurement(self, quality: Quality | None, published: Published) -> None:
        """Ends the search.

        Args:
            quality: of the last candidate by the search's estimate.
            published: how the candidate fared.
        """
        self.allowance = None


class SpeedAim(CountedAim):
    """By the clock: harder as long as what is measured does not reach the budget."""

    def __init__(self) -> None:
        super().__init__()
        self._left = list(HARDER)

    def record_measurement(self, quality: Quality | None, published: Published) -> None:
        """Asks for more, or ends the search.

        Args:
            quality: of the last candidate by the search's estimate.
            published: how the candidate fared.
        """
        self.allowance = self._left.pop(0) if self._left and not published.kept else None


@dataclass
class QualityAim:
    """What of a budget of quality the search may spend, in multiples of the budget.

    Attributes:
        allowance: of the next search; None: there is none.
        description: what it is for.
    """

    budget: Budget
    description: str = "searching the smallest model within the budget"
    allowance: float | None = AIM
    _tried: int = 0
    _kept: float = -1.0
    _refused: float = float("inf")

    def record_measurement(self, quality: Quality | None, published: Published) -> None:
        """Sets the next allowance from the loss estimated before tuning and the published one.

        Args:
            quality: of the last candidate by the search's estimate; None: not evaluated.
            published: how the candidate fared.
        """
        limit = self.budget.quality or 0.0
        self.allowance = None
        if quality is None or published.loss is None or limit <= 0:
            return
        estimated = compared_loss(self.budget, quality.loss, quality.estimate) / limit
        found = published.loss / limit
        self._tried += 1
        milder = not published.kept or published.missed
        if milder:
            self._refused = min(self._refused, estimated)
        elif self._kept < estimated:
            self._kept = estimated
        satisfied = not milder and (found >= MIN_SPENT or self._refused < float("inf"))
        if satisfied or self._tried >= ROUNDS:
            return
        asked = _next(estimated, found)
        if published.kept and milder:
            # What 8 bits cost is added to what removal costs, and hardly less where less is
            # removed.
            asked = max(estimated + AIM - found, MISSED_STEP * estimated)
        if milder:
            asked = min(asked, AIM * estimated)
        if asked <= self._kept or asked >= self._refused:
            asked = (
                (max(self._kept, 0.0) + self._refused) / 2 if self._refused < float("inf") else 0.0
            )
        if milder:
            self.description = "searching a model that loses less"
        else:
            self.description = (
                f"searching a smaller model: {max(found, 0.0):.0%} of the budget is spent"
            )
        self.allowance = asked if asked > 0 else None


def _next(estimated: float, found: float) -> float:
    """The estimate at which the published loss should be at its aim."""
    if min(estimated, found) <= 0:
        return min(estimated + AIM - found, STEP * max(estimated, AIM))
    return estimated * AIM / found


def aims_of(recipe: Recipe) -> CountedAim | QualityAim:
    """The aims of a recipe's budget."""
    if recipe.budget.size_ratio is not None:
        return CountedAim()
    return SpeedAim() if recipe.budget.speedup is not None else QualityAim(recipe.budget)

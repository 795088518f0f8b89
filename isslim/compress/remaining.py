"""How long a compression is likely to go on: by the work that it has done, and by its minutes.

Distillation ends by the clock, and all that is left of its minutes counts, though it may end
earlier. Learning goes on as fast as it did so far. So does everything else, in the proportions of
`WORK`. The estimate is for whoever waits: more often too long than too short, and none before there
is something to go by.
"""

from __future__ import annotations

import time
from collections.abc import Callable

WORK = {
    "ingest": 1.0,
    "calibrate": 6.0,
    "search": 4.0,
    "export": 1.0,
    "measure": 3.0,
    "publish": 0.2,
}
"""What stages without a clock of their own take in relation to each other; rough, by the seconds of
the demo and of small models."""
ORDER = ("ingest", "calibrate", "search", "fine-tune", "learn", "export", "measure", "publish")
CANDIDATE = 1 / 3
"""Share of the measurement that is of a candidate: the rest is of the one that is published."""
LEAST_WORK, LEAST_LEARNT = 0.1, 0.02
"""Shares of the work, and of learning, that have to be done before anything is said."""


class Remaining:
    """Estimates the seconds that are left of a compression.

    Args:
        clock: seconds since any moment.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._minutes = 0.0
        self._stage, self._since = ORDER[0], clock()
        self._done: dict[str, float] = {}
        self._spent: dict[str, float] = {}
        # Of the present stage: its part of all that is done under its name.
        self._share = (0.0, 1.0)
        # Of the present stage: when it was first heard of since it was entered, and how far it was.
        self._heard: tuple[float, float] | None = None

    def allow(self, minutes: float) -> None:
        """Notes how long may be distilled.

        Args:
            minutes: at most, over all candidates together.
        """
        self._minutes = minutes

    def enter(self, stage: str) -> None:
        """Notes that a stage begins, maybe again; the one before it has ended.

        Args:
            stage: one of `ORDER`.
        """
        of_candidate = self._stage == "measure" and stage != "publish"
        self._done[self._stage] = CANDIDATE if of_candidate else 1.0
        self._spent[self._stage] = self._seconds_in(self._stage)
        # A candidate is measured right after its export; what is published is measured last.
        self._share = (0.0, CANDIDATE) if self._stage == "export" else (CANDIDATE, 1.0)
        if stage != "measure":
            self._share = (0.0, 1.0)
        self._stage, self._since, self._heard = stage, self._clock(), None
        # What is repeated is a step back, and was done before; learning begins anew.
        self._done[stage] = 0.0 if stage == "learn" else self._done.get(stage, 0.0)

    def advance(self, done: float) -> None:
        """Notes how far the present stage is.

        Args:
            done: share of it, 0 to 1.
        """
        self._heard = self._heard or (self._clock(), done)
        start, end = self._share
        share = start + done * (end - start)
        self._done[self._stage] = max(self._done.get(self._stage, 0.0), share)

    def seconds(self) -> float | None:
        """The seconds that are left; None: there is too little to go by."""
        furthest = max(ORDER.index(stage) for stage in {ORDER[0], *self._done})
        done = left = 0.0
        for stage, work in WORK.items():
            share = self._done.get(stage, 0.0)
            done += work * share
            left += work * (1.0 - share) if ORDER.index(stage) >= furthest else 0.0
        learning = self._learning()
        if learning is None or done < LEAST_WORK * (done + left):
            return None
        pace = sum(self._seconds_in(stage) for stage in WORK) / done
        distilling = max(0.0, 60 * self._minutes - self._seconds_in("fine-tune"))
        # Until publication another candidate may be distilled.
        return pace * left + learning + (0.0 if "publish" in self._done else distilling)

    def _seconds_in(self, stage: str) -> float:
        """Seconds that a stage has taken so far, all times that it was entered together."""
        now = self._clock() - self._since if stage == self._stage else 0.0
        return self._spent.get(stage, 0.0) + now

    def _learning(self) -> float | None:
        """Seconds of learning that are left; None: not known yet."""
        if self._stage != "learn":
            return 0.0
        began, first = self._heard or (self._clock(), 0.0)
        gained = self._done["learn"] - first  # a run that was stopped goes on from where it was
        if gained < LEAST_LEARNT:
            return None
        return (self._clock() - began) * (1.0 - self._done["learn"]) / gained

"""CTC: the likeliest class of every step as a string, and its distance from the target.

Repeats count once and blanks not at all (A. Graves et al., Connectionist Temporal Classification,
ICML 2006). Every step is decoded: sequences of different lengths are runs of their own.

Legend: T steps, L symbols.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.compress.kinds.graphs.targets.labelling import NONE
from isslim.compress.kinds.graphs.targets.measure import Answers, Measure, likeliest
from isslim.compress.statistics.intervals import Unit
from isslim.types.manifest import Estimate


class CtcErrorRate(Measure):
    """Edits of decoded strings for each symbol of the targets."""

    unit: Unit = "sequences"

    @property
    def count(self) -> int:
        """Sequences of all runs."""
        return sum(len(np.atleast_2d(target)) for target in self.targets)

    @property
    def _symbols(self) -> int:
        return super().count

    def missing(self) -> str | None:
        """See `Measure.missing`."""
        return None if self._symbols else "hold no symbol"

    def answers(self, outputs: Sequence[NDArray[Any]]) -> Answers:
        """Edits of every sequence; see `Measure.answers`."""
        return [
            np.array(list(self._edits(output, target)), np.float64)
            for output, target in zip(outputs, self.targets, strict=True)
        ]

    def value(self, answers: Answers) -> float:
        """See `Measure.value`."""
        return float(np.concatenate(answers).sum() / self._symbols)

    def loss(self, value: float, original: float) -> float:
        """See `Measure.loss`."""
        return value - original

    def estimate(self, answers: Answers, original: Answers) -> Estimate | None:
        """See `Measure.estimate`."""
        lengths = [(np.atleast_2d(target) != NONE).sum(1) for target in self.targets]
        rises = [one - other for one, other in zip(answers, original, strict=True)]
        return self.paired(rises, lengths)

    def _edits(self, output: NDArray[Any], target: NDArray[Any]) -> Sequence[int]:
        steps = likeliest(self.labelling, output)
        rows = np.atleast_2d(target)
        if steps.ndim == 1:
            steps = steps[None]
        elif self.labelling.sequences == 1:
            steps = steps.T
        return [
            edits(decoded(each, self.labelling.blank), wanted[wanted != NONE])
            for each, wanted in zip(steps, rows, strict=True)
        ]


def decoded(steps: NDArray[Any], blank: int) -> NDArray[np.int64]:
    """The string of one sequence.

    Args:
        steps: (T,) the class of every step.
        blank: the class that stands for none.
    """
    found = np.asarray(steps, np.int64)
    first = np.ones(len(found), np.bool_)
    first[1:] = found[1:] != found[:-1]
    return np.asarray(found[first & (found != blank)])


def edits(found: NDArray[Any], wanted: NDArray[Any]) -> int:
    """How many insertions, deletions and substitutions turn one string into another (Levenshtein).

    Args:
        found: (L,) classes.
        wanted: those of the target, of any length.
    """
    places = np.arange(len(wanted) + 1)
    row = places.copy()
    for symbol in found:
        # Insertions along a row, which depend on each other, are a running minimum.
        best = np.minimum(row[1:] + 1, row[:-1] + (wanted != symbol))
        row = np.minimum.accumulate(np.concatenate([[row[0] + 1], best]) - places) + places
    return int(row[-1])

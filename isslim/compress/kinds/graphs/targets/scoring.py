"""AUC and squared error: numbers, compared with classes or with numbers.

Legend: N places with a target.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.compress.kinds.graphs.targets.labelling import NONE
from isslim.compress.kinds.graphs.targets.measure import Answers, Floats, Measure
from isslim.compress.statistics.intervals import Unit, blocks, bootstrap, widened
from isslim.types.manifest import Estimate


class Auc(Measure):
    """The area under the receiver operating characteristic."""

    unit: Unit = "rows"

    @property
    def _positive(self) -> list[NDArray[np.bool_]]:
        return [target[target != NONE] == 1 for target in self.targets]

    def missing(self) -> str | None:
        """See `Measure.missing`."""
        if not self.count:
            return super().missing()
        shown = np.concatenate(self._positive)
        if shown.all() or not shown.any():
            return f"hold class {int(shown[0])} alone, and an AUC compares two"
        return None

    def answers(self, outputs: Sequence[NDArray[Any]]) -> Answers:
        """Scores of class 1 at the places that have targets; see `Measure.answers`.

        Of two numbers it is the second less the first, which orders logits as a softmax of them.
        """
        found = []
        for output, target in zip(outputs, self.targets, strict=True):
            scores = output.astype(np.float64)
            if not self.labelling.by_number(target, output):
                first, *rest = np.moveaxis(scores, self.labelling.axis, 0)
                scores = _less(rest[0], first) if rest else first
            found.append(scores[target != NONE])
        return found

    def value(self, answers: Answers) -> float:
        """See `Measure.value`."""
        scores = np.concatenate(answers)
        if np.isnan(scores).any():
            return float("nan")
        positive = np.concatenate(self._positive)
        return float(placements(scores, positive)[positive].mean())

    def estimate(self, answers: Answers, original: Answers) -> Estimate | None:
        """See `Measure.estimate`. The bootstrap is one of the linear part (`placements`)."""
        ours, whole = (np.concatenate(each) for each in (answers, original))
        positive = np.concatenate(self._positive)
        if np.isnan(ours).any():
            return None
        falls = placements(whole, positive) - placements(ours, positive)
        loss = float(falls[positive].mean())
        columns = [falls * positive, positive, falls * ~positive, ~positive]
        ends = np.cumsum([len(each) for each in answers])[:-1]
        rows = np.split(np.stack([each.astype(np.float64) for each in columns], axis=1), ends)

        def fall(sums: Floats) -> Floats:
            return np.asarray(sums[:, 0] / sums[:, 1] + sums[:, 2] / sums[:, 3] - loss)

        found = bootstrap(blocks(self.joined(rows)), fall, count=self.count, unit=self.unit)
        if found is None:
            return None
        rare = positive if positive.sum() <= (~positive).sum() else ~positive
        changed = int(np.count_nonzero(falls[rare]))
        return widened(found, loss, changed, int(rare.sum()), lambda share: share)


class SquaredError(Measure):
    """The mean squared difference; a loss is relative to the original's."""

    unit: Unit = "rows"

    @property
    def count(self) -> int:
        """Rows of all outputs."""
        return sum(target.size // _width(target, self.labelling.axis) for target in self.targets)

    def answers(self, outputs: Sequence[NDArray[Any]]) -> Answers:
        """Sums of squared differences of rows; see `Measure.answers`."""
        found = []
        for output, target in zip(outputs, self.targets, strict=True):
            with np.errstate(invalid="ignore", over="ignore"):
                squares = np.square(output.astype(np.float64) - target.astype(np.float64))
            axis = self.labelling.axis
            found.append((squares.sum(axis) if squares.ndim else squares).ravel())
        return found

    def value(self, answers: Answers) -> float:
        """See `Measure.value`."""
        return float(np.concatenate(answers).sum() / sum(each.size for each in self.targets))

    def loss(self, value: float, original: float) -> float:
        """See `Measure.loss`."""
        return value / original - 1

    def estimate(self, answers: Answers, original: Answers) -> Estimate | None:
        """See `Measure.estimate`."""
        if not all(np.isfinite(each).all() for each in answers):
            return None
        rows = [np.stack(each, axis=1) for each in zip(answers, original, strict=True)]
        return bootstrap(
            blocks(self.joined(rows)),
            lambda sums: sums[:, 0] / sums[:, 1] - 1,
            count=self.count,
            unit=self.unit,
        )


def placements(scores: Floats, positive: NDArray[np.bool_]) -> Floats:
    """Of every case, the share of the other class on the right side of it, ties as a half; (N,).

    Their mean over either class is the AUC. Its variance is that of these means (E. DeLong et al.,
    Comparing the Areas under Two or More Correlated ROC Curves, Biometrics 44, 1988), so that a
    bootstrap of them stands for one of the AUC, which is no function of sums.

    Args:
        scores: (N,) of class 1.
        positive: (N,) whether a case is of class 1; both classes are there.
    """
    ones, zeros = np.sort(scores[positive]), np.sort(scores[~positive])
    found = np.empty(len(scores))
    found[positive] = _share_below(zeros, scores[positive])
    found[~positive] = 1 - _share_below(ones, scores[~positive])
    return found


def _share_below(known: Floats, scores: Floats) -> Floats:
    """Of every score, the share of known ones, which are sorted, below it, ties as a half."""
    below = np.searchsorted(known, scores, "left") + np.searchsorted(known, scores, "right")
    return np.asarray(below / (2 * len(known)))


def _less(one: Floats, other: Floats) -> Floats:
    """The difference; of two logarithms of zero, which is no number, 0."""
    with np.errstate(invalid="ignore"):
        return np.where((one == other), 0.0, one - other)


def _width(target: NDArray[Any], axis: int) -> int:
    return max(target.shape[axis], 1) if target.ndim else 1

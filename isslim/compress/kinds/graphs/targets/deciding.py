"""Accuracy and F1: decisions between classes, compared with class indices.

Legend: N places with a target, B blocks, C classes of the targets, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.compress.kinds.graphs.targets.labelling import NONE, USUAL_THRESHOLD, Labelling
from isslim.compress.kinds.graphs.targets.measure import (
    NO_DECISION,
    Answers,
    Floats,
    Measure,
    likeliest,
)
from isslim.compress.statistics.intervals import (
    Blocks,
    block_starts,
    blocks_of,
    bootstrap,
    widened,
)
from isslim.types.manifest import Estimate


class _Decisions(Measure):
    """Of decisions between classes."""

    def answers(self, outputs: Sequence[NDArray[Any]]) -> Answers:
        """Decisions at the places that have targets; see `Measure.answers`."""
        return [
            _decisions(self.labelling, output, target)[target != NONE]
            for output, target in zip(outputs, self.targets, strict=True)
        ]

    @property
    def wanted(self) -> Answers:
        """The targets at these places."""
        return [np.asarray(target[target != NONE], np.int64) for target in self.targets]


class Accuracy(_Decisions):
    """The share of decisions that are the target."""

    def value(self, answers: Answers) -> float:
        """See `Measure.value`."""
        right = [one == other for one, other in zip(answers, self.wanted, strict=True)]
        return float(np.concatenate(right).mean())

    def estimate(self, answers: Answers, original: Answers) -> Estimate | None:
        """See `Measure.estimate`."""
        falls = [
            (whole == wanted).astype(np.float64) - (ours == wanted)
            for ours, whole, wanted in zip(answers, original, self.wanted, strict=True)
        ]
        return self.paired(falls, [np.ones_like(each) for each in falls])


class F1(_Decisions):
    """F1 of class 1, or the mean over the classes of the targets."""

    def missing(self) -> str | None:
        """See `Measure.missing`."""
        if self.labelling.metric == "f1_binary" and not any(
            (one == 1).any() for one in self.wanted
        ):
            return "hold no case of class 1, which this F1 is of"
        return super().missing()

    def value(self, answers: Answers) -> float:
        """See `Measure.value`."""
        return float(self._of(self._counts(answers).sum(0)[None])[0])

    def estimate(self, answers: Answers, original: Answers) -> Estimate | None:
        """See `Measure.estimate`."""
        ours, whole = self._counts(answers), self._counts(original)
        lengths = [len(each) for each in self.joined(answers)]
        numbers = [each for each in blocks_of(lengths) if each]
        shape, half = ours.shape[1:], ours[0].size

        def fall(sums: Floats) -> Floats:
            one, other = sums[:, :half], sums[:, half:]
            return self._of(other.reshape(-1, *shape)) - self._of(one.reshape(-1, *shape))

        together = np.concatenate([each.reshape(len(each), -1) for each in (ours, whole)], axis=1)
        runs = np.repeat(np.arange(len(numbers)), numbers)
        found = bootstrap(Blocks(together, runs), fall, count=self.count, unit=self.unit)
        if found is None:
            return None
        counts = ours.sum(0)
        changed = sum(
            int((one != other).sum()) for one, other in zip(answers, original, strict=True)
        )
        loss = float(fall(together.sum(0)[None])[0])
        return widened(found, loss, changed, self.count, lambda share: self._worth(counts, share))

    def _classes(self) -> NDArray[np.int64]:
        """Those of the targets; of two classes always both."""
        if self.labelling.metric == "f1_binary":
            return np.array([0, 1])
        return np.unique(np.concatenate(self.wanted))

    def _counts(self, answers: Answers) -> Floats:
        """By block and class: right decisions, decisions, targets; (B, C, 3)."""
        classes = self._classes()
        size, found = len(classes), list[Floats]()
        sides = self.joined(answers), self.joined(self.wanted)
        numbers = blocks_of([len(each) for each in sides[0]])
        for ours, wanted, number in zip(*sides, numbers, strict=True):
            if not number:
                continue
            starts = block_starts(len(wanted), number)
            block = np.searchsorted(starts, np.arange(len(wanted)), side="right") - 1
            columns = [
                np.bincount((block * size + place)[known], minlength=number * size)
                for place, known in (
                    _places(classes, np.where(ours == wanted, wanted, NO_DECISION)),
                    _places(classes, ours),
                    _places(classes, wanted),
                )
            ]
            found.append(np.stack(columns, axis=-1).reshape(number, size, 3).astype(np.float64))
        return np.concatenate(found)

    def _of(self, counts: Floats) -> Floats:
        """F1 from counts (R, C, 3); 0 where there is neither a decision nor a target."""
        both = counts[..., 1] + counts[..., 2]
        each = 2 * counts[..., 0] / np.maximum(both, 1e-9)
        if self.labelling.metric == "f1_binary":
            return np.asarray(each[:, 1])
        present = np.maximum((both > 0).sum(1), 1)
        return np.asarray(each.sum(1) / present)

    def _worth(self, counts: Floats, share: float) -> float:
        """The fall of F1 where a share of all right decisions, alike in all classes, is wrong."""
        right = counts[:, 0]
        others = (right.sum() - right) / max(len(right) - 1, 1)
        worse = counts.copy()
        worse[:, 0] -= share * right
        worse[:, 1] += share * (others - right)
        return float((self._of(counts[None]) - self._of(worse[None]))[0])


def _decisions(
    labelling: Labelling, output: NDArray[Any], target: NDArray[Any]
) -> NDArray[np.int64]:
    """The decision at every place of a target, of its shape."""
    if output.dtype.kind in "iub":
        return np.asarray(output, np.int64).reshape(target.shape)
    if not labelling.by_number(target, output) and output.shape[labelling.axis] > 1:
        return likeliest(labelling, output)
    limit = USUAL_THRESHOLD if labelling.threshold is None else labelling.threshold
    found = np.where(np.isnan(output), NO_DECISION, output > limit)
    return np.asarray(found, np.int64).reshape(target.shape)


def _places(
    classes: NDArray[np.int64], decisions: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The position of every decision among sorted classes, and whether it is one of them."""
    place = np.minimum(np.searchsorted(classes, decisions), len(classes) - 1)
    return place, classes[place] == decisions

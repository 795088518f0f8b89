"""What a metric on targets is.

Each reads answers of an output once (decisions, scores, squared errors, edits), so that those of
the original are not read again for every candidate. A loss is that of a candidate against the
original on the same targets, and so is its interval: blocks of rows or runs are drawn for both.

Legend: N places with a target.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.compress.kinds.graphs.comparing import joined
from isslim.compress.kinds.graphs.targets.labelling import NONE, Labelling
from isslim.compress.statistics.intervals import Unit, blocks, bootstrap, widened
from isslim.types.manifest import Estimate

Floats = NDArray[np.float64]
Answers = list[NDArray[Any]]
"""Of every run, what is compared with its targets, (N,)."""
NO_DECISION = -2
"""Where the output is not a number: equal to no target."""


class Measure(ABC):
    """A metric on targets.

    Attributes:
        unit: what the sample is counted in.

    Args:
        labelling: what targets mean.
        targets: of every run; they fit the outputs (`Labelling.issue`).
        together: see `comparing.joined`.
    """

    unit: Unit = "decisions"

    def __init__(
        self,
        labelling: Labelling,
        targets: Sequence[NDArray[Any]],
        together: Sequence[int] | None = None,
    ) -> None:
        self.labelling, self.targets, self._together = labelling, list(targets), together

    def joined(self, rows: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Rows of every run as those of every stream, where runs are windows of streams."""
        return joined(rows, self._together)

    def paired(
        self, losses: Sequence[NDArray[Any]], sizes: Sequence[NDArray[Any]]
    ) -> Estimate | None:
        """The interval of a loss that is a sum of differences over a sum of sizes.

        Args:
            losses: of every run, (R,): what each row loses against the original.
            sizes: likewise, what each row counts.
        """
        rows = [np.stack(each, axis=1) for each in zip(losses, sizes, strict=True)]
        found = bootstrap(
            blocks(self.joined(rows)),
            lambda sums: sums[:, 0] / sums[:, 1],
            count=self.count,
            unit=self.unit,
        )
        if found is None:
            return None
        together = np.concatenate(losses)
        loss = float(together.sum()) / float(sum(each.sum() for each in sizes))
        changed = int(np.count_nonzero(together))
        return widened(found, loss, changed, len(together), lambda share: share)

    @property
    def count(self) -> int:
        """Size of the sample."""
        return sum(int((target != NONE).sum()) for target in self.targets)

    def missing(self) -> str | None:
        """What the targets lack to be evaluated on, a clause; None: nothing."""
        return None if self.count else "hold no target but -1, which stands for none"

    @abstractmethod
    def answers(self, outputs: Sequence[NDArray[Any]]) -> Answers:
        """Reads what is compared with the targets.

        Args:
            outputs: of every run, of the labelled output.
        """

    @abstractmethod
    def value(self, answers: Answers) -> float:
        """The metric; NaN where answers are not finite."""

    def loss(self, value: float, original: float) -> float:
        """How much worse a value is.

        Args:
            value: of a candidate.
            original: the original's.
        """
        return original - value

    @abstractmethod
    def estimate(self, answers: Answers, original: Answers) -> Estimate | None:
        """The interval of the loss; None where the sample is too small for one.

        Args:
            answers: of a candidate.
            original: the original's.
        """


def likeliest(labelling: Labelling, output: NDArray[Any]) -> NDArray[np.int64]:
    """The likeliest class of every row; whole numbers are decisions themselves.

    Args:
        labelling: names the class axis.
        output: of any shape; `NO_DECISION` stands where it is not a number.
    """
    if output.dtype.kind in "iub":
        return np.asarray(output, np.int64)
    axis = labelling.axis
    return np.where(np.isnan(output).any(axis), NO_DECISION, output.argmax(axis))

"""How the targets of recorded runs relate to the output that they are of: shapes, types, values.

Class indices stand for decisions: with the shape of the output without its class axis one for each
row, with the shape of the output one for each number, which is class 1 above a threshold and class
0 otherwise. -1 is a place without target. Squared errors need numbers of the output's shape, CTC
the classes of every sequence, (N, L) or (L,), followed by -1 up to the longest.

Legend: N sequences, L symbols of the longest target, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NONE = -1
"""A place without target."""
USUAL_THRESHOLD = 0.5


@dataclass(frozen=True)
class Labelling:
    """What targets mean.

    Attributes:
        metric: one of `ON_TARGETS`.
        output: the name of the output that they are of.
        axis: its class axis.
        threshold: of single numbers; None: the usual one, for probabilities.
        blank: class of the blank (CTC).
        sequences: dimension of the output without its class axis along which sequences lie, where
            there are two such dimensions (CTC); None: not known.
    """

    metric: str
    output: str
    axis: int
    threshold: float | None = None
    blank: int = 0
    sequences: int | None = None

    @property
    def is_ctc(self) -> bool:
        """Whether targets are sequences of symbols."""
        return self.metric == "ctc_error_rate"

    def without_classes(self, output: NDArray[Any]) -> tuple[int, ...]:
        """The shape of an output's decisions; whole numbers are decisions themselves."""
        if output.dtype.kind in "iub" or not output.ndim:
            return output.shape
        return tuple(np.delete(output.shape, self.axis).tolist())

    def by_number(self, target: NDArray[Any], output: NDArray[Any]) -> bool:
        """Whether every number of an output has a target of its own, not every row of classes.

        Args:
            target: of the output.
            output: of the original, of any shape.
        """
        return target.shape == output.shape

    def place(self, target: NDArray[Any], output: NDArray[Any], dimension: int) -> int | None:
        """The dimension of a target that goes with one of its output.

        Args:
            target: of the output.
            output: of the original.
            dimension: of the output.

        Returns:
            None where there is none: then the target cannot be divided along it.
        """
        axis = self.axis % max(output.ndim, 1)
        if self.is_ctc:
            left = dimension - (dimension > axis and output.dtype.kind == "f")
            return 0 if target.ndim == 2 and self.sequences in (None, left) else None
        if self.by_number(target, output):
            return dimension
        return None if dimension == axis else dimension - (dimension > axis)

    def is_one_hot(self, target: NDArray[Any], output: NDArray[Any]) -> bool:
        """Whether a target marks one class of each row of an output that is a distribution.

        It may be so by chance in one run, but hardly in all.

        Args:
            target: that fits.
            output: the original's.
        """
        decides = self.metric not in ("target_squared_error", "ctc_error_rate")
        if not decides or output.dtype.kind != "f" or not self.by_number(target, output):
            return False
        if not target.ndim or output.shape[self.axis] < 2:
            return False
        sums = output.astype(np.float64).sum(self.axis)
        one = (target >= 0).all() and (target.sum(self.axis) == 1).all()
        return bool(one and (np.abs(sums - 1) < 1e-3).all())

    def issue(self, target: NDArray[Any], output: NDArray[Any]) -> str | None:
        """What is wrong with the target of one run; None where it fits.

        Args:
            target: as it was recorded.
            output: the original's, on the inputs of that run.
        """
        if self.metric == "target_squared_error":
            return _numbers_issue(target, output)
        if output.dtype.kind == "f" and output.ndim and not -output.ndim <= self.axis < output.ndim:
            return (
                f"the output has {output.ndim} dimensions in this run, and its classes lie in "
                f"dimension {self.axis}: export the model so that all runs give as many, such as "
                "with `x.squeeze(0)` in place of `x.squeeze()`"
            )
        if target.dtype.kind not in "iub":
            return f"it is {target.dtype}: class indices are whole numbers, such as int64"
        if self.is_ctc:
            return self._symbols_issue(target, output)
        return self._classes_issue(target, output)

    def _classes_issue(self, target: NDArray[Any], output: NDArray[Any]) -> str | None:
        rows, each = self.without_classes(output), self.by_number(target, output)
        if target.shape != rows and not each:
            wanted = f"{list(rows)}" + (
                f", or {list(output.shape)}" if rows != output.shape else ""
            )
            return f"it has the shape {list(target.shape)}: expected {wanted}"
        decided = output.dtype.kind in "iub"
        classes = 2 if each or output.shape[self.axis] == 1 else output.shape[self.axis]
        if self.metric in ("auc", "f1_binary") and not decided and classes > 2:
            other = "`f1_macro`" if self.metric == "f1_binary" else "`accuracy` or `f1_macro`"
            return f"`{self.metric}` is of two classes, and the output has {classes}: use {other}"
        if self.metric == "auc" and decided:
            return f"`auc` needs scores, and the output is {output.dtype}: use `accuracy`"
        if decided and self.metric != "f1_binary":
            classes = None
        wrong = _out_of_range(target, classes)
        if wrong is not None:
            return wrong
        if decided or not (each or output.shape[self.axis] == 1):
            return None
        return self._number_issue(output)

    def _number_issue(self, output: NDArray[Any]) -> str | None:
        """What is wrong with the scale of single numbers."""
        outside = output[np.isfinite(output) & ((output < 0) | (output > 1))]
        if self.metric != "auc" and self.threshold is None and outside.size:
            return (
                f"the output holds {float(outside.flat[0]):.4g}, which is no probability: name the "
                "`threshold` above which a number is class 1, such as 0 for logits"
            )
        return None

    def _symbols_issue(self, target: NDArray[Any], output: NDArray[Any]) -> str | None:
        steps = self.without_classes(output)
        if len(steps) not in (1, 2):
            return f"the output has the shape {list(output.shape)}: expected steps and classes"
        if target.ndim not in (1, 2) or not _fitting(target.shape, steps):
            return (
                f"it has the shape {list(target.shape)}: expected (sequences, symbols) for an "
                f"output with the steps {list(steps)}, or (symbols,) for one sequence"
            )
        classes = None if output.dtype.kind in "iub" else output.shape[self.axis]
        if classes is not None and self.blank >= classes:
            return f"`blank` is {self.blank}, and the output has {classes} classes"
        return _out_of_range(target, classes) or self._order_issue(np.atleast_2d(target))

    def _order_issue(self, rows: NDArray[Any]) -> str | None:
        if (rows == self.blank).any():
            return f"it holds {self.blank}, which is the blank: name another `blank`"
        if ((rows[:, :-1] == NONE) & (rows[:, 1:] != NONE)).any():
            return "symbols follow -1, which only fills up the end"
        return None


def sequence_dimension(
    targets: Sequence[NDArray[Any]], steps: Sequence[tuple[int, ...]]
) -> int | None:
    """The dimension of decisions along which sequences lie, where the others are steps.

    Args:
        targets: of CTC, each (N, L) or (L,).
        steps: shapes of the decisions that they are of, one or two dimensions.

    Returns:
        None where both fit all runs.
    """
    both = [
        (target.shape, shape)
        for target, shape in zip(targets, steps, strict=True)
        if len(shape) > 1
    ]
    places = set.intersection({0, 1}, *(_fitting(target, shape) for target, shape in both))
    single = all(target[0] == 1 if len(target) > 1 else True for target, _ in both)
    if len(places) == 2 and single:
        return 0  # of one sequence and one step either way is the same
    return places.pop() if len(places) == 1 else None


def _fitting(target: tuple[int, ...], steps: tuple[int, ...]) -> set[int]:
    """Dimensions of decisions that may hold the sequences of a target."""
    count = target[0] if len(target) == 2 else 1
    if len(steps) == 1:
        return {0} if count == 1 else set()
    return {place for place, size in enumerate(steps) if size == count}


def _numbers_issue(target: NDArray[Any], output: NDArray[Any]) -> str | None:
    if target.dtype.kind not in "fiub":
        return f"it is {target.dtype}: numbers are expected"
    if target.shape != output.shape:
        return f"it has the shape {list(target.shape)}: expected the output's {list(output.shape)}"
    bad = ~np.isfinite(target)
    if bad.any():
        first = [int(index) for index in np.argwhere(bad)[0]]
        return (
            f"{int(bad.sum())} of {target.size} numbers are NaN or infinite, the first at {first}"
        )
    return None


def _out_of_range(target: NDArray[Any], classes: int | None) -> str | None:
    if not target.size:
        return None
    low, high = int(target.min()), int(target.max())
    if low >= NONE and (classes is None or high < classes):
        return None
    wrong = low if low < NONE else high
    there = "0 or more" if classes is None else f"0 to {classes - 1}"
    return f"it holds the class {wrong}: expected {there}, and -1 where there is no target"

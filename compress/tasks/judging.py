"""How good a graph's file is: by its outputs on recorded inputs, or by an evaluation of the worker's operator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from compress.evaluating import Evaluator
from compress.tasks.comparing import Outputs, compared, loss_of
from compress.tasks.recorded import outputs_of
from runtime.samples import AnyGraph, Inputs


class Judge(Protocol):
    """A metric of files.

    Attributes:
        costly: whether one value takes so long that none should be asked for in vain.
    """

    costly: bool

    @property
    def told(self) -> str | None:
        """What judges, in a line; None: the held-out inputs, which speak for themselves."""

    def value(self, graph: Path, which: str = "a compressed graph") -> float:
        """Of an ONNX file; `which` it is is for errors.

        Raises:
            CompressError: when it has none.
        """

    def loss(self, value: float) -> float:
        """How much worse than the original a value is."""


class ByOutputs:
    """What becomes of the original's outputs on held-out runs.

    Args:
        metric: one of `comparing.compared`.
        runs: the held-out ones.
        wanted: the original's outputs on them.
        names: which outputs count.
    """

    costly, told = False, None

    def __init__(self, metric: str, runs: Sequence[Inputs], wanted: Sequence[Outputs], names: Sequence[str]) -> None:
        self._metric, self._runs, self._wanted, self._names = metric, runs, wanted, names

    def value(self, graph: Path, which: str = "a compressed graph") -> float:
        """The metric's value; see `Judge`."""
        return compared(self._metric, outputs_of(AnyGraph(graph), self._runs), self._wanted, self._names)

    def loss(self, value: float) -> float:
        """How far from the original, which the value says by itself."""
        return loss_of(self._metric, value)


class ByCommand:
    """What an evaluation says, beginning with what it says of the original: one that cannot judge that ends a job at once.

    Args:
        evaluator: of the worker's operator.
        original: the uploaded file.

    Raises:
        EvaluationFailed: when there is no number for the original, or none that another can be compared with.
    """

    costly = True

    def __init__(self, evaluator: Evaluator, original: Path) -> None:
        self._evaluator = evaluator
        self._original = evaluator.value(original, "the original")
        evaluator.loss(self._original, self._original)

    @property
    def told(self) -> str:
        """See `Judge`."""
        return self._evaluator.told

    def value(self, graph: Path, which: str = "a compressed graph") -> float:
        """The number that it prints; see `Judge`."""
        return self._evaluator.value(graph, which)

    def loss(self, value: float) -> float:
        """See `Evaluator.loss`."""
        return self._evaluator.loss(value, self._original)

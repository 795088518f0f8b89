"""Quality of a graph's file: by its outputs on recorded inputs, or by the operator's command."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from isslim.compress.contract import Quality
from isslim.compress.errors import NothingToEvaluate, OutputsUnusable
from isslim.compress.kinds.graphs.comparing import Axes, Outputs, compared, loss_of, rows_of
from isslim.compress.kinds.graphs.running import temporary_file
from isslim.compress.kinds.graphs.streams import Played, Streams, played
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.processes.command_metrics import Evaluator
from isslim.compress.statistics.intervals import MIN_BLOCKS, decisions_for
from isslim.runtime.graphs.recorded_inputs import GraphSession
from isslim.types.quality import ENOUGH, counted, keeps, metric_format_of
from isslim.types.recipe import COMMAND, Budget, Recipe


def refuse_unevaluated(recipe: Recipe, not_evaluated: str | None) -> None:
    """Refuses a budget of quality that nothing can be evaluated against.

    It needs held-out data, or the operator's evaluation command.

    Args:
        recipe: with its budget resolved.
        not_evaluated: why there is no held-out data; None where there is some.

    Raises:
        NothingToEvaluate: when there is neither.
    """
    limit = recipe.budget.quality
    if not_evaluated is None or limit is None or recipe.metric.startswith(COMMAND):
        return
    scale = metric_format_of(recipe.metric)
    raise NothingToEvaluate(
        f"the budget allows a {scale.loss_name} of {scale.loss(limit).removeprefix('+')}, and "
        f"no data was sent to evaluate that on: {not_evaluated}. Send other runs as `held_out`, or "
        "several runs, of which some are held out; or set `size_ratio` or `speedup`, which need no "
        "held-out data"
    )


class QualityMetric(Protocol):
    """A quality metric of ONNX files.

    Attributes:
        costly: whether one value takes so long that needless ones are avoided.
    """

    costly: bool

    @property
    def description(self) -> str | None:
        """The evaluation command in a line; None where held-out inputs are evaluated."""

    @property
    def evaluated_outputs(self) -> dict[str, int | None]:
        """See `Provenance.evaluated_outputs`."""

    @property
    def doubt(self) -> str | None:
        """A clause on why figures have no confidence interval, where more data would give one."""

    @property
    def way(self) -> str:
        """What the held-out runs are beyond inputs, to end their description with; or empty."""

    @property
    def as_streams(self) -> bool:
        """Whether variants continue from states that they returned themselves."""

    def quality(self, graph: Path, which: str = "a compressed graph") -> Quality:
        """Evaluates an ONNX file.

        Args:
            graph: the file.
            which: what it is, for messages of errors.

        Raises:
            CompressError: when it cannot be evaluated.
        """

    def loss(self, value: float) -> float:
        """How much worse than the original's a value is."""


class MeasuredMetric(ABC):
    """A metric that is measured on held-out runs, here.

    Args:
        metric: its name.
        runs: the held-out runs, or streams of them.
    """

    costly, description = False, None

    def __init__(self, metric: str, runs: Played) -> None:
        self._metric, self._runs = metric, runs

    @property
    @abstractmethod
    def equal(self) -> Quality:
        """The original against itself: its interval is the smallest that this data can give."""

    @property
    @abstractmethod
    def doubt(self) -> str | None:
        """See `QualityMetric`."""

    @property
    @abstractmethod
    def evaluated_outputs(self) -> dict[str, int | None]:
        """See `Provenance.evaluated_outputs`."""

    @abstractmethod
    def loss(self, value: float) -> float:
        """See `QualityMetric`."""

    @abstractmethod
    def quality(self, graph: Path, which: str = "a compressed graph") -> Quality:
        """See `QualityMetric`.

        Args:
            graph: the file.
            which: what it is, for messages of errors.
        """

    @property
    def as_streams(self) -> bool:
        """See `QualityMetric`."""
        return isinstance(self._runs, Streams)

    @property
    def way(self) -> str:
        """See `QualityMetric`."""
        return f", {self._runs.description}" if isinstance(self._runs, Streams) else ""

    def refuse_unsure(self, budget: Budget) -> None:
        """Refuses a budget of quality that the held-out data is too small to show kept.

        Raises:
            NothingToEvaluate: when not even a model equal to the original could be shown to keep to
                it, unless `confident` is false in the budget.
        """
        limit = budget.quality
        if limit is None or budget.confident is False:
            return
        remedy = (
            "or set `confident` to false in the budget: the measured value then decides, however "
            "wide its interval"
        )
        if self.doubt is not None:
            raise NothingToEvaluate(
                f"{self.doubt}. Send more runs, as `held_out` or with the others, {remedy}"
            )
        equal, scale = self.equal, metric_format_of(self._metric)
        if equal.estimate is None or keeps(budget, equal.loss, equal.estimate):
            return
        found, allowed = scale.against(equal.estimate.high, limit)
        wanted = decisions_for(limit) if limit > 0 else None
        if budget.confident is None:
            wanted = min(wanted or ENOUGH, ENOUGH)
        of_decisions = equal.estimate.unit == "decisions"
        enough = f"at least {wanted:,} decisions" if of_decisions else "more of them"
        send = "" if wanted is None else f"send runs with {enough} as `held_out`, "
        raise NothingToEvaluate(
            f"{counted(equal.estimate)} are too few: even if none of them differed, the 95 % "
            f"interval would reach {found}, where the budget allows {allowed}, so no model could "
            f"be shown to keep to it: {send}allow more, {remedy}"
        )

    def refuse_blind(self, network: GraphNetwork, unseen: Collection[str], budget: Budget) -> None:
        """Refuses a budget of quality that even the graph with all units masked would keep to.

        Args:
            network: the original.
            unseen: axes that stay as they are.
            budget: resolved.

        Raises:
            OutputsUnusable: when the masked graph keeps to the budget.
        """
        if budget.quality is None:
            return
        nothing = {
            axis: np.zeros(0, np.int64) for axis in network.declaration().axes if axis not in unseen
        }
        with temporary_file(network.masked_reference(nothing)) as path:
            found = self.quality(path, "the original with all its units masked")
        if found.loss <= budget.quality:
            scale = metric_format_of(self._metric)
            raise OutputsUnusable(
                "with every recurrent unit masked the graph is still "
                f"{scale.in_sentence(found.loss)}, which the budget of "
                f"{scale.loss(budget.quality).removeprefix('+')} allows: a destroyed model would "
                "pass. Set a smaller budget, another `metric`, or the `outputs` that depend on the "
                "recurrent layers"
            )


class OutputMetric(MeasuredMetric):
    """The change of a graph's outputs on held-out runs.

    Args:
        metric: one of `comparing.compared`.
        runs: the held-out runs, or streams of them.
        wanted: the original's outputs on them.
        names: the outputs that count.
        axes: their class axes; see `comparing.Axes`.
    """

    def __init__(
        self,
        metric: str,
        runs: Played,
        wanted: Sequence[Outputs],
        names: Sequence[str],
        axes: Axes,
    ) -> None:
        super().__init__(metric, runs)
        self._names, self._axes, self._wanted = list(names), axes, wanted

    @property
    def evaluated_outputs(self) -> dict[str, int | None]:
        """See `Provenance.evaluated_outputs`; an integer is a decision without a class axis."""
        if self._metric not in ("argmax", "cosine"):
            return dict.fromkeys(self._names)
        whole = [
            name
            for name in self._names
            if self._metric == "argmax" and self._wanted[0][name].dtype.kind in "iub"
        ]
        return {name: None if name in whole else self._axes.get(name, -1) for name in self._names}

    @cached_property
    def equal(self) -> Quality:
        """See `MeasuredMetric`."""
        return self.of(self._wanted, self._wanted)

    @property
    def doubt(self) -> str | None:
        """See `QualityMetric`: the outputs may have too few rows."""
        if self.equal.estimate is not None:
            return None
        rows = max(
            sum(rows_of(run[name], self._axes.get(name, -1)) for run in self._wanted)
            for name in self._names
        )
        return (
            f"quality is evaluated on {rows} row{'' if rows == 1 else 's'} of outputs, too few for "
            f"a confidence interval: at least {MIN_BLOCKS} are needed"
        )

    def quality(self, graph: Path, which: str = "a compressed graph") -> Quality:
        """Runs a file and evaluates its outputs; see `QualityMetric`.

        Args:
            graph: the file.
            which: what it is; not used here.
        """
        return self.of(played(GraphSession(graph), self._runs), self._wanted)

    def of(self, found: Sequence[Outputs], wanted: Sequence[Outputs]) -> Quality:
        """Evaluates outputs of all runs, or of others where they are no streams.

        Args:
            found: outputs of every run, by name.
            wanted: the original's.
        """
        together = self._runs.lengths if isinstance(self._runs, Streams) else None
        each = compared(self._metric, found, wanted, self._names, self._axes, together)
        return Quality(each.value, self.loss(each.value), each.estimate)

    def loss(self, value: float) -> float:
        """The loss of a value; the value is relative to the original by itself."""
        return loss_of(self._metric, value)


class CommandMetric:
    """The number that the operator's evaluation command prints.

    The original is evaluated first, so that a command that fails on it ends the job at once.

    Args:
        evaluator: runs the command.
        original: the uploaded file.
    """

    costly, doubt, way, as_streams = True, None, "", False
    evaluated_outputs: ClassVar[dict[str, int | None]] = {}

    def __init__(self, evaluator: Evaluator, original: Path) -> None:
        self._evaluator, self._path = evaluator, original

    @cached_property
    def _original(self) -> float:
        """The value of the original; takes as long as the command."""
        found = self._evaluator.value(self._path, "the original")
        self._evaluator.loss(found, found)
        return found

    @property
    def description(self) -> str:
        """See `QualityMetric`."""
        return self._evaluator.description

    def quality(self, graph: Path, which: str = "a compressed graph") -> Quality:
        """Runs the command on a file; its number has no interval. See `QualityMetric`.

        Args:
            graph: the file.
            which: what it is, for messages of errors.
        """
        value = self._evaluator.value(graph, which)
        return Quality(value, self.loss(value))

    def loss(self, value: float) -> float:
        """See `Evaluator.loss`."""
        return self._evaluator.loss(value, self._original)

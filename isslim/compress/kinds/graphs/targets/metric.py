"""The quality of a graph's files by a metric on targets that were recorded beside the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.compress.contract import Quality
from isslim.compress.errors import NothingToEvaluate
from isslim.compress.kinds.graphs.comparing import Outputs
from isslim.compress.kinds.graphs.quality_metrics import MeasuredMetric
from isslim.compress.kinds.graphs.streams import Played, Streams, played
from isslim.compress.kinds.graphs.targets.deciding import F1, Accuracy
from isslim.compress.kinds.graphs.targets.decoding import CtcErrorRate
from isslim.compress.kinds.graphs.targets.labelling import Labelling
from isslim.compress.kinds.graphs.targets.measure import Answers, Measure
from isslim.compress.kinds.graphs.targets.scoring import Auc, SquaredError
from isslim.runtime.graphs.recorded_inputs import GraphSession

MEASURES: dict[str, type[Measure]] = {
    "accuracy": Accuracy,
    "f1_binary": F1,
    "f1_macro": F1,
    "auc": Auc,
    "target_squared_error": SquaredError,
    "ctc_error_rate": CtcErrorRate,
}


class TargetMetric(MeasuredMetric):
    """A metric on the targets of held-out runs.

    Args:
        labelling: what targets mean.
        runs: the held-out runs, or streams of them.
        targets: of each run; None where it has none.
        graph: a session of the original.
        carries: whether its caller passes states from run to run.

    Raises:
        NothingToEvaluate: when the targets are too few, or of one class where two are compared.
    """

    def __init__(
        self,
        labelling: Labelling,
        runs: Played,
        targets: Sequence[NDArray[Any] | None],
        graph: GraphSession,
        carries: bool,
    ) -> None:
        super().__init__(labelling.metric, runs)
        self._labelling, self._carries = labelling, carries
        self._runs_sent = len(targets)
        self._places = [place for place, target in enumerate(targets) if target is not None]
        known = [target for target in targets if target is not None]
        self._measure = MEASURES[labelling.metric](labelling, known, self._together())
        lacking = self._measure.missing() if known else "have none"
        if lacking is not None:
            name = f"target:{labelling.output}"
            raise NothingToEvaluate(
                f"`{labelling.metric}` needs targets of the output {labelling.output}, and those "
                f"of the held-out runs {lacking}: record `{name}` beside the inputs of the runs "
                "that quality is evaluated on"
            )
        outputs = self._labelled(played(graph, runs, [labelling.output]))
        self._whole = self._measure.answers(outputs)
        self._original = self._measure.value(self._whole)
        self._by_number = all(map(labelling.by_number, known, outputs))
        if labelling.metric == "target_squared_error" and not self._original > 0:
            raise NothingToEvaluate(
                "the outputs of the original equal the targets, so no relative change of the error "
                "can be computed: send targets from elsewhere, or use `mean_squared_error`, which "
                "compares with the original's outputs"
            )

    @property
    def evaluated_outputs(self) -> dict[str, int | None]:
        """See `Provenance.evaluated_outputs`."""
        return {self._labelling.output: None if self._by_number else self._labelling.axis}

    @property
    def way(self) -> str:
        """See `QualityMetric`."""
        count = len(self._places)
        share = "all" if count == self._runs_sent else f"{count} of them"
        alone = (
            ", each from its recorded states (the option `stream` takes them as one stream)"
            if self._carries and not self.as_streams
            else ""
        )
        return f", {share} with targets{super().way}{alone}"

    @cached_property
    def equal(self) -> Quality:
        """See `MeasuredMetric`."""
        return self._compared(self._whole)

    @property
    def doubt(self) -> str | None:
        """See `QualityMetric`."""
        if self.equal.estimate is not None:
            return None
        count, unit = self._measure.count, self._measure.unit
        return (
            f"quality is evaluated on {count} {unit if count != 1 else unit.removesuffix('s')}, "
            "too few for a confidence interval, or of a class with too few cases"
        )

    def quality(self, graph: Path, which: str = "a compressed graph") -> Quality:
        """Runs a file and evaluates its outputs; see `QualityMetric`.

        Args:
            graph: the file.
            which: what it is; not used here.
        """
        outputs = played(GraphSession(graph), self._runs, [self._labelling.output])
        return self._compared(self._measure.answers(self._labelled(outputs)))

    def loss(self, value: float) -> float:
        """How much worse than the original's a value is."""
        return self._measure.loss(value, self._original)

    def _compared(self, answers: Answers) -> Quality:
        value = self._measure.value(answers)
        return Quality(value, self.loss(value), self._measure.estimate(answers, self._whole))

    def _together(self) -> list[int] | None:
        """Of every stream, how many of its runs have targets."""
        if not isinstance(self._runs, Streams):
            return None
        ends = np.cumsum([0, *self._runs.lengths])
        return [sum(a <= place < b for place in self._places) for a, b in pairwise(ends)]

    def _labelled(self, outputs: Sequence[Outputs]) -> list[NDArray[Any]]:
        """Of the runs that have targets, the output that these are of."""
        return [outputs[place][self._labelling.output] for place in self._places]

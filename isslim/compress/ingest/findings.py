"""Collects what is known of an upload, so that a refusal can report what was understood."""

from __future__ import annotations

from typing import Any

from isslim.compress.ingest.reading import IngestReport
from isslim.compress.pruning import axes
from isslim.compress.pruning.network import Network
from isslim.types.inspection import Inspection, LayerRecord, TextRecord
from isslim.types.manifest import Task
from isslim.types.problem import Problem
from isslim.types.wording import RANDOM

MUCH_UNKNOWN = 0.1
"""Share of a text's tokens above which unknown ones are warned of: Penn Treebank has 5 %, a wrong
vocabulary most of them."""


class Findings:
    """Gathers an inspection."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def add(self, **known: Any) -> None:
        """Adds fields of `Inspection`; one that was known is replaced."""
        self._known |= known

    def network(self, kind: Task, network: Network, reading: IngestReport) -> None:
        """Adds what a network is.

        Args:
            kind: what it does.
            network: as it was read.
            reading: what was made of the upload.
        """
        declaration = network.declaration()
        self.add(
            kind=kind,
            architecture=network.architecture,
            layout=reading.recognised,
            dropped=list(reading.dropped),
            assumed=list(reading.assumed),
            layers=[
                LayerRecord(name=name, size=size, may_shrink=True)
                for name, size in declaration.axes.items()
            ],
            parameters=axes.parameters(declaration),
            mult_adds=axes.mult_adds(declaration),
        )

    def understood(self) -> Inspection:
        """The inspection of an upload that a job can be begun with."""
        return Inspection(understood=True, **self._known | {"warnings": self._warnings()})

    def refused(self, problem: Problem) -> Inspection:
        """The inspection of an upload that a job would end with `problem` for."""
        return Inspection(
            understood=False, problem=problem, **self._known | {"warnings": self._warnings()}
        )

    def _warnings(self) -> list[str]:
        known = self._known
        warnings: list[str] = [*known.get("warnings", [])]
        texts: list[TextRecord] = known.get("texts", [])
        if known.get("random_inputs"):
            warnings.append(f"no inputs were sent: a job would calibrate and evaluate on {RANDOM}")
        if known.get("not_evaluated"):
            warnings.append(f"quality would not be evaluated: {known['not_evaluated']}")
        warnings += [
            f"{text.unknown_share:.0%} of the {text.tokens:,} tokens of `{text.field}` are not in "
            "the vocabulary"
            for text in texts
            if text.unknown_share > MUCH_UNKNOWN
        ]
        return warnings

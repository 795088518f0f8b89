"""Runs of a graph on a request's arrays, run again by two models to compare their outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.runtime.graphs.model import LoadedGraph
from isslim.runtime.graphs.recorded_inputs import NamedArrays
from isslim.runtime.graphs.subprocess_session import SubprocessGraphSession
from isslim.service.serving.batching import Job, Run
from isslim.service.serving.repeatable import Outcome, Repeatable
from isslim.service.serving.runners import GraphRunner
from isslim.types.quality import output_change

MOST_BYTES = 2**22
"""Of the inputs of a run that is compared: they are kept until it was."""


@dataclass(frozen=True)
class ArrayOutcome(Outcome):
    """What is compared of the outputs of a run.

    Attributes:
        outputs: by name.
    """

    outputs: NamedArrays

    def compared(self, own: Outcome) -> tuple[float, float, float]:
        """No difference; the change of the outputs, the largest of them; the same decisions.

        Args:
            own: the outcome of what the alias points at.

        Returns:
            The change is infinite where the outputs are of other names or shapes, or have numbers
            that are not finite.
        """
        assert isinstance(own, ArrayOutcome)
        shapes = {name: array.shape for name, array in self.outputs.items()}
        if shapes != {name: array.shape for name, array in own.outputs.items()}:
            return 0.0, np.inf, 0.0
        pairs = [
            (self.outputs[name], wanted)
            for name, wanted in own.outputs.items()
            if wanted.dtype.kind in "biuf" and wanted.size
        ]
        change = max((output_change([pair]) for pair in pairs), default=0.0)
        same = [one == other for each in pairs for one, other in [decisions(*each)]]
        alike = np.concatenate(same, axis=None) if same else np.ones(1)
        return 0.0, change if np.isfinite(change) else np.inf, float(alike.mean())


def decisions(found: NDArray[Any], wanted: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """What a caller would make of two arrays of one shape.

    Integers are decisions. Of floating-point numbers it is the index of the largest along the last
    axis; where that has one number, whether it is above a half, if all of both arrays lie between 0
    and 1, or else above 0.

    Args:
        found: an output.
        wanted: the same of what it is compared with.
    """
    both = (found, wanted)
    if wanted.dtype.kind != "f":
        return iter(both)
    if wanted.ndim and wanted.shape[-1] > 1:
        return (each.argmax(axis=-1) for each in both)
    are_shares = all(each.min() >= 0 and each.max() <= 1 for each in both)
    return (each > (0.5 if are_shares else 0.0) for each in both)


def repeatable_run(inputs: NamedArrays, outputs: Sequence[str], device: str) -> Repeatable | None:
    """How a run is repeated; None: its inputs are too large to be kept for that.

    Args:
        inputs: of the run.
        outputs: names of those that were asked for.
        device: where.
    """
    if sum(array.nbytes for array in inputs.values()) > MOST_BYTES:
        return None

    def run(_: LoadedGraph, process: SubprocessGraphSession) -> Job[Outcome]:
        asked = process.checked(inputs), process.named(outputs)
        (done,) = yield [Run(GraphRunner(process), asked, 1.0)]
        found, milliseconds = done.output
        return ArrayOutcome(None, (), milliseconds, found)

    return Repeatable(LoadedGraph, device, run, in_own_process=True)

"""Recorded runs of a graph: read or drawn, to observe and to judge on; and what a graph makes of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from compress.errors import RunsUnusable
from compress.graphs.drawn import drawn_runs
from compress.graphs.tracing import Trace
from compress.tasks.comparing import Outputs
from runtime.errors import InputsRefused
from runtime.samples import AnyGraph, Inputs, read_runs

DRAWN_RUNS = 24


@dataclass(frozen=True)
class Recorded:
    """Runs to observe and to judge on, a line on the origin of each, and whether they were drawn."""

    calibration: list[Inputs]
    held_out: list[Inputs]
    calibration_origin: str
    held_out_origin: str
    random: bool = False

    @property
    def all(self) -> list[Inputs]:
        """Every run once."""
        return list({id(run): run for run in (*self.calibration, *self.held_out)}.values())


def recorded_runs(
    graph: AnyGraph, trace: Trace, calibration: Path | None, held_out: Path | None, seed: int
) -> Recorded:
    """The runs of a job.

    Args:
        graph: as it was uploaded.
        trace: what is known of it.
        calibration: npz; None: drawn where the other is not given either.
        held_out: npz; None: the last fifth of the others.
        seed: of what is drawn.

    Raises:
        RunsUnusable: when they are not of the graph, or none can be drawn.
    """
    observed, judged = (None if path is None else _read(graph, path) for path in (calibration, held_out))
    if judged is not None:
        seen = observed or judged
        return Recorded(seen, judged, f"uploaded inputs ({len(seen)} runs)", f"uploaded inputs ({len(judged)} runs)")
    if observed is None:
        return _drawn(graph, trace, seed)
    cut = len(observed) * 4 // 5
    if not cut:
        return Recorded(
            observed, observed, "uploaded inputs (1 run)", "the one uploaded run, which was observed as well"
        )
    told = f"the last fifth of the uploaded inputs, used for nothing else ({len(observed) - cut} runs)"
    return Recorded(observed[:cut], observed[cut:], f"uploaded inputs ({cut} runs)", told)


def outputs_of(graph: AnyGraph, runs: Sequence[Inputs]) -> list[Outputs]:
    """What a graph makes of runs.

    Raises:
        RunsUnusable: when it cannot be run on one.
    """
    try:
        return [graph.run(run) for run in runs]
    except InputsRefused as refused:
        raise RunsUnusable(f"the graph cannot be run on its inputs: {refused.issues[0]}", refused.issues) from refused


@contextmanager
def opened(model: ModelProto, *, optimized: bool = True) -> Iterator[AnyGraph]:
    """A graph in memory, opened; its file is gone afterwards."""
    with written(model) as path:
        yield AnyGraph(path, optimized=optimized)


@contextmanager
def written(model: ModelProto) -> Iterator[Path]:
    """A graph in memory as a file, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="graph-") as folder:
        path = Path(folder) / "graph.onnx"
        path.write_bytes(model.SerializeToString())
        yield path


def _drawn(graph: AnyGraph, trace: Trace, seed: int) -> Recorded:
    try:
        runs = drawn_runs(trace, graph, 2 * DRAWN_RUNS, seed)
    except InputsRefused as refused:
        raise RunsUnusable(
            "no inputs were sent, and the graph cannot be run on ones drawn to its declared types and shapes: send "
            "`calibration`, an npz of recorded inputs",
            refused.issues,
        ) from refused
    told = f"RANDOM inputs ({DRAWN_RUNS} runs)"
    return Recorded(runs[:DRAWN_RUNS], runs[DRAWN_RUNS:], told, told, random=True)


def _read(graph: AnyGraph, path: Path) -> list[Inputs]:
    try:
        return [graph.checked(run) for run in read_runs(path.read_bytes())]
    except InputsRefused as refused:
        raise RunsUnusable(
            f"the recorded inputs are not those of the graph: {refused.issues[0]}", refused.issues
        ) from refused

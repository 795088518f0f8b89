"""Graphs in memory as files and sessions, and what they make of runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from onnx import ModelProto

from isslim.compress.errors import RunsUnusable
from isslim.compress.kinds.graphs.comparing import Outputs
from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays


def outputs_of(
    graph: GraphSession, runs: Sequence[NamedArrays], names: Sequence[str] | None = None
) -> list[Outputs]:
    """What a graph makes of runs.

    Args:
        graph: opened.
        runs: of it.
        names: of the outputs that are wanted; None: all.

    Raises:
        RunsUnusable: when it cannot be run on one.
    """
    try:
        return [graph.run(run, names) for run in runs]
    except InputsRefused as refused:
        raise RunsUnusable(
            f"the graph cannot be run on its inputs: {refused.issues[0]}", refused.issues
        ) from refused


@contextmanager
def temporary_session(model: ModelProto, *, optimized: bool = True) -> Iterator[GraphSession]:
    """A graph in memory, opened; its file is gone afterwards."""
    with temporary_file(model) as path:
        yield GraphSession(path, optimized=optimized)


@contextmanager
def temporary_file(model: ModelProto) -> Iterator[Path]:
    """A graph in memory as a file, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="graph-") as folder:
        path = Path(folder) / "graph.onnx"
        path.write_bytes(model.SerializeToString())
        yield path

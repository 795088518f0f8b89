"""Graphs in memory as temporary files and sessions, and their outputs on runs."""

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
    """The outputs of a graph on runs.

    Args:
        graph: the session.
        runs: its inputs.
        names: of the outputs to compute; None: all.

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
    """A session of a graph in memory; its file is deleted afterwards.

    Args:
        model: the graph.
        optimized: whether ONNX Runtime's graph optimisations are on.
    """
    with temporary_file(model) as path:
        yield GraphSession(path, optimized=optimized)


@contextmanager
def temporary_file(model: ModelProto) -> Iterator[Path]:
    """A graph in memory as a file, which is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="graph-") as folder:
        path = Path(folder) / "graph.onnx"
        path.write_bytes(model.SerializeToString())
        yield path

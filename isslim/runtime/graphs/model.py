"""A graph's bundle, loaded into memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from isslim.runtime.bundle import LoadedModel
from isslim.runtime.graphs.latency import compare_graphs
from isslim.runtime.graphs.recorded_inputs import SAMPLES, GraphSession, NamedArrays, read_runs
from isslim.runtime.graphs.shapes import run_of_shape
from isslim.runtime.run_memory import bytes_of_units
from isslim.runtime.shape import Shape
from isslim.types.kinds.graphs import GRAPHS
from isslim.types.manifest import LatencyRecord, Manifest


class LoadedGraph(LoadedModel[GraphSession]):
    """A graph with any inputs and outputs, run as it is.

    Callers' inputs are run in a separate process (`isolation.py`); only those of the bundle are run
    in this one.
    """

    task = GRAPHS.name

    @classmethod
    def open_session(cls, path: Path, *, threads: int, device: str) -> GraphSession:
        """Any graph.

        Args:
            path: its file.
            threads: how many one run may use.
            device: one of `isslim.runtime.opening.devices()`.
        """
        return GraphSession(path, threads=threads, device=device)

    @classmethod
    def compare(
        cls, manifest: Manifest, sessions: Mapping[str, GraphSession], shape: Shape
    ) -> dict[str, LatencyRecord]:
        """Times sessions on one of the bundle's samples, adapted to the requested shape.

        Args:
            manifest: of their bundle.
            sessions: by the names of their variants; `original` among them.
            shape: of the run that is timed.
        """
        first = sessions["original"]
        runs = [first.checked(run) for run in read_runs(first.path.with_name(SAMPLES).read_bytes())]
        run, description = run_of_shape(
            first, runs, shape, random=manifest.provenance.random_inputs
        )
        return compare_graphs(sessions, run, description)

    @classmethod
    def run_bytes(cls, manifest: Manifest, shape: Shape) -> int:
        """Memory of its units where steps or sequences are requested.

        The recorded runs are known to fit: they were run before they were published.

        Args:
            manifest: of the bundle.
            shape: of the run.
        """
        if shape.steps is None and shape.batch is None:
            return 0
        primary = manifest.variants[0].primary_latency
        return bytes_of_units(manifest, shape.steps or primary.steps, shape.batch or primary.batch)

    def _warm(self, session: GraphSession) -> None:
        session.run(session.checked(self.first_inputs()))

    def first_inputs(self) -> NamedArrays:
        """The primary recorded run."""
        return read_runs(self._bundle.path(SAMPLES).read_bytes())[0]

"""A graph's bundle, loaded into memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from isslim.runtime.bundle import LoadedModel
from isslim.runtime.graphs.latency import compare_graphs
from isslim.runtime.graphs.recorded_inputs import SAMPLES, GraphSession, NamedArrays, read_runs
from isslim.runtime.graphs.shapes import run_of_shape
from isslim.runtime.graphs.subprocess_session import SubprocessGraphSession
from isslim.runtime.run_control import stopped_after
from isslim.runtime.run_memory import bytes_of_units
from isslim.runtime.shape import Shape
from isslim.store.folders import OpenBundle
from isslim.types.kinds.graphs import GRAPHS
from isslim.types.manifest import LatencyRecord, Manifest

WARM_SECONDS = 300.0
"""Time limit of a graph's first run in its own process."""


class LoadedGraph(LoadedModel[GraphSession]):
    """A graph with any inputs and outputs, run as it is.

    Callers' inputs are run in a separate process (`isolated`); only those of the bundle are run in
    this one.
    """

    task = GRAPHS.name

    def __init__(self, bundle: OpenBundle) -> None:
        super().__init__(bundle)
        self._isolated: dict[tuple[str, str, int], SubprocessGraphSession] = {}
        self._starting = threading.Lock()

    def isolated(
        self, variant: str, device: str, threads: int, memory_bytes: int
    ) -> SubprocessGraphSession:
        """The warmed process of a variant.

        Args:
            variant: its name.
            device: one of `isslim.runtime.opening.devices()`.
            threads: how many one run may use.
            memory_bytes: that a run may take.

        Raises:
            UnknownVariant: when there is none of that name.
            DeviceUnavailable: when the device is not there.
        """
        record, key = self.record(variant), (variant, device, threads)
        known = self._isolated.get(key)
        if known is not None:  # without the lock, which is held while another variant is started
            return known
        with self._starting:
            graph = self._isolated.get(key)
            if graph is None:
                path = self._bundle.path(record.file)
                graph = SubprocessGraphSession(
                    path, threads=threads, device=device, memory_bytes=memory_bytes
                )
                with stopped_after(WARM_SECONDS) as control:
                    graph.bound(control).run(graph.checked(self._sample()), list(graph.outputs))
                self._isolated[key] = graph
        return graph

    def is_isolated(self, variant: str, device: str, threads: int) -> bool:
        """Whether `isolated` returns without waiting for a process to start.

        Args:
            variant: its name.
            device: on which it runs.
            threads: how many one run may use.
        """
        return (variant, device, threads) in self._isolated

    @property
    def memory_bytes(self) -> int:
        """Bytes of the graphs open in this process and in its children."""
        beside = sum(self.record(variant).size_bytes for variant, _, _ in list(self._isolated))
        return super().memory_bytes + beside

    def close(self) -> None:
        """Ends the processes."""
        with self._starting:
            for graph in self._isolated.values():
                graph.close()
            self._isolated.clear()

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
        session.run(session.checked(self._sample()))

    def _sample(self) -> NamedArrays:
        return read_runs(self._bundle.path(SAMPLES).read_bytes())[0]

"""Row classifiers in ONNX Runtime: the session of a graph, and a bundle in memory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isslim.runtime import registry
from isslim.runtime.bundle import LoadedModel
from isslim.runtime.latency import time_in_turn
from isslim.runtime.opening import OrtSession
from isslim.runtime.shape import Shape
from isslim.types.manifest import LatencyRecord, Manifest
from tests.row_classifier.description import ROWS


class RowSession(OrtSession):
    """A graph from `rows` (N, D) to `scores` (N, C)."""

    @property
    def width(self) -> int:
        """D."""
        shape = self._ports()[0][0].shape or ()
        return int(shape[1] or 0)

    def run(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores (N, C) of rows (N, D)."""
        scores: NDArray[np.float32] = self._run(["scores"], {"rows": rows})[0]
        return scores


def compare(
    sessions: Mapping[str, RowSession], batch: int, pairs: int | None = None
) -> dict[str, LatencyRecord]:
    """Times sessions in turn on the same random rows."""
    width = next(iter(sessions.values())).width
    rows = np.random.default_rng(0).normal(size=(batch, width)).astype(np.float32)
    runs = {name: partial(session.run, rows) for name, session in sessions.items()}
    return time_in_turn(runs, sessions, (1, batch), pairs=pairs)


class LoadedRowClassifier(LoadedModel[RowSession]):
    """A row classifier's bundle in memory."""

    task = ROWS.name

    @classmethod
    def open_session(cls, path: Path, *, threads: int, device: str) -> RowSession:
        """A graph of the bundle."""
        return RowSession(path, threads=threads, device=device)

    @classmethod
    def compare(
        cls, manifest: Manifest, sessions: Mapping[str, RowSession], shape: Shape
    ) -> dict[str, LatencyRecord]:
        """On random rows."""
        return compare(sessions, shape.batch or 1)

    @classmethod
    def run_bytes(cls, manifest: Manifest, shape: Shape) -> int:
        """The hidden units of every row, in float32."""
        return 4 * (shape.batch or 1) * sum(manifest.variants[0].units)

    def _warm(self, session: RowSession) -> None:
        session.run(np.zeros((1, session.width), np.float32))


def register() -> None:
    """Makes the class known that opens such bundles."""
    registry.register(LoadedRowClassifier)

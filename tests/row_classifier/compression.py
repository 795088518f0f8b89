"""Reads uploaded row classifiers, and does with them what the stages of a job ask for."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from isslim.compress.contract import ModelTask, Origin, Quality
from isslim.compress.errors import TextUnusable, UnreadableUpload, VerificationFailed
from isslim.compress.export.int8_forms import EightBit, Form
from isslim.compress.kinds import registry
from isslim.compress.kinds.upload import KindReader, Upload
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning.axes import NetworkAxes
from isslim.compress.pruning.moments import ActivationStatistics, Moments
from isslim.compress.pruning.ranking import Pruned
from isslim.runtime.shape import Shape
from isslim.types.arrays import BadArrays, read_npz
from isslim.types.manifest import CheckRecord, LatencyRecord, PartRecord
from isslim.types.recipe import Recipe
from tests.row_classifier.description import ROWS
from tests.row_classifier.network import HIDDEN, NAMES, RowNetwork
from tests.row_classifier.runtime import RowSession, compare

MAGIC = "row-classifier-1"
"""An array of this name marks the file."""
TOLERANCE = 1e-5


class RowTask(ModelTask[RowNetwork]):
    """A classifier and the rows that it is calibrated and evaluated on.

    Args:
        original: the uploaded network.
        recipe: with a budget of this kind.
        rows: (N, D); the last fifth is held out for evaluation.
        labels: (N,), the classes.
    """

    task: ClassVar = ROWS.name
    usual_shapes = (Shape(1, 1), Shape(1, 64))
    metric = "row_accuracy"

    def __init__(
        self,
        original: RowNetwork,
        recipe: Recipe,
        rows: NDArray[np.float32],
        labels: NDArray[np.int64],
    ) -> None:
        self.original, self.recipe = original, recipe
        cut = len(rows) * 4 // 5
        self._observed, self._rows, self._labels = rows[:cut], rows[cut:], labels[cut:]
        held_out = f"the last fifth of the uploaded rows ({len(rows) - cut})"
        self.origin = Origin("a row classifier", f"uploaded rows ({cut})", held_out)

    def collect_activations(self, progress: ProgressCallback) -> ActivationStatistics:
        """What both layers read."""
        moments = {
            "hidden": Moments.of(self._observed),
            "output": Moments.of(self.original.hidden(self._observed)),
        }
        return ActivationStatistics(moments, len(self._observed))

    def evaluate(self, network: RowNetwork) -> Quality:
        """Accuracy on the held-out rows."""
        value, base = (self._accuracy(each.scores(self._rows)) for each in (network, self.original))
        return Quality(value, base - value)

    def verify_removal(self, before: RowNetwork, pruned: Pruned) -> CheckRecord:
        """The small network against the full-size one with removed units at zero."""
        small, masked = before.rebuilt(pruned.arrays), before.rebuilt(pruned.reference)
        return _checked(
            "pruned = masked reference", small.scores(self._rows), masked.scores(self._rows)
        )

    def export(self, network: RowNetwork, path: Path) -> None:
        """Writes the graph."""
        path.write_bytes(network.graph().SerializeToString())

    def verify_export(self, path: Path, network: RowNetwork, name: str) -> CheckRecord:
        """ONNX Runtime against NumPy."""
        found = RowSession(path).run(self._rows)
        return _checked(f"ONNX Runtime = NumPy ({name})", found, network.scores(self._rows))

    def quantize(self, network: RowNetwork, source: Path, target: Path, form: Form) -> EightBit:
        """Nothing takes 8 bits."""
        return EightBit([], [])

    def quick_loss(self, path: Path) -> float | None:
        """Error on the held-out rows."""
        return -self.measure(path)[self.metric]

    def measure(self, path: Path) -> dict[str, float]:
        """Accuracy in ONNX Runtime."""
        return {self.metric: self._accuracy(RowSession(path).run(self._rows))}

    def loss(self, metrics: Mapping[str, float], original: Mapping[str, float]) -> float:
        """By how much accuracy fell."""
        return original[self.metric] - metrics[self.metric]

    def compare(
        self, paths: Mapping[str, Path], shape: Shape, pairs: int | None = None
    ) -> dict[str, LatencyRecord]:
        """On random rows."""
        sessions = {name: RowSession(path) for name, path in paths.items()}
        return compare(sessions, shape.batch or 1, pairs)

    def parts(self, declaration: NetworkAxes) -> list[PartRecord]:
        """The two layers."""
        units, (_, width) = declaration.axes[HIDDEN], declaration.dimensions["hidden.weight"]
        inputs, classes = width[0].size, declaration.dimensions["output.bias"][0][0].size
        weights = units * inputs
        return [
            PartRecord(
                name="hidden",
                axis=HIDDEN,
                width=units,
                parameters=weights + units,
                mult_adds=weights,
            ),
            PartRecord(
                name="output",
                width=classes,
                parameters=classes * (units + 1),
                mult_adds=classes * units,
            ),
        ]

    def save_companions(self, folder: Path) -> None:
        """The graphs are all that the service needs."""

    def _accuracy(self, scores: NDArray[np.float32]) -> float:
        return float((scores.argmax(axis=1) == self._labels).mean())


def _checked(name: str, found: NDArray[np.float32], expected: NDArray[np.float32]) -> CheckRecord:
    error = float(np.abs(found - expected).max())
    if not error <= TOLERANCE:  # NaN fails too
        raise VerificationFailed(f"{name}: the largest difference is {error:.2e}")
    return CheckRecord(
        name=name, detail=f"scores of {len(found)} rows", error=error, tolerance=TOLERANCE
    )


class RowReader(KindReader):
    """Reads npz files that hold a row classifier."""

    def recognises(self, upload: Upload) -> bool:
        """Whether the file has the mark; no other upload is opened further."""
        path = upload.files.model
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as file:
            return f"{MAGIC}.npy" in file.namelist()

    def read(self, upload: Upload) -> RowTask:
        """The task of a classifier.

        Raises:
            CompressError: when the file or the rows cannot be read, or there are none.
        """
        files, recipe = upload.files, upload.recipe_of(ROWS)
        upload.found.add(kind=ROWS.name)
        arrays = _arrays(files.model, NAMES)
        if files.calibration is None:
            raise TextUnusable("send `calibration`, an npz with `rows` and their `labels`")
        data = _arrays(files.calibration, ("rows", "labels"))
        return RowTask(RowNetwork(arrays), recipe, data["rows"].astype(np.float32), data["labels"])


def _arrays(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    try:
        found = read_npz(path.read_bytes())
    except BadArrays as error:
        raise UnreadableUpload(f"the npz cannot be read: {error}") from error
    if missing := [name for name in names if name not in found]:
        raise UnreadableUpload(f"the npz has no {', '.join(missing)}")
    return {name: found[name] for name in names}


READER = RowReader()


def register() -> None:
    """Makes the reader known."""
    registry.register(READER)

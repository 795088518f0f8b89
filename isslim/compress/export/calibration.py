"""Ranges of activations on recorded runs, by the calibrators of ONNX Runtime."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto
from onnxruntime.quantization.calibrate import (
    CalibrationDataReader,
    CalibrationMethod,
    TensorsData,
    create_calibrator,
)

from isslim.compress.export.int8_forms import Ranges

_METHODS = {
    Ranges.DIVERGENCE: (CalibrationMethod.Entropy, {}),
    Ranges.MOST: (CalibrationMethod.Percentile, {"percentile": 99.99}),
    Ranges.ALL: (CalibrationMethod.MinMax, {}),
}
_ERRORS_ONLY = 3


class _One(CalibrationDataReader):  # type: ignore[misc]
    """A single run: of several together the calibrators want all shapes to be equal."""

    def __init__(self, run: Mapping[str, NDArray[Any]]) -> None:
        self._left = [run]

    def get_next(self) -> Mapping[str, NDArray[Any]] | None:
        return self._left.pop() if self._left else None


def ranges_of(
    model: ModelProto,
    operators: Sequence[str],
    runs: Sequence[Mapping[str, NDArray[Any]]],
    ranges: Ranges,
) -> TensorsData:
    """The range of everything that some operators read or give.

    Args:
        model: a float32 graph.
        operators: their types.
        runs: its inputs.
        ranges: how a range follows from the values.
    """
    method, options = _METHODS[ranges]
    # Warnings of theirs are about shapes that differ between runs.
    onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
    with (
        tempfile.TemporaryDirectory(prefix="calibration-") as folder,
        redirect_stdout(io.StringIO()),  # they print their progress
    ):
        path = Path(folder) / "graph.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(
            path,
            list(operators),
            Path(folder) / "observed.onnx",
            method,
            extra_options={"symmetric": False, **options},
        )
        for run in runs:
            calibrator.collect_data(_One(run))
        found: TensorsData = calibrator.compute_data()
    return found

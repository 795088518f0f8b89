"""Spectra as NSNet2 reads them."""

from __future__ import annotations

import numpy as np

from benchmarks.published.nsnet2 import log_power
from benchmarks.speech import speech


def test_runs_are_seconds_of_log_power_every_10_ms() -> None:
    (runs,) = log_power(lambda number: speech(12.0, number), range(1))
    assert [run["input"].shape[1] for run in runs] == [100, 150, 100, 150, 100, 150, 100, 149]
    assert {run["input"].shape[2] for run in runs} == {161}
    sound = speech(12.0, 0).sound
    # The second run begins at the frame 150; its third frame is the 153rd.
    frame = sound[152 * 160 : 152 * 160 + 320] * np.sqrt(np.hanning(320))
    spectrum = [
        abs(sum(frame * np.exp(-2j * np.pi * bin_ * np.arange(320) / 320))) for bin_ in (0, 9, 160)
    ]
    np.testing.assert_allclose(
        runs[1]["input"][0, 2, [0, 9, 160]], np.log10(np.square(spectrum)), atol=1e-3
    )

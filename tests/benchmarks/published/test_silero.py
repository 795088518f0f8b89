"""Sound in windows, and whether each is speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from benchmarks.published.silero import MODELS, SPEAKERS, chunks
from benchmarks.speech import RATE, Spoken, speech
from isslim.runtime.graphs.recorded_inputs import GraphSession
from tests.benchmarks.published.packages import FLOAT, INT, graph


def spoken(number: int) -> Spoken:
    return speech(3.0, number)


def test_windows_are_32_ms_and_hold_the_4_ms_before_them() -> None:
    (wide, narrow) = chunks(spoken, range(1), (16_000, 8_000))
    sound = spoken(0).sound
    assert len(wide) == len(narrow) == 3 * RATE // 512
    np.testing.assert_array_equal(wide[2]["input"][0], sound[2 * 512 - 64 : 3 * 512])
    np.testing.assert_array_equal(narrow[2]["input"][0], sound[::2][2 * 256 - 32 : 3 * 256])
    assert not wide[0]["input"][0, :64].any()
    assert [int(each[0]["sr"]) for each in (wide, narrow)] == [16_000, 8_000]


def test_target_is_whether_most_of_a_window_is_speech() -> None:
    (stream,) = chunks(spoken, range(1), (16_000,))
    voiced = spoken(0).voiced
    for index, run in enumerate(stream):
        most = np.count_nonzero(voiced[index * 512 : (index + 1) * 512]) > 256
        assert bool(run["target:output"][0, 0]) == most


def loudness(folder: Path) -> GraphSession:
    """Says 0.5 + the mean absolute value - 0.02, and returns its state as it is."""
    return graph(
        folder / "loud.onnx",
        [
            helper.make_node("Abs", ["input"], ["size"]),
            helper.make_node("ReduceMean", ["size"], ["mean"], axes=[1], keepdims=1),
            helper.make_node("Add", ["mean", "shift"], ["output"]),
            helper.make_node("Identity", ["state"], ["stateN"]),
            helper.make_node("Identity", ["sr"], ["unused"]),
        ],
        {
            "input": (FLOAT, ["batch", "samples"]),
            "state": (FLOAT, [2, "batch", 128]),
            "sr": (INT, []),
        },
        {"output": ["batch", 1], "stateN": [2, "batch", 128]},
        {"shift": np.array([0.48], np.float32)},
    )


def test_score_is_the_f1_of_windows_that_are_called_speech(tmp_path: Path) -> None:
    both = np.array([0, 0, 0])
    for number in range(200, 200 + SPEAKERS):
        said = spoken(number)
        padded = np.concatenate([np.zeros(64, np.float32), said.sound])
        for at in range(0, len(said.sound) - 511, 512):
            found = np.abs(padded[at : at + 576]).mean() > 0.02
            wanted = said.voiced[at : at + 512].mean() > 0.5
            both += [found and wanted, found, wanted]
    task = MODELS[1].task
    assert task is not None
    expected = 100 * 2 * both[0] / (both[1] + both[2])
    assert 50 < expected < 99
    assert task.score(loudness(tmp_path), spoken) == pytest.approx(expected, abs=1e-9)

"""Synthetic speech, and recordings in its place."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speech import RATE, recorded, speech


def test_sound_is_voice_and_noise_and_says_where_there_is_voice() -> None:
    said = speech(5.0, 7)
    assert len(said.sound) == len(said.voice) == len(said.voiced) == 5 * RATE
    assert not said.voice[~said.voiced].any()
    assert np.mean(said.voice[said.voiced] ** 2) > 10 * np.mean((said.sound - said.voice) ** 2)
    assert 0.3 < said.voiced.mean() < 0.95


def test_speakers_are_repeatable_and_differ() -> None:
    np.testing.assert_array_equal(speech(1.0, 3).sound, speech(1.0, 3).sound)
    assert np.abs(speech(1.0, 3).sound - speech(1.0, 4).sound).max() > 0.1


def written(path: Path, samples: np.ndarray, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, RATE, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def test_in_a_recording_loud_stretches_are_speech(tmp_path: Path) -> None:
    loud = np.sin(np.arange(RATE) / 5) * 0.5
    quiet = loud[: RATE // 2] * 10 ** (-36 / 20)
    said = recorded(written(tmp_path / "one.wav", np.concatenate([quiet, loud])))
    np.testing.assert_array_equal(said.sound, said.voice)
    assert len(said.voiced) == len(said.sound)
    assert not said.voiced[: RATE // 2 - 480].any()
    assert said.voiced[RATE // 2 :].all()


def test_a_recording_of_another_form_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "two.wav", np.zeros(20), channels=2)
    with pytest.raises(ValueError, match="is no mono 16-bit wav of 16000 Hz"):
        recorded(path)

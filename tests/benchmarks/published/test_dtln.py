"""Noise, and the whole denoiser around one of its graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from benchmarks.published import dtln
from benchmarks.speech import Spoken, speech
from isslim.runtime.graphs.recorded_inputs import GraphSession
from tests.benchmarks.published.packages import FLOAT, graph


def spoken(number: int) -> Spoken:
    return speech(3.0, number)


@pytest.mark.parametrize(("number", "ratio"), [(3, 0.0), (4, 5.0), (5, 10.0)])
def test_noise_is_as_loud_as_asked(number: int, ratio: float) -> None:
    voice = spoken(number).voice
    noise = dtln.noisy(spoken(number), number) - voice
    found = 10 * np.log10(np.mean(voice**2) / np.mean(noise**2))
    assert found == pytest.approx(ratio, abs=0.01)


def test_inputs_are_magnitudes_of_blocks_of_the_noisy_sound() -> None:
    (stream,) = dtln.magnitudes(spoken, range(1))
    sound = dtln.noisy(spoken(0), 0)
    wanted = np.abs(np.fft.rfft(sound[128 * 7 : 128 * 7 + 512]))
    np.testing.assert_allclose(stream[7]["input_2"][0, 0], wanted, rtol=1e-4, atol=1e-4)


def constant(folder: Path, names: tuple[str, str, str, str], width: int, value: float | None):
    """A graph that returns its input, or a value everywhere, and its state."""
    given, state, made, following = names
    scale = np.array([1.0 if value is None else 0.0], np.float32)
    shift = np.array([value or 0.0], np.float32)
    return graph(
        folder / f"{made}.onnx",
        [
            helper.make_node("Mul", [given, "scale"], ["scaled"]),
            helper.make_node("Add", ["scaled", "shift"], [made]),
            helper.make_node("Identity", [state], [following]),
        ],
        {given: (FLOAT, [1, 1, width]), state: (FLOAT, [1, 2, 128, 2])},
        {made: [1, 1, width], following: [1, 2, 128, 2]},
        {"scale": scale, "shift": shift},
    )


def denoisers(folder: Path, mask: float) -> tuple[GraphSession, GraphSession]:
    first = ("input_2", "input_3", "activation_2", "tf_op_layer_stack_2")
    second = ("input_4", "input_5", "conv1d_3", "tf_op_layer_stack_5")
    return constant(folder, first, 257, mask), constant(folder, second, 512, None)


def test_a_mask_of_one_half_returns_half_the_sound_four_times_over(tmp_path: Path) -> None:
    sound = spoken(1).sound[:20_000]
    found = dtln.denoised(*denoisers(tmp_path, 0.5), sound)
    inner = slice(512, len(found) - 512)
    # Four blocks overlap everywhere, and each is half of the sound.
    np.testing.assert_allclose(found[inner], 2 * sound[: len(found)][inner], atol=1e-5)


def test_score_is_that_of_the_noise_where_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = denoisers(tmp_path, 1.0)
    monkeypatch.setattr(dtln, "file_of", lambda package, file: second.path)
    task = dtln.MODELS[0].task
    assert task is not None
    # 0, 5 and 10 dB in turn; the mean of six speakers. Cutting the ends changes it a little.
    assert task.score(first, spoken) == pytest.approx(5.0, abs=0.7)

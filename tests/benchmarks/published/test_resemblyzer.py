"""The speaker encoder: its graph, its spectra, its score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.published import resemblyzer
from benchmarks.published.resemblyzer import VoiceEncoder, bands, mel_spectrum, voices, written
from benchmarks.speech import Spoken, speech
from isslim.runtime.graphs.recorded_inputs import GraphSession


def spoken(number: int) -> Spoken:
    return speech(6.0, number)


@pytest.fixture
def encoder(tmp_path: Path) -> tuple[VoiceEncoder, GraphSession]:
    """A made-up checkpoint of the package's layout, and its graph."""
    torch.manual_seed(0)
    module = VoiceEncoder(units=12, layers=2)
    state = {**module.state_dict(), "similarity_weight": torch.ones(1)}
    torch.save({"step": 1, "model_state": state}, tmp_path / "pretrained.pt")
    written(tmp_path / "pretrained.pt", tmp_path / "graph.onnx")
    return module, GraphSession(tmp_path / "graph.onnx")


def test_graph_returns_the_direction_of_the_last_state(
    encoder: tuple[VoiceEncoder, GraphSession],
) -> None:
    module, graph = encoder
    mels = np.random.default_rng(0).random((3, 50, 40)).astype(np.float32)
    with torch.no_grad():
        _, (states, _) = module.lstm(torch.from_numpy(mels))
        raw = torch.relu(module.linear(states[-1])).numpy()
    found = graph.run({"mels": mels})["embedding"]
    np.testing.assert_allclose(found, raw / np.sqrt((raw**2).sum(1))[:, None], atol=1e-5)


def test_bands_are_triangles_between_frequencies_that_are_even_in_mels() -> None:
    found = bands()
    assert found.shape == (40, 201)
    # Slaney: 66.67 Hz a mel up to 1000 Hz; 8000 Hz are 45.25 mels, so that a step is 1.104 mels.
    step = (15 + 27 * np.log(8) / np.log(6.4)) / 41
    edges = [
        mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)
        for mel in step * np.arange(42)
    ]
    for band, frequency in ((0, 80.0), (10, 800.0), (30, 3600.0), (39, 7600.0)):
        low, middle, high = edges[band : band + 3]
        height = 2 / (high - low)
        inside = min((frequency - low) / (middle - low), (high - frequency) / (high - middle))
        assert found[band, round(frequency / 40)] == pytest.approx(
            max(0.0, inside) * height, abs=1e-9
        )


def test_a_tone_is_in_the_bands_around_it() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32)
    mels = mel_spectrum(tone)
    assert mels.shape == (101, 40)
    # 440 Hz are 6.6 mels, and the middle of the band n is at (n + 1) * 1.104 mels.
    assert {int(row.argmax()) for row in mels[5:-5]} == {5}


def test_runs_are_second_and_a_half_without_pauses() -> None:
    streams = voices(spoken, range(2))
    seconds = [spoken(number).voiced.mean() * 6.0 for number in range(2)]
    assert [len(stream) for stream in streams] == [int((each + 0.01) / 1.6) for each in seconds]
    assert {run["mels"].shape for stream in streams for run in stream} == {(1, 160, 40)}


def test_quiet_voices_are_raised_and_loud_ones_left() -> None:
    said = spoken(0)
    quiet = Spoken(said.sound * 1e-3, said.voice, said.voiced)
    (loud,), (raised,) = voices(lambda _: said, range(1)), voices(lambda _: quiet, range(1))
    levels = [float(np.mean([run["mels"].mean() for run in each])) for each in (loud, raised)]
    assert levels[0] > levels[1] > 1e-3 * levels[0]


def test_score_is_the_auc_of_all_pairs(encoder: tuple[VoiceEncoder, GraphSession]) -> None:
    _, graph = encoder
    found = [
        (number, graph.run(run)["embedding"][0])
        for number, stream in zip(range(200, 224), voices(spoken, range(200, 224)), strict=True)
        for run in stream
    ]
    same, other = list[float](), list[float]()
    for place, (one, first) in enumerate(found):
        for another, second in found[place + 1 :]:
            (same if one == another else other).append(float(first @ second))
    wanted = np.mean([(one > each) + (one == each) / 2 for one in same for each in other])
    task = resemblyzer.MODELS[0].task
    assert task is not None
    assert task.score(graph, spoken) == pytest.approx(100 * wanted, abs=0.01)

"""resemblyzer: whose voice is it? Three LSTMs over mel spectra, from the weights in the package."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.published.exporting import export
from benchmarks.published.metrics import auc
from benchmarks.published.model import SCORED_FROM, Published, Speakers, Streams, Task
from benchmarks.speech import RATE, Spoken
from isslim.runtime.graphs.recorded_inputs import GraphSession

WINDOW, HOP, BANDS = 400, 160, 40
FRAMES = 160
"""Of one run: 1.6 s."""
LOUDNESS = -30.0
"""dB of full scale that quieter sound is raised to."""
OUTPUT = "embedding"
TURN = 0.02
"""1 - cosine between embeddings, that the budget allows: the made-up voices are so alike that any
change is large beside their differences."""


class VoiceEncoder(nn.Module):
    """A direction in 256 dimensions for a voice.

    Args:
        units: of each of the layers.
        layers: how many LSTMs.
    """

    def __init__(self, units: int = 256, layers: int = 3) -> None:
        super().__init__()
        self.lstm = nn.LSTM(BANDS, units, layers, batch_first=True)
        self.linear = nn.Linear(units, units)

    def forward(self, mels: Tensor) -> Tensor:
        """From (batch, frames, bands) to (batch, units)."""
        raw = torch.relu(self.linear(self.lstm(mels)[0][:, -1]))
        embedding: Tensor = raw / torch.linalg.vector_norm(raw, dim=1, keepdim=True)
        return embedding


def written(weights: Path, graph: Path) -> None:
    """Writes the graph.

    Args:
        weights: `pretrained.pt` of the package.
        graph: the file to write.
    """
    arrays = torch.load(weights, map_location="cpu", weights_only=True)["model_state"]
    arrays = {name: array for name, array in arrays.items() if name[:10] != "similarity"}
    layers = sum(name.startswith("lstm.weight_hh") for name in arrays)
    module = VoiceEncoder(arrays["linear.weight"].shape[0], layers)
    module.load_state_dict(arrays)
    free = {"mels": ("batch", "frames", None), OUTPUT: ("batch", None)}
    export(module, (torch.zeros(1, FRAMES, BANDS),), graph, free)


def voices(speakers: Speakers, numbers: range) -> Streams:
    """Mel spectra of 1.6 s, without pauses, one after the other.

    Args:
        speakers: by number.
        numbers: which of them.
    """
    streams = []
    for number in numbers:
        mels = mel_spectrum(_spoken(speakers(number)))
        starts = range(0, len(mels) - FRAMES + 1, FRAMES)
        streams.append([{"mels": mels[None, at : at + FRAMES]} for at in starts])
    return streams


def mel_spectrum(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """Power in 40 mel bands, every 10 ms, (frames, bands); as librosa computes it.

    Args:
        sound: samples of 16 kHz.
    """
    padded = np.pad(sound, WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    window = np.hanning(WINDOW + 1)[:-1]
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    return np.asarray(power @ bands().T, np.float32)


@cache
def bands() -> NDArray[np.float64]:
    """Triangles of equal area, even on the mel scale of Slaney's toolbox, (bands, bins)."""
    mels = np.linspace(0, _to_mel(RATE / 2), BANDS + 2)
    # Linear up to 1 kHz, which is 15 mels, and logarithmic from there on.
    edges = np.where(mels < 15, 200 / 3 * mels, 1000 * 6.4 ** ((mels - 15) / 27))
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    area = 2 / (edges[2:] - edges[:-2])
    return np.asarray(np.maximum(0, np.minimum(rising, falling)) * area[:, None])


def _to_mel(frequency: float) -> float:
    return float(15 + 27 * np.log(frequency / 1000) / np.log(6.4))


def _spoken(spoken: Spoken) -> NDArray[np.float32]:
    """Without pauses, at least as loud as the encoder was trained on."""
    sound = spoken.sound[spoken.voiced]
    level = 20 * np.log10(np.sqrt(np.mean(sound**2)))
    return np.asarray(sound * 10 ** (max(LOUDNESS - level, 0.0) / 20), np.float32)


def _score(graph: GraphSession, speakers: Speakers) -> float:
    """Of all pairs of runs, by the cosine of their embeddings."""
    streams = voices(speakers, range(SCORED_FROM, SCORED_FROM + 24))
    found = np.array([graph.run(run)[OUTPUT][0] for stream in streams for run in stream])
    speaker = np.repeat(np.arange(len(streams)), [len(stream) for stream in streams])
    one, other = np.triu_indices(len(found), 1)
    return auc((found[one] * found[other]).sum(1), speaker[one] == speaker[other])


MODELS = (
    Published(
        "Resemblyzer",
        "resemblyzer/pretrained.pt",
        voices,
        Task(
            "AUC of same or other speaker, points of 100",
            "higher",
            "which speaker the sound was made as",
            _score,
        ),
        ("cosine", TURN),
        written=written,
        calibration=range(60),
        held_out=range(100, 112),
    ),
)

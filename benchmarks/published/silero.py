"""silero-vad: is it speech? Two of its graphs, as streams."""

from __future__ import annotations

import numpy as np

from benchmarks import speech
from benchmarks.published.metrics import f1
from benchmarks.published.model import EQUAL, SCORED_FROM, Published, Speakers, Streams, Task
from benchmarks.published.playing import answers
from isslim.runtime.graphs.recorded_inputs import TARGET, GraphSession

STATES = {"state": ("stateN", (2, 1, 128))}
SPEAKERS = 24
"""That F1 is of: of 6 of them it differs by 0.3 points from that of 24 others."""


def chunks(speakers: Speakers, numbers: range, rates: tuple[int, ...]) -> Streams:
    """32 ms with the 4 ms before them; the target is whether most of them are speech.

    Args:
        speakers: by number.
        numbers: which of them.
        rates: of samples, Hz: 16000 or 8000.
    """
    streams = []
    for number in numbers:
        spoken = speakers(number)
        for rate in rates:
            step = speech.RATE // rate
            sound, voiced = spoken.sound[::step], spoken.voiced[::step]
            count = 512 * rate // speech.RATE
            before = count // 8
            padded = np.concatenate([np.zeros(before, np.float32), sound])
            streams.append(
                [
                    {
                        "input": padded[None, at : at + before + count],
                        "sr": np.array(rate, np.int64),
                        f"{TARGET}output": np.array(
                            [[voiced[at : at + count].mean() > 0.5]], np.int64
                        ),
                    }
                    for at in range(0, len(sound) - count + 1, count)
                ]
            )
    return streams


def _task(rates: tuple[int, ...]) -> Task:
    def score(graph: GraphSession, speakers: Speakers) -> float:
        """F1 of speech, each speaker from a state of zero."""
        streams = chunks(speakers, range(SCORED_FROM, SCORED_FROM + SPEAKERS), rates)
        pairs = []
        for stream in answers(STATES, graph, streams, "output"):
            found = np.array([output.item() for output, _ in stream])
            wanted = np.array([target.item() for _, target in stream])
            pairs.append((np.flatnonzero(found > 0.5).tolist(), np.flatnonzero(wanted).tolist()))
        return f1(pairs)

    return Task(
        "F1 of speech, points of 100", "higher", "where the sound was made of speech", score
    )


def _model(file: str, rates: tuple[int, ...]) -> Published:
    return Published(
        "silero-vad",
        f"silero_vad/data/{file}",
        lambda speakers, numbers: chunks(speakers, numbers, rates),
        _task(rates),
        ("f1_binary", EQUAL),
        states=STATES,
        calibration=range(24),
        held_out=range(100, 109),
    )


MODELS = (
    _model("silero_vad.onnx", (16_000, 8_000)),
    _model("silero_vad_16k_op15.onnx", (16_000,)),
)

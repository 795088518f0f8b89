"""Corpora: of this Python's documentation, of a folder, plain or compressed."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from isslim.compress.kinds.language.corpus import build_vocabulary, load_corpus


def test_documentation_is_divided_line_by_line_without_overlap() -> None:
    corpus = load_corpus("pydoc")
    train, valid, test = (
        set(each.splitlines()) for each in (corpus.train, corpus.valid, corpus.test)
    )
    assert not train & valid
    assert not train & test
    assert not valid & test
    assert 0.89 < len(train) / (len(train) + len(valid) + len(test)) < 0.91
    assert all(line == line.lower() and line.count(" ") >= 4 for line in valid)
    assert load_corpus("pydoc") == corpus


def test_a_folder_is_a_corpus_plain_or_compressed(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("the cat\n")
    (tmp_path / "valid.txt.xz").write_bytes(lzma.compress(b"the dog\n"))
    with pytest.raises(FileNotFoundError, match=r"test\.txt and test\.txt\.xz beside it"):
        load_corpus(str(tmp_path))
    (tmp_path / "test.txt").write_text("the end\n")
    corpus = load_corpus(str(tmp_path))
    assert (corpus.train, corpus.valid, corpus.test) == ("the cat\n", "the dog\n", "the end\n")


def test_vocabulary_is_by_frequency_then_alphabet_and_always_holds_the_unknown_token() -> None:
    text = "b b a a c\nd b\n"
    assert build_vocabulary(text, 10) == ["b", "<eos>", "a", "c", "d", "<unk>"]
    assert build_vocabulary(text, 3) == ["b", "<eos>", "<unk>"]
    assert build_vocabulary("<unk> <unk> a\n", 2) == ["<unk>", "<eos>"]

"""Corpora: of this Python's documentation, of a folder, plain or compressed."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from isslim.compress.kinds.language.corpus import build_vocabulary, load_corpus


@pytest.mark.slow
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
    with pytest.raises(
        FileNotFoundError, match=r"lacks test\.txt; train\.txt, valid\.txt and test"
    ):
        load_corpus(str(tmp_path))
    (tmp_path / "test.txt").write_text("the end\n")
    corpus = load_corpus(str(tmp_path))
    assert (corpus.train, corpus.valid, corpus.test) == ("the cat\n", "the dog\n", "the end\n")


def test_a_folder_with_the_names_of_penn_treebank_is_a_corpus(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        (tmp_path / f"ptb.{part}.txt").write_text(f"the {part}\n")
    (tmp_path / "README").write_text("not read\n")
    assert load_corpus(str(tmp_path)).valid == "the valid\n"


def test_a_folder_with_other_names_is_refused_with_what_was_found_and_expected(
    tmp_path: Path,
) -> None:
    for name in ("ptb.train.txt", "ptb.valid.txt.xz", "ptb.dev.txt", "NOTES"):
        (tmp_path / name).write_text("the cat\n")
    with pytest.raises(FileNotFoundError) as refusal:
        load_corpus(str(tmp_path))
    told = str(refusal.value)
    assert "lacks ptb.test.txt; ptb.train.txt, ptb.valid.txt and ptb.test.txt are expected" in told
    assert "Found: ptb.train.txt, ptb.valid.txt.xz. Not read: NOTES, ptb.dev.txt" in told
    for number in range(30):
        (tmp_path / f"x{number:02d}").write_text("")
    with pytest.raises(FileNotFoundError, match=r"x17 and 12 more$"):
        load_corpus(str(tmp_path))


@pytest.mark.parametrize("is_file", [False, True])
def test_a_corpus_that_is_no_folder_is_refused_with_the_known_names(
    tmp_path: Path, is_file: bool
) -> None:
    if is_file:
        (tmp_path / "penn").write_text("the cat\n")
    told = r"(is a file|does not exist); the name of a corpus \(pydoc, ptb, gutenberg\) or a folder"
    with pytest.raises(FileNotFoundError, match=told):
        load_corpus(str(tmp_path / "penn"))


def test_vocabulary_is_by_frequency_then_alphabet_and_always_holds_the_unknown_token() -> None:
    text = "b b a a c\nd b\n"
    assert build_vocabulary(text, 10) == ["b", "<eos>", "a", "c", "d", "<unk>"]
    assert build_vocabulary(text, 3) == ["b", "<eos>", "<unk>"]
    assert build_vocabulary("<unk> <unk> a\n", 2) == ["<unk>", "<eos>"]

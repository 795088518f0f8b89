"""Word vectors are read from GloVe's text and from an npz, and what is neither is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isslim.compress.errors import UnreadableUpload
from isslim.compress.kinds.questions.vectors import read_vectors


def test_text_and_npz_give_the_same_words_and_vectors(tmp_path: Path) -> None:
    vectors = np.array([[0.5, -1], [2, 0.25], [3, 3]], np.float16)
    (tmp_path / "glove.txt").write_text("the 0.5 -1\n's 2 0.25\nthe 3 3\n", encoding="utf-8")
    np.savez(tmp_path / "glove.npz", words=np.array("the\n's\nthe"), vectors=vectors)
    np.savez(
        tmp_path / "listed.npz",
        words=np.array(["the", "'s", "the"]),
        vectors=vectors.astype(np.float32),
    )
    for name in ("glove.txt", "glove.npz", "listed.npz"):
        words, found = read_vectors(tmp_path / name)
        assert words == ["the", "'s"]
        np.testing.assert_array_equal(found, vectors[:2], strict=True)
        assert read_vectors(tmp_path / name, most=1)[0] == ["the"]


def test_words_with_white_space_of_other_kinds_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "glove.txt").write_text("a\u00a0b 1 2\nc\x85 3 4\nd 5 6\n", encoding="utf-8")
    words, found = read_vectors(tmp_path / "glove.txt")
    assert (words, found.tolist()) == (["d"], [[5, 6]])


@pytest.mark.parametrize("content", ["a 1 2\nb 1\n", "a 1 x\n", "a\n", "", "a 1 1e9\n"])
def test_other_text_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "glove.txt").write_text(content, encoding="utf-8")
    with pytest.raises(UnreadableUpload):
        read_vectors(tmp_path / "glove.txt")


def test_other_archives_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", words=np.array("a\nb"), vectors=np.zeros((1, 2)))
    np.savez(tmp_path / "b.npz", vectors=np.zeros((1, 2)))
    (tmp_path / "c.npz").write_bytes(b"PK\x03\x04 no archive")
    for name in ("a.npz", "b.npz", "c.npz"):
        with pytest.raises(UnreadableUpload):
            read_vectors(tmp_path / name)

"""Files of tokens in the forms that tools write."""

from __future__ import annotations

from pathlib import Path

import pytest

from isslim.compress.errors import UnreadableUpload, VocabularyMismatch
from isslim.compress.kinds.language.ingest.token_lists import (
    TokenList,
    read_json,
    read_list,
    refuse_other_forms,
)


def read(folder: Path, content: str | bytes, size: int) -> TokenList:
    path = folder / "words"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refuse_other_forms(path)
    return read_list(path, read_json(path), size)


@pytest.mark.parametrize(
    "content",
    [
        "a\nb\nc\n",
        "a\r\nb\r\nc\r\n",
        "a\rb\rc",
        b"\xef\xbb\xbfa\nb\nc",
        "a \nb\t\nc",
        '"a"\n"b"\n"c"\n',
        "c 2\na 0\nb 1\n",
        "2 c\n0 a\n1 b\n",
        "token count\na 12\nb 7.5\nc 1e3\n",
        '["a", "b", "c"]',
        '[["a", 9], ["b", 5], ["c", 1]]',
        '{"a": 0, "c": 2, "b": 1}',
        '{"2": "c", "0": "a", "1": "b"}',
        '{"itos": ["a", "b", "c"], "other": 1}',
    ],
)
def test_tokens_come_in_the_order_of_their_ids(content: str | bytes, tmp_path: Path) -> None:
    assert read(tmp_path, content, 3).tokens == ["a", "b", "c"]


def test_an_escape_is_its_character_and_an_unescaped_line_break_is_one_token(
    tmp_path: Path,
) -> None:
    assert read(tmp_path, "a\n\\n\n\\t\n\\s\n", 4).tokens == ["a", "\n", "\t", " "]
    assert read(tmp_path, "a\n\n\nb\n", 3).tokens == ["a", "\n", "b"]


def test_blanks_that_only_some_tokens_begin_with_are_kept(tmp_path: Path) -> None:
    assert read(tmp_path, " a\nb\n", 2).tokens == [" a", "b"]
    assert read(tmp_path, " a\n b\n", 2).tokens == ["a", "b"]


def test_counts_are_dropped_by_name_and_fairseqs_own_tokens_are_assumed(tmp_path: Path) -> None:
    found = read(tmp_path, "the 70\ncat 20\nsat 20\n", 7)
    assert found.tokens == ["<s>", "<pad>", "</s>", "<unk>", "the", "cat", "sat"]
    assert "counts or scores" in found.dropped[0]
    assert "fairseq" in found.assumed[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        (b"\xff\xfea\x00\n\x00", "UTF-16"),
        (b"a\x00\n\x00b", "NUL"),
        ("a 1\nb 2\nc 3\n", "begin at 1"),
        ('["a", "b"', "like JSON"),
        ('{"a": 0, "a": 1}', "twice"),
        ('{"a": 0, "b": 2}', "without a gap"),
        ('{"itos": ["a", "b", "c"], "tokens": ["a", "c", "b"]}', "differ"),
        ("[1, 2, 3]", "must hold tokens"),
    ],
)
def test_files_without_ids_are_refused(content: str | bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableUpload, match=words):
        read(tmp_path, content, 3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("#version: 0.2\nt h\nth e\n", "list of merges"),
        (b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00", "model of SentencePiece"),
        (b"PK\x03\x04rest", "archive"),
        (b"\x80\x04rest", "pickle"),
    ],
)
def test_files_of_tokenizers_are_refused_with_what_to_send(
    content: str | bytes, words: str, tmp_path: Path
) -> None:
    with pytest.raises(VocabularyMismatch, match=words):
        read(tmp_path, content, 3)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"a": 0, "b": 1, "c": 3}', "no token has the id 2, and 'c' has 3"),
        ('{"a": 0, "b": 1, "c": 1}', "'b' and 'c' have the same id, 1"),
        ('{"a": 0.0, "b": 1.0}', "'a' has 0.0, which is no whole number"),
        ('["a", "b", null]', "entry 2 (counted from 0) is null"),
    ],
)
def test_what_is_wrong_among_many_tokens_is_named(content: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableUpload) as refused:
        read(tmp_path, content, 3)
    assert told in refused.value.issues

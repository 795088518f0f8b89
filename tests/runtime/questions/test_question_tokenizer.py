"""Offsets of tokens are exact, and words, characters and files follow the contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isslim.runtime.questions.question_tokenizer import (
    CONVOLUTION_WIDTH,
    MAX_CHARACTERS,
    PassageCodec,
    tokenize,
)


def words(text: str) -> list[str]:
    return [token.text for token in tokenize(text)]


@given(st.text())
def test_every_token_is_where_it_says_and_only_white_space_lies_between(text: str) -> None:
    position = 0
    for token in tokenize(text):
        assert text[token.start : token.end] == token.text != ""
        assert text[position : token.start].strip() == ""
        assert not any(character.isspace() for character in token.text)
        position = token.end
    assert text[position:].strip() == ""


@given(st.text(alphabet="aZ1.,'\u2019-nst ̈éß$", max_size=12))
def test_tokens_are_where_they_say_in_texts_full_of_what_is_split(text: str) -> None:
    tokens = tokenize(text)
    assert "".join(token.text for token in tokens) == "".join(text.split())
    assert all(text[token.start : token.end] == token.text for token in tokens)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("won 24\u201310 (NFL).", ["won", "24", "\u2013", "10", "(", "NFL", ")", "."]),
        ("the 1990s' $1,000.50", ["the", "1990", "s", "'", "$", "1,000.50"]),
        ("Levi's Stadium", ["Levi", "'s", "Stadium"]),
        ("Levi\u2019s didn't won\u2019t", ["Levi", "\u2019s", "did", "n't", "wo", "n\u2019t"]),
        ("He does n't know Levi 's", ["He", "does", "n't", "know", "Levi", "'s"]),
        ("the U.S. army", ["the", "U.S.", "army"]),
        ("post-war/pre_war", ["post", "-", "war", "/", "pre", "_", "war"]),
        ("in 1999.", ["in", "1999", "."]),
        ("Beyonce\u0301 🎉大元", ["Beyonce\u0301", "🎉", "大元"]),
        (" \t\n\u00a0\u2028", []),
    ],
)
def test_text_is_split_where_answers_end(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.fixture
def codec() -> PassageCodec:
    vectors = np.arange(8, dtype=np.float32).reshape(4, 2) + 1
    return PassageCodec(["the", "'s", "cat", "Cat"], vectors, ["a", "c", "\x85"])


def test_words_are_looked_up_as_written_then_in_lower_case_and_unknown_ones_are_zeros(
    codec: PassageCodec,
) -> None:
    vectors, _ = codec.encode(["Cat", "CAT", "THE", "\u2019s", "dog"])
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[7, 8], [5, 6], [1, 2], [3, 4], [0, 0]]


def test_characters_are_numbered_cut_and_filled_up(codec: PassageCodec) -> None:
    _, short = codec.encode(["cab"])
    assert short.dtype == np.int64
    assert short.tolist() == [[3, 2, 1, 0, 0]]
    _, long = codec.encode(["a", "c" * 40])
    assert long.shape == (2, MAX_CHARACTERS)
    assert long[0].tolist() == [2] + [0] * (MAX_CHARACTERS - 1)
    assert codec.character_ids == 5


def test_no_token_is_encoded_as_nothing(codec: PassageCodec) -> None:
    vectors, characters = codec.encode([])
    assert vectors.shape == (0, 2)
    assert characters.shape == (0, CONVOLUTION_WIDTH)


def test_a_codec_is_read_as_it_was_saved(codec: PassageCodec, tmp_path: Path) -> None:
    codec.save(tmp_path)
    read = PassageCodec.from_folder(tmp_path)
    assert (read.words, read.characters) == (codec.words, codec.characters)
    np.testing.assert_array_equal(read.vectors, codec.vectors, strict=True)


@pytest.mark.parametrize(
    ("known", "vectors", "characters", "said"),
    [
        (["a"], np.zeros((2, 3)), [], "for 1 words"),
        (["a", "a"], np.zeros((2, 3)), [], "1 words are there twice"),
        (["a b"], np.zeros((1, 3)), [], "white space"),
        (["a"], np.zeros((1, 3)), ["ab"], "no character"),
        (["a"], np.zeros((1, 3)), ["a", "a"], "1 characters are there twice"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    known: list[str], vectors: np.ndarray, characters: list[str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        PassageCodec(known, vectors, characters)

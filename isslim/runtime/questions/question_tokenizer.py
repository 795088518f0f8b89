"""Converts questions and passages to numbers, and spans of tokens back to characters.

- A token is a piece of the unmodified text: `text[token.start : token.end] == token.text`, whatever
  the text. Nothing is normalised, so a span of tokens is a span of characters of exactly the text
  that was sent.
- Letters, numbers, abbreviations (`U.S.`) and contractions (`'s`, `n't`) are tokens, as in the
  corpora that word vectors are trained on; every other visible character is a token of its own.
  Answers of SQuAD begin and end inside hyphenated words, at currency signs and between digits and
  letters (`24-10`, `$100`, `1990s`), so tokens end there.
- A word is looked up as written, then in lower case with a typewriter apostrophe; a word without a
  vector gets zeros, in training as well.
- A word's characters are its first `MAX_CHARACTERS`; id 0 is padding, id 1 stands for characters
  that are not listed. Words are padded at least to the width of the network's character
  convolution.

The codec's files: `words.txt` and `characters.txt`, one entry a line, `vectors.npy` float16 (N, E)
in the order of the words. They are stored once for all variants of a model, outside of the graphs.

Legend: T tokens, E width of the word vectors, W characters of a word, N words that have a vector.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_CHARACTERS = 16
CONVOLUTION_WIDTH = 5
PADDING, UNKNOWN = 0, 1
UNSEEN = -1

_PIECE = re.compile(
    # Most words are neither abbreviations nor contractions: they match without a second attempt.
    r"[^\W\d_]++(?![.'\u2019])"
    r"|(?:[^\W\d_]\.){2,}"  # U.S., e.g.
    r"|[^\W\d_]+(?=(?i:n['\u2019]t)\b)"  # did|n't
    r"|(?i:n['\u2019]t)\b"
    r"|['\u2019](?i:s|m|d|ll|re|ve)\b"  # Levi|'s, also separated by a space, as in tokenised text
    r"|[^\W\d_]+"
    r"|\d+(?:[.,]\d+)*"  # 1,000.5
    r"|\S"
)


class Token(NamedTuple):
    """A piece of a text: characters `start` to `end` (exclusive)."""

    text: str
    start: int
    end: int


def tokenize(text: str) -> list[Token]:
    """Splits a text into tokens, in order, without overlap; only white space is between them.

    A combining mark stays with the character that it marks.
    """
    return [Token(text[start:end], start, end) for start, end in token_spans(text)]


def token_spans(text: str) -> list[tuple[int, int]]:
    """First character (inclusive) and end (exclusive) of every token that `tokenize` would return.

    It takes half the time.
    """
    spans = [match.span() for match in _PIECE.finditer(text)]
    if not text.isascii() and any(
        unicodedata.category(character).startswith("M") for character in set(text)
    ):
        spans = _with_marks(text, spans)
    return spans


def _with_marks(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans, with those that begin with a combining mark joined to the preceding one."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and joined[-1][1] == start and unicodedata.category(text[start]).startswith("M"):
            start = joined.pop()[0]
        joined.append((start, end))
    return joined


class PassageCodec:
    """Tokens to word vectors and character ids.

    Args:
        words: those that have a vector, each once, without white space.
        vectors: (N, E); kept as float16, which is how they are stored.
        characters: single characters, each once; the first has id 2.

    Raises:
        ValueError: when the numbers of vectors and words differ, an entry occurs twice, or a
            character is not a single one.
    """

    def __init__(
        self, words: Sequence[str], vectors: NDArray[np.floating], characters: Sequence[str]
    ) -> None:
        issues = []
        if vectors.ndim != 2 or len(vectors) != len(words):
            issues.append(f"vectors of shape {vectors.shape} for {len(words):,} words")
        self._words = {word: row for row, word in enumerate(words)}
        if len(self._words) < len(words):
            issues.append(f"{len(words) - len(self._words):,} words are there twice")
        if len(set(characters)) < len(characters):
            issues.append(f"{len(characters) - len(set(characters))} characters are there twice")
        issues += [f"{entry!r} is no character" for entry in characters if len(entry) != 1]
        issues += [
            f"{entry!r} holds white space or nothing" for entry in words if entry.split() != [entry]
        ][:8]
        if issues:
            raise ValueError("; ".join(issues))
        self.words, self.characters = list(words), list(characters)
        self._by_code_point = np.full(sys.maxunicode + 1, UNKNOWN, np.uint32)
        self._by_code_point[[ord(character) for character in characters]] = (
            np.arange(len(characters)) + UNKNOWN + 1
        )
        # The last row is for words without a vector: index `UNSEEN`.
        self._rows = np.concatenate(
            [vectors.astype(np.float16, copy=False), np.zeros((1, vectors.shape[1]), np.float16)]
        )
        self.vectors: NDArray[np.float16] = self._rows[:UNSEEN]

    @property
    def width(self) -> int:
        """E."""
        return int(self.vectors.shape[1])

    @property
    def character_ids(self) -> int:
        """The number of character ids, with padding and the unknown character."""
        return len(self.characters) + UNKNOWN + 1

    def encode(self, tokens: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The inputs of the network for a text.

        Args:
            tokens: T words.

        Returns:
            Word vectors float32 (T, E) and character ids int64 (T, W); W is the longest word's
            length, between `CONVOLUTION_WIDTH` and `MAX_CHARACTERS`.
        """
        # Vectorized: a service does this for every request.
        as_written = map(self._words.get, tokens)
        found = [
            self.row(token) if row is None else row
            for token, row in zip(tokens, as_written, strict=True)
        ]
        rows = np.array([UNSEEN if row is None else row for row in found], np.int64)
        vectors = self._rows[rows].astype(np.float32)
        words = [token[:MAX_CHARACTERS] for token in tokens]
        lengths = np.array([len(word) for word in words], np.int64)
        ids = np.zeros((len(tokens), max(CONVOLUTION_WIDTH, int(lengths.max(initial=0)))), np.int64)
        points = np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), np.uint32)
        ids[np.arange(ids.shape[1]) < lengths[:, None]] = self._by_code_point[points]
        return vectors, ids

    def row(self, token: str) -> int | None:
        """The row of a token's vector; None if it is unknown.

        It is looked up as written, then in lower case with a typewriter apostrophe.
        """
        found = self._words.get(token)
        return self._words.get(token.lower().replace("\u2019", "'")) if found is None else found

    def save(self, folder: Path) -> None:
        """Writes the three files into an existing folder."""
        (folder / "words.txt").write_bytes(_lines(self.words))
        (folder / "characters.txt").write_bytes(_lines(self.characters))
        with (folder / "vectors.npy").open("wb") as file:
            np.save(file, self.vectors, allow_pickle=False)

    @classmethod
    def from_folder(cls, folder: Path) -> PassageCodec:
        """Loads a codec that `save` wrote.

        Raises:
            ValueError: when the files do not fit each other.
            OSError: when one is not there.
        """
        return cls.of_files(
            *(folder / name for name in ("words.txt", "vectors.npy", "characters.txt"))
        )

    @classmethod
    def of_files(cls, words: Path, vectors: Path, characters: Path) -> PassageCodec:
        """The same of three files, wherever they are.

        Args:
            words: one a line.
            vectors: npy, float32 (words, E).
            characters: one a line.

        Raises:
            ValueError: when they do not fit each other.
            OSError: when one is not there.
        """
        return cls(_read(words), np.load(vectors, allow_pickle=False), _read(characters))


def _lines(entries: Sequence[str]) -> bytes:
    return "".join(f"{entry}\n" for entry in entries).encode()


def _read(path: Path) -> list[str]:
    """Entries of a file: only a line feed ends one, as other breaks may be listed characters."""
    content = path.read_bytes().decode()
    return content.removesuffix("\n").split("\n") if content else []

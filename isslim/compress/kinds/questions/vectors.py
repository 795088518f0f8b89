"""Reads pre-trained word vectors: GloVe's text form, or an npz with `words` and `vectors`.

- text: a word and E numbers a line, separated by single spaces (Pennington et al., EMNLP 2014);
  more frequent words first.
- npz: `words`, joined by line feeds or as an array of strings, and `vectors` (N, E).

Legend: N words, E width.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isslim.compress.errors import UnreadableUpload


def read_vectors(path: Path, most: int | None = None) -> tuple[list[str], NDArray[np.float16]]:
    """Reads words and their vectors; of a repeated word the first vector counts.

    Args:
        path: `.npz`, or else text.
        most: largest number of words; None: all.

    Returns:
        Words in the file's order, and float16 (N, E).

    Raises:
        UnreadableUpload: when it is neither form, or its lines are not of one width.
        OSError: when it does not exist.
    """
    with np.errstate(over="ignore"):  # an overflow is infinite, and refused below
        words, vectors = _npz(path) if path.suffix == ".npz" else _text(path, most)
    if vectors.ndim != 2 or len(words) != len(vectors):
        raise UnreadableUpload(
            f"'{path.name}' has {len(words):,} words and vectors of shape {vectors.shape}"
        )
    if not np.isfinite(vectors).all():
        raise UnreadableUpload(f"'{path.name}' has vectors that are not finite as float16")
    rows: dict[str, int] = {}
    for row, word in enumerate(words):
        # A few words of GloVe 840B hold other kinds of space, which no token has.
        if word.split() == [word]:
            rows.setdefault(word, row)
    kept = list(rows.values())[:most]
    return list(rows)[:most], vectors[kept]


def _npz(path: Path) -> tuple[list[str], NDArray[np.float16]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            words, vectors = content["words"], content["vectors"]
    except (ValueError, KeyError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise UnreadableUpload(
            f"'{path.name}' is no npz with 'words' and 'vectors': {error}"
        ) from error
    listed = str(words).split("\n") if words.ndim == 0 else [str(word) for word in words]
    return listed, vectors.astype(np.float16)


def _text(path: Path, most: int | None) -> tuple[list[str], NDArray[np.float16]]:
    words: list[str] = []
    rows: list[NDArray[np.float16]] = []
    with path.open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            if most is not None and len(words) >= most:
                break
            word, *numbers = line.rstrip("\n").split(" ")
            try:
                row = np.array(numbers, np.float32).astype(np.float16)
            except ValueError as error:
                raise UnreadableUpload(f"'{path.name}', line {number}: {error}") from error
            if not numbers or (rows and len(row) != len(rows[0])):
                raise UnreadableUpload(
                    f"'{path.name}', line {number}: {len(row)} numbers, not as many as before"
                )
            words.append(word)
            rows.append(row)
    if not rows:
        raise UnreadableUpload(f"'{path.name}' holds no word vector")
    return words, np.stack(rows)

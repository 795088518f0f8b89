"""A text file's tokens in bounded memory: it is read and encoded piece by piece.

Encoding a text at once takes up to seventy bytes for each of it, beside the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from isslim.runtime.errors import TextRefused
from isslim.runtime.language.text import TextCodec

PIECE = 1 << 19
"""Characters that are read and encoded at a time."""
LONGEST = 1 << 20
"""Characters that a word may have."""
MOST_TOKENS = 200_000_000
"""Tokens of a text; the 540 MB of WikiText-103 have half as many by words. In 64 bits each, and
once more where texts overlap, they take less than 4 GiB. By characters 540 MB would take three
times that."""
_BLANKS = frozenset(
    " \t\n\r\x0b\x0c\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
    "\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""White space as the tokenizer has it; Python's holds some control characters as well."""

_BREAK = re.compile(r"(?<=\S)\n(?=\S)")
"""Where tokenizers of subwords part a text, too: they join runs of white space."""
_NEAR = 1 << 16


def encode_file(codec: TextCodec, path: Path) -> Tensor:
    """The tokens of a text in UTF-8, int64 (N,).

    Words and single characters are those of the whole text; subwords are, too, in texts with
    lines; elsewhere those at the space that a piece of half a million characters ends with may
    differ.

    Args:
        codec: between texts and tokens.
        path: of the text.

    Raises:
        TextRefused: as `TextCodec.encode`; when it holds NUL, a word that is none, or more than
            `MOST_TOKENS`.
        UnicodeDecodeError: when it is not UTF-8.
    """
    found, beginning, count = [], "", 0
    for piece in _pieces(path, codec.contract.unit):
        beginning = beginning or piece[:LONGEST]
        found.append(np.array(codec.tokenize(piece), np.int32))
        count += len(found[-1])
        if count > MOST_TOKENS:
            raise TextRefused(
                f"it has more than {MOST_TOKENS:,} tokens, the most that is read of one text: send "
                "a part of it"
            )
    ids = torch.empty(count, dtype=torch.int64)
    at = count
    while found:  # from the end, so that each piece is freed when it was copied
        piece_ids = torch.from_numpy(found.pop())
        at -= len(piece_ids)
        ids[at : at + len(piece_ids)] = piece_ids
    unknown = codec.unknown_id
    if not len(ids) or (unknown is not None and bool((ids == unknown).all())):
        codec.encode(beginning)  # refuses it, with its first words
        raise TextRefused("the text holds no token of the vocabulary")
    return ids


def _pieces(path: Path, unit: str) -> Iterator[str]:
    """The text in pieces that begin and end with whole words."""
    rest = ""
    with path.open(encoding="utf-8-sig") as file:
        while read := file.read(PIECE):
            if "\0" in read:
                raise TextRefused(
                    "it holds NUL characters (UTF-16 without its mark, or no text at all?). Send "
                    "plain text, saved as UTF-8"
                )
            text = rest + read
            end = len(text) if unit == "character" else _last_end(text, unit)
            if not end and len(text) > LONGEST:
                if unit == "word":
                    raise TextRefused(
                        f"it holds {len(text):,} characters without white space, which is no word; "
                        f"at most {LONGEST:,} are read as one"
                    )
                end = len(text)
            if end:
                yield text[:end]
            rest = text[end:]
    if rest:
        yield rest


def _last_end(text: str, unit: str) -> int:
    """Behind a line break between two words near the end, else at the last white space; 0: none."""
    breaks = list(_BREAK.finditer(text, max(0, len(text) - _NEAR)))
    if breaks:
        return breaks[-1].end()
    last = next((i for i in range(len(text) - 1, 0, -1) if text[i] in _BLANKS), 0)
    # Subwords begin with the space before them.
    return last + (unit == "word") if last else 0

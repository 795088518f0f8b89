"""Tokens that are no words: unknown, start, end, padding, under the many names that people give them."""

from __future__ import annotations

import re
from collections.abc import Iterable

UNKNOWN = ("unk", "oov", "unknown", "rare")
STARTS = ("bos", "s", "sos", "start", "go", "begin", "startoftext", "begin_of_text")
ENDS = ("eos", "/s", "end", "endoftext", "end_of_text", "eot")
NEWLINES = ("nl", "newline", "eol", "eos", "/s", "end")
_BARE = {"UNK", "OOV", "BOS", "SOS", "EOS", "PAD"}
_BRACKETED = re.compile(r"(?:<\|?|\[|__|_|\{)(/?[A-Za-z][\w ]*?)(?:\|?>|\]|__|_|\})?")


def special(token: str) -> str | None:
    """What a token is called inside its brackets, in lower case; None for a plain one: `[UNK]`, `<unk>` and `UNK` are `unk`."""
    if token in _BARE:
        return token.lower()
    match = _BRACKETED.fullmatch(token)
    return match[1].lower() if match is not None and len(token) > 1 else None


def find(tokens: Iterable[str], names: tuple[str, ...]) -> str | None:
    """The token of the first of these names that there is; of several spellings that in lower case, then the first."""
    found = [
        (names.index(name), token != token.lower(), not token.startswith("<"), position, token)
        for position, token in enumerate(tokens)
        if (name := special(token)) is not None and name in names
    ]
    return min(found)[-1] if found else None

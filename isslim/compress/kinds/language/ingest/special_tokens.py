"""Special tokens, unknown, start, end and padding, under their many common names."""

from __future__ import annotations

import re
from collections.abc import Iterable

UNKNOWN = ("unk", "oov", "unknown", "rare")
STARTS = ("bos", "s", "sos", "start", "go", "begin", "startoftext", "begin_of_text")
ENDS = ("eos", "/s", "end", "endoftext", "end_of_text", "eot")
NEWLINES = ("nl", "newline", "eol", "eos", "/s", "end")
_BARE = {"UNK", "OOV", "BOS", "SOS", "EOS", "PAD"}
_BRACKETED = re.compile(r"(?:<\|?|\[|__|_|\{)(/?[A-Za-z][\w ]*?)(?:\|?/?>|\]|__|_|\})?")
_OTHERWISE = re.compile(
    r"@@(\w+?)@@|[*$#(-](\w+?)[*$#)-]|xx(\w+)|(\w+?)_TOKEN|SENTENCE_(START|END)"
)
"""Marks that ordinary words may have as well: special only around a known name."""
_KNOWN = {*UNKNOWN, *STARTS, *ENDS, "pad", "padding", "mask"}


def special(token: str) -> str | None:
    """The name of a special token in lower case, without brackets; None for an ordinary token.

    `[UNK]`, `<unk>` and `UNK` are all `unk`.
    """
    if token in _BARE:
        return token.lower()
    other = _OTHERWISE.fullmatch(token)
    if other is not None and (known := str(next(filter(None, other.groups()))).lower()) in _KNOWN:
        return known
    match = _BRACKETED.fullmatch(token)
    if match is None or len(token) < 2:
        return None
    name = str(match[1]).lower().removesuffix("_token").removesuffix("_tok")
    # `_UNK` is special, while `_the` is a part of a word in some vocabularies.
    plain = token.startswith("_") and not token.endswith("_")
    return name if not plain or name in _KNOWN or match[1].isupper() else None


def find(tokens: Iterable[str], names: tuple[str, ...]) -> str | None:
    """The special token with the first of some names that occurs.

    Args:
        tokens: the vocabulary.
        names: as `special` gives them, by precedence.

    Returns:
        Of several spellings one in lower case, then one in angle brackets, then the first; None
        where no name occurs.
    """
    found = [
        (names.index(name), token != token.lower(), not token.startswith("<"), position, token)
        for position, token in enumerate(tokens)
        if (name := special(token)) is not None and name in names
    ]
    return min(found)[-1] if found else None

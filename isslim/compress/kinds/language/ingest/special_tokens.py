"""Tokens that are no words: unknown, start, end, padding, under the many names that people give them."""

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
"""Marks that words may bear, too: believed of names that are known."""
_KNOWN = {*UNKNOWN, *STARTS, *ENDS, "pad", "padding", "mask"}


def special(token: str) -> str | None:
    """What a token is called inside its brackets, in lower case; None for a plain one: `[UNK]`, `<unk>` and `UNK` are `unk`."""
    if token in _BARE:
        return token.lower()
    other = _OTHERWISE.fullmatch(token)
    if other is not None and (known := str(next(filter(None, other.groups()))).lower()) in _KNOWN:
        return known
    match = _BRACKETED.fullmatch(token)
    if match is None or len(token) < 2:
        return None
    name = str(match[1]).lower().removesuffix("_token").removesuffix("_tok")
    plain = token.startswith("_") and not token.endswith(
        "_"
    )  # `_UNK`; `_the` is a part of a word in some vocabularies
    return name if not plain or name in _KNOWN or match[1].isupper() else None


def find(tokens: Iterable[str], names: tuple[str, ...]) -> str | None:
    """The token of the first of these names that there is; of several spellings that in lower case, then the first."""
    found = [
        (names.index(name), token != token.lower(), not token.startswith("<"), position, token)
        for position, token in enumerate(tokens)
        if (name := special(token)) is not None and name in names
    ]
    return min(found)[-1] if found else None

"""Finds lists of tokens inside nested dictionaries, by position or by id."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from isslim.compress.ingest.unpickling import Array, Record

_ID, _TOKEN = (
    "(?:i|id|idx|ix|index|ind|int)",
    "(?:w|word|s|str|string|c|ch|char|character|t|tok|token|symbol|piece)s?",
)
_NAME = re.compile(
    rf"{_ID}(?:2|to){_TOKEN}|{_TOKEN}(?:2|to){_ID}|{_TOKEN}{_ID}|{_ID}{_TOKEN}|vocab|vocabulary|vocabs|words|wordlist|chars|"
    "characters|charset|tokens|alphabet|symbols|dictionary|lexicon|vocabdict"
)
DEEPEST = 6
_DIGITS = 18
MAX_SEARCHED = 200
"""Entries of a dictionary that may hold others; a longer one is a vocabulary itself."""


def unused(token_id: int) -> str:
    """What stands for an id that no token has: with its space, no text can hold it."""
    return f"<unused {token_id}>"


def word_lists(content: object, deepest: int = DEEPEST) -> dict[str, list[str]]:
    """Every list of tokens in nested dictionaries.

    Args:
        content: dictionaries, and records of objects.
        deepest: levels that are looked at.

    Returns:
        Tokens in the order of their ids, by the names that lead to them, such as `vocab/idx2word`.
    """
    return dict(_search(content, "", deepest))


def _search(content: object, path: str, deepest: int) -> Iterator[tuple[str, list[str]]]:
    inside = vars(content) if isinstance(content, Record) else content
    if not isinstance(inside, Mapping) or len(inside) > MAX_SEARCHED or deepest == 0:
        return
    for name, value in inside.items():
        where = f"{path}{name}"
        tokens = (
            as_tokens(value)
            if _NAME.fullmatch(re.sub(r"[^a-z0-9]", "", str(name).lower()))
            else None
        )
        if tokens is not None:
            yield where, tokens
        else:
            yield from _search(value, f"{where}/", deepest - 1)


def as_tokens(value: object) -> list[str] | None:
    """Tokens by id, of a list, of (token, count) pairs, of a string or of a dictionary."""
    if isinstance(value, Array):
        value = value.value.tolist() if hasattr(value.value, "tolist") else value.value
    if isinstance(value, str):
        return list(value) if len(value) > 1 else None
    if isinstance(value, list | tuple) and value:
        if all(
            isinstance(each, list | tuple) and len(each) == 2 and isinstance(each[0], str)
            for each in value
        ):
            value = [each[0] for each in value]  # (token, count)
        return list(value) if all(isinstance(each, str) for each in value) else None
    if isinstance(value, Mapping) and value:
        return tokens_by_id(value)
    return None


def tokens_by_id(mapping: Mapping[Any, Any]) -> list[str] | None:
    """The tokens of a `{token: id}` or `{id: token}` dictionary by id; None when ids have gaps.

    JSON has only strings as keys, so that an id may be one: `{"0": "the"}`, and some write `{"the":
    "0"}`. Ids may begin at 1, as Keras's do; then the id 0 is of no token.
    """
    if all(_is_id(v) for v in mapping.values()) and not all(_is_id(str(k)) for k in mapping):
        mapping = {k: int(v) for k, v in mapping.items()}
    pairs = [(v, k) if isinstance(v, int) else (k, v) for k, v in mapping.items()]
    if all(_is_id(i) and isinstance(w, str) for i, w in pairs):
        pairs = [(int(i), w) for i, w in pairs]
    if not all(
        isinstance(i, int) and not isinstance(i, bool) and isinstance(w, str) for i, w in pairs
    ):
        return None
    ids = sorted(i for i, _ in pairs)
    words = [word for _, word in sorted(pairs)]
    if ids == list(range(len(pairs))):
        return words
    return [unused(0), *words] if ids == list(range(1, len(pairs) + 1)) else None


def _is_id(value: object) -> bool:
    """Whether a text is a whole number; Python reads none of thousands of digits."""
    return isinstance(value, str) and value.isdecimal() and len(value) <= _DIGITS

"""Reads files that list tokens: lines, with or without counts or ids, and JSON of many forms."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from isslim.compress.errors import UnreadableUpload, VocabularyMismatch
from isslim.compress.ingest.word_lists import as_tokens, tokens_by_id, word_lists
from isslim.compress.kinds.language.ingest.subwords import SENTENCEPIECE

_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\r": "\r", "\\s": " ", "\\\\": "\\"}
# No id has more digits: Python reads no number of thousands of them.
_NUMBERED = re.compile(r"(\S+)(?:[ \t]+|,)(-?\d{1,18}(?:\.\d+)?(?:[eE][-+]?\d+)?)")
_LED = re.compile(r"(\d{1,18})(?:[ \t]+|,)(\S+)")
_FAIRSEQ = ["<s>", "<pad>", "</s>", "<unk>"]
"""Tokens that fairseq's `Dictionary` puts before those of `dict.txt`, which does not list them."""


@dataclass(frozen=True)
class TokenList:
    """The tokens of a file.

    Attributes:
        tokens: in the order of their ids.
        dropped: lines on what of the file is not used.
        assumed: lines on what the file does not show.
    """

    tokens: list[str]
    dropped: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


def refuse_other_forms(path: Path) -> None:
    """Refuses files of tokenizers that list no tokens by id.

    Raises:
        VocabularyMismatch: with what to send.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    if start[:1] == b"\x0a" and (b"<unk>" in start or "▁".encode() in start) and b"\x15" in start:
        raise VocabularyMismatch(
            "the vocabulary is a model of SentencePiece. Send tokenizer.json: "
            f"{SENTENCEPIECE.remedy}"
        )
    if start.removeprefix(b"\xef\xbb\xbf").startswith(b"#version"):
        raise VocabularyMismatch(
            "the vocabulary is a list of merges (merges.txt or codes of BPE), which does not say "
            "the ids. Send tokenizer.json, "
            "which holds both: `pip install tokenizers`, then in Python `from tokenizers import "
            "ByteLevelBPETokenizer` "
            "and `ByteLevelBPETokenizer('vocab.json', 'merges.txt').save('tokenizer.json')`"
        )
    if start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        raise VocabularyMismatch(
            "the vocabulary is a pickle or an archive. Send the tokens as text, one a line in the "
            "order of their ids: "
            "`open('words.txt', 'w').write('\\n'.join(tokens))`"
        )


def read_json(path: Path) -> Any:
    """JSON of a file, with or without a byte order mark; None when it is not JSON.

    Raises:
        UnreadableUpload: when a dictionary holds a key twice: one of its ids would be lost.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            twice = [repr(key) for key, count in counts.items() if count > 1]
            raise UnreadableUpload(
                f"{len(twice)} keys stand in a dictionary of the vocabulary twice", twice[:8]
            )
        return made

    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
    except (ValueError, RecursionError):
        return None


def read_list(path: Path, given: object, size: int) -> TokenList:
    """Reads the tokens of a file.

    Args:
        path: of the file.
        given: the file as JSON; None where it is not JSON.
        size: number of tokens of the model.

    Raises:
        UnreadableUpload: when it is not UTF-8, or JSON of no known form.
    """
    if isinstance(given, list | str):
        tokens = list(given) if isinstance(given, str) else as_tokens(given)
        if tokens is None:
            raise UnreadableUpload(
                "a vocabulary that is a JSON list must hold tokens, or pairs of a token and its "
                "count",
                [
                    f"entry {at:,} (counted from 0) is {json.dumps(each)[:200]}"
                    for at, each in enumerate(given)
                    if not isinstance(each, type(given[0]))
                ][:1],
            )
        return TokenList(tokens)
    if isinstance(given, dict):
        return _of_dictionary(given, size)
    return _of_lines(_text(path), size)


def _text(path: Path) -> str:
    data = path.read_bytes()
    if not data.strip():
        raise UnreadableUpload(
            "the vocabulary is empty: tokens are expected, one a line in the order of their ids"
        )
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        description = "it is UTF-16, as some editors of Windows save" if wide else str(error)
        raise UnreadableUpload(
            f"the vocabulary is not UTF-8: {description}. Save it as UTF-8"
        ) from error
    if wide:
        raise UnreadableUpload(
            "the vocabulary holds NUL characters (UTF-16 without its mark, or no text at all?): a "
            "text in UTF-8 is expected"
        )
    return text


def _of_dictionary(given: dict[str, Any], size: int) -> TokenList:
    tokens = tokens_by_id(given)
    if tokens is not None:
        return TokenList(tokens)
    lists = word_lists(_with_keras(given))
    fitting = {where: found for where, found in lists.items() if len(found) == size} or lists
    if not fitting:
        begins = json.dumps(dict(list(given.items())[:3]), ensure_ascii=False)[:200]
        raise UnreadableUpload(
            "a vocabulary that is a dictionary must be {token: id} or {id: token}, its ids 0, 1, "
            "2, ... without a gap, or hold "
            'such a dictionary or a list under a name like "word2idx", "itos" or "tokens"',
            [f"it begins with {begins}", *_fault_of_ids(given)],
        )
    if len({tuple(found) for found in fitting.values()}) > 1:
        raise UnreadableUpload(
            f"the vocabulary's lists differ: {', '.join(map(repr, fitting))}; send one of them"
        )
    return TokenList(next(iter(fitting.values())))


def _fault_of_ids(given: dict[str, Any]) -> list[str]:
    """What is wrong with a `{token: id}` dictionary, as a line; none where it is no such one."""
    owners: dict[int, str] = {}
    odd = None
    for token, each in given.items():
        if not isinstance(each, int | float) or isinstance(each, bool):
            return []
        if isinstance(each, float):
            odd = odd or f"{token!r} has {each!r}, which is no whole number"
        elif each in owners:
            odd = odd or f"{owners[each]!r} and {token!r} have the same id, {each:,}"
        else:
            owners[each] = token
    if odd is not None:
        return [odd]
    missing = next((each for each in range(len(given)) if each not in owners), None)
    if missing is None:
        return []
    return [f"no token has the id {missing:,}, and {owners[max(owners)]!r} has {max(owners):,}"]


def _with_keras(given: dict[str, Any]) -> dict[str, Any]:
    """The word index of a Keras tokenizer, which is JSON inside of JSON."""
    inner = given.get("config")
    if not isinstance(inner, dict) or not isinstance(inner.get("word_index"), str):
        return given
    try:
        return {"word_index": json.loads(inner["word_index"])}
    except ValueError:
        return given


def _of_lines(text: str, size: int) -> TokenList:
    if "\n" not in text:
        text = text.replace("\r", "\n")  # as old Macs ended lines
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    while len(lines) > size and lines[-1] == "":
        lines.pop()
    if len(lines) != size and re.match(r"""\s*[\[{]\s*['"\d]""", text):
        raise UnreadableUpload(
            "the vocabulary begins like JSON and cannot be read as it (cut off, or printed by "
            "Python?): write it with "
            "`json.dump(tokens, file)`"
        )
    lines = _whole(lines, size)
    for pattern, token, number in ((_NUMBERED, 1, 2), (_LED, 2, 1)):
        matches = [pattern.fullmatch(line) for line in lines]
        if len(lines) > 2 and matches[0] is None and all(matches[1:]):
            if len(lines) != size + 1:
                raise VocabularyMismatch(
                    f"all lines of the vocabulary but the first, {lines[0]!r}, hold a number "
                    "beside a token: is it a heading, or "
                    "a token without its number? Send the tokens alone, one a line in the order of "
                    "their ids"
                )
            read = _of_lines("\n".join(lines[1:]), size)
            return TokenList(
                read.tokens, (f"the vocabulary's heading {lines[0]!r}", *read.dropped), read.assumed
            )
        found = [(match[token], match[number]) for match in matches if match is not None]
        if len(found) == len(lines) > 1:
            if (ordered := _by_id(found, size)) is not None:
                return ordered
            if pattern is _NUMBERED:
                return _counted([token for token, _ in found], size)
    return TokenList([_ESCAPES.get(line, line) for line in lines])


def _whole(lines: list[str], size: int) -> list[str]:
    """Lines without trailing blanks, and without indentation or quotation marks if all have them.

    A blank before only some tokens may be a part of them, as in GPT-2's. Two empty lines where
    there is one line too many are a newline token that was not escaped.
    """
    pairs = [index for index, pair in enumerate(pairwise(lines)) if pair == ("", "")]
    if len(lines) == size + 1 and len(pairs) == 1:
        lines = [*lines[: pairs[0]], "\n", *lines[pairs[0] + 2 :]]
    quoted = [re.fullmatch(r'\s*"(.+)",?\s*', line) for line in lines]
    if len(lines) > 1 and all(quoted):
        return [
            match[1].replace('\\"', '"').replace('""', '"') for match in quoted if match is not None
        ]
    known = set(lines)
    led = all(line[:1] in (" ", "\t") for line in lines)
    bare = [line.strip(" \t") if led else line.rstrip(" \t") for line in lines]
    return [
        short if short and short not in known else line
        for line, short in zip(lines, bare, strict=True)
    ]


def _by_id(found: list[tuple[str, str]], size: int) -> TokenList | None:
    """Tokens whose numbers are ids; None where they are counts or scores."""
    if not all(number.isdecimal() for _, number in found) or len(
        {token for token, _ in found}
    ) < len(found):
        return None
    tokens = tokens_by_id({token: int(number) for token, number in found})
    if tokens is None:
        return None
    if len(tokens) == size + 1 and len(found) == size:
        raise UnreadableUpload(
            "the vocabulary's ids begin at 1, and the model has as many tokens as the file: which "
            "one has the id 0? Send the "
            "tokens alone, one a line in the order of their ids"
        )
    return TokenList(tokens)


def _counted(tokens: list[str], size: int) -> TokenList:
    dropped = ("the numbers behind the vocabulary's tokens (counts or scores)",)
    tokens = [_ESCAPES.get(token, token) for token in tokens]
    if len(tokens) + len(_FAIRSEQ) == size and not set(_FAIRSEQ) & set(tokens):
        assumed = (
            f"before the vocabulary's tokens stand {', '.join(_FAIRSEQ)}, as fairseq puts them "
            "there"
        )
        return TokenList([*_FAIRSEQ, *tokens], dropped, (assumed,))
    return TokenList(tokens, dropped)

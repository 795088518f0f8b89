"""Damages good files and bodies: bits, lengths, pieces, values of JSON, members of archives."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

LONGEST = 1 << 20
"""Bytes that a damaged file may have."""
NUMBERS = (0, 1, -1, 2, 127, 128, 255, 256, 32767, 65535, 1 << 31, -(1 << 31), (1 << 32) - 1,
           1 << 40, 1 << 53, (1 << 63) - 1, 1 << 63, -(1 << 63), 1 << 64, 10**400)  # fmt: skip
TEXTS = ("", "\0", "a\0b", "\u202ea", "\ud800", "\ufeff", "\u0301", "🙂" * 40, "x" * 5000,
         "../../etc", "<script>", "NaN", "1e999", "%s%n", "null", "-0", "9" * 5000,
         "\x1b[31m")  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, False, *NUMBERS, *TEXTS, 0.5, -0.0, 1e308, 5e-324, float("nan"), float("inf"), [],
    {}, [[]], [None], {"": None}, [[[[[[[[]]]]]]]], list(range(300)),
    {str(n): n for n in range(50)},
)  # fmt: skip


def damaged(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """A good file or body, damaged in one to four ways.

    Args:
        content: the good one.
        others: good ones of the same kind, of which pieces are taken.
        draw: decides everything.
    """
    for _ in range(draw.choice((1, 1, 1, 2, 2, 4))):
        way = draw.choice(_ways_of(content))
        content = way(content, others, draw)[:LONGEST]
    return content


def _ways_of(content: bytes) -> tuple[Callable[..., bytes], ...]:
    plain = (_flipped, _cut, _spliced, _lengths, _repeated, _removed, _words)
    if content[:2] == b"PK":
        return (*plain, _member, _member, _member, _member)
    if content[:1] in (b"{", b"["):
        return (*plain, _json, _json, _json, _json, _json, _json)
    return plain


def _at(content: bytes | bytearray, draw: random.Random) -> int:
    """A position; headers, where most is decided, as often as all the rest."""
    last = max(len(content) - 1, 0)
    return draw.randint(0, min(last, 200) if draw.random() < 0.5 else last)


def _flipped(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    made = bytearray(content or b"\0")
    for _ in range(draw.choice((1, 1, 2, 8, 40))):
        made[_at(made, draw)] ^= 1 << draw.randrange(8)
    return bytes(made)


def _cut(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    return content[: draw.randint(0, len(content))]


def _spliced(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    other = draw.choice(others)
    begin, at = _at(other, draw), _at(content, draw)
    piece = other[begin : begin + draw.choice((1, 4, 16, 100, 1000))]
    return content[:at] + piece + content[at + draw.choice((0, len(piece))) :]


def _lengths(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    at, number = _at(content, draw), draw.choice(NUMBERS[:-1]) & ((1 << 64) - 1)
    form = draw.choice(("<B", "<H", "<I", ">I", "<Q", ">Q"))
    written = struct.pack(form, number & ((1 << 8 * struct.calcsize(form)) - 1))
    return content[:at] + written + content[at + len(written) :]


def _repeated(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    at = _at(content, draw)
    piece = content[at : at + draw.choice((1, 3, 20, 300))]
    return content[:at] + piece * draw.choice((2, 10, 300)) + content[at:]


def _removed(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    at = _at(content, draw)
    return content[:at] + content[at + draw.choice((1, 2, 8, 64, 500)) :]


def _words(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    at = _at(content, draw)
    return content[:at] + draw.choice(TEXTS).encode(errors="surrogatepass") + content[at:]


def _json(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """Another value somewhere in a JSON document; bytes behind it stay."""
    try:
        text = content.decode()
        document, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return _flipped(content, others, draw)
    there = places(document)
    if there:
        holder, key = draw.choice(there)
        action = draw.randrange(4)
        if action == 0 and isinstance(holder, dict):
            holder[draw.choice(TEXTS)] = holder.pop(key)
        elif action == 1:
            holder[key] = [holder[key]] * draw.choice((1, 2, 200))
        else:
            holder[key] = draw.choice(ODD)
    else:
        document = draw.choice(ODD)
    return json.dumps(document).encode() + text[end:].encode()


def places(document: Any) -> list[tuple[Any, Any]]:
    """Lists and dictionaries of a JSON document with each of their indices and keys, bounded."""
    found: list[tuple[Any, Any]] = []
    _collect(document, found, 0)
    return found


def _collect(value: Any, found: list[tuple[Any, Any]], depth: int) -> None:
    if depth > 20 or len(found) > 2000:
        return
    pairs = value.items() if isinstance(value, dict) else ()
    for key, inner in pairs if pairs else enumerate(value if isinstance(value, list) else ()):
        found.append((value, key))
        _collect(inner, found, depth + 1)


def _member(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """Damages a member of an archive, whose checksums then are right; or leaves one out."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LONGEST:
                return _flipped(content, others, draw)
            members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError, EOFError, OSError,
            RuntimeError, KeyError):  # fmt: skip
        return _flipped(content, others, draw)
    if not members:
        return _flipped(content, others, draw)
    name = draw.choice(list(members))
    if draw.random() < 0.1:
        members[name + draw.choice(TEXTS).replace("\ud800", "?")] = members.pop(name)
    elif draw.random() < 0.1:
        del members[name]
    else:
        ways = [way for way in _ways_of(members[name]) if way is not _member]
        members[name] = draw.choice(ways)(members[name], list(members.values()), draw)
    made = io.BytesIO()
    kind = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(made, "w", kind) as archive:
        for each, data in members.items():
            archive.writestr(each.replace("\0", "?"), data[:LONGEST])
    return made.getvalue()

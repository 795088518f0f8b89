"""What a graph says of itself: who wrote it, a line on what it is, and which model it is of.

The notes are fields of the file's outermost message, beside the graph. They are replaced without
reading the graph, which may take gigabytes; the other fields are copied as they are.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

from onnx import ModelProto

from isslim.compress.export.streaming import varint
from isslim.store.files import atomic_file

PRODUCER = "isslim"
_NUMBERS = {each.name: each.number for each in ModelProto.DESCRIPTOR.fields}
_OURS = {_NUMBERS[each] for each in ("producer_name", "producer_version", "doc_string")}
_METADATA = _NUMBERS["metadata_props"]
_BLOCK = 1 << 20
_NUMBER, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
"""Wire types: a varint, eight bytes, a length and as many bytes, four bytes."""


def note(path: Path, description: str, about: Mapping[str, str]) -> None:
    """Replaces the notes of a graph: producer, description and metadata.

    Args:
        path: an ONNX file; replaced when the new one is whole.
        description: one line, the file's `doc_string`.
        about: metadata by key; what else the file's metadata has is kept.
    """
    head = ModelProto(
        producer_name=PRODUCER, producer_version=version("isslim"), doc_string=description
    )
    for key, value in about.items():
        head.metadata_props.add(key=key, value=value)
    with path.open("rb") as source, atomic_file(path) as temporary, temporary.open("wb") as target:
        for number, kind, start, size in _fields(source):
            if number in _OURS or (number == _METADATA and _key(source, start, size) in about):
                continue
            target.write(varint(number << 3 | kind))
            if kind == _BYTES:
                target.write(varint(size))
            source.seek(start)
            target.writelines(_blocks(source, size))
        target.write(head.SerializeToString())


def digest(path: Path) -> str:
    """SHA-256 of a graph without its notes: files with one digest compute the same.

    Args:
        path: an ONNX file.

    Raises:
        ValueError: when it is none.
    """
    found = hashlib.sha256()
    with path.open("rb") as source:
        for number, kind, start, size in _fields(source):
            if number in _OURS or number == _METADATA:
                continue
            found.update(varint(number << 3 | kind) + varint(size))
            source.seek(start)
            for block in _blocks(source, size):
                found.update(block)
    return found.hexdigest()


def _fields(file: BinaryIO) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, place and size of the content of every field of a message."""
    end, position = file.seek(0, 2), 0
    while position < end:
        file.seek(position)
        tag = _read_varint(file)
        start = file.tell()
        kind = tag & 7
        if kind == _NUMBER:
            _read_varint(file)
            size = file.tell() - start
        elif kind == _BYTES:
            size = _read_varint(file)
            start = file.tell()
        elif kind in (_DOUBLE, _FLOAT):
            size = 8 if kind == _DOUBLE else 4
        else:
            raise ValueError(f"no ONNX file: wire type {kind} at byte {position}")
        yield tag >> 3, kind, start, size
        position = start + size


def _key(file: BinaryIO, start: int, size: int) -> str:
    """The key of an entry of metadata."""
    file.seek(start)
    model = ModelProto()
    model.metadata_props.add().ParseFromString(file.read(size))
    return str(model.metadata_props[0].key)


def _blocks(source: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        block = source.read(min(size, _BLOCK))
        yield block
        size -= len(block)


def _read_varint(file: BinaryIO) -> int:
    value, shift = 0, 0
    while True:
        (byte,) = file.read(1)
        value |= (byte & 127) << shift
        if byte < 128:
            return value
        shift += 7

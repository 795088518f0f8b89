"""Tensors of the protocol: datatypes, JSON lists, and bytes (little endian, row major).

Sizes are compared with shapes before anything is allocated for them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import KINDS, typed

Array = NDArray[Any]
TEXT = "BYTES"
DATATYPES: dict[str, str] = {
    "BOOL": "tensor(bool)",
    "UINT8": "tensor(uint8)",
    "UINT16": "tensor(uint16)",
    "UINT32": "tensor(uint32)",
    "UINT64": "tensor(uint64)",
    "INT8": "tensor(int8)",
    "INT16": "tensor(int16)",
    "INT32": "tensor(int32)",
    "INT64": "tensor(int64)",
    "FP16": "tensor(float16)",
    "FP32": "tensor(float)",
    "FP64": "tensor(double)",
    TEXT: "tensor(string)",
}
"""ONNX Runtime's types by the protocol's names."""
_NAMES = {kind: name for name, kind in DATATYPES.items()}
MAX_RANK = 32
_LENGTH = struct.Struct("<I")


def datatype_of(kind: str) -> str:
    """The protocol's name of a type; one that it has no name for stays as ONNX Runtime has it."""
    return _NAMES.get(kind, kind)


def datatype_of_array(array: Array) -> str:
    """The protocol's name of an array's type: texts are arrays of objects."""
    if array.dtype.kind in "OU":
        return TEXT
    return next(name for name, kind in DATATYPES.items() if np.dtype(KINDS[kind]) == array.dtype)


def from_lists(name: str, data: Any, datatype: str, shape: Sequence[int]) -> Array:
    """A tensor that was sent as JSON.

    Args:
        name: of the input.
        data: numbers, truth values or texts, flat or nested, row major.
        datatype: a key of `DATATYPES`.
        shape: as it was sent.

    Raises:
        InputsRefused: when they are of another type, or not as many as the shape says.
    """
    try:
        array = typed(data, DATATYPES[datatype])
    except (ValueError, TypeError, ArithmeticError) as error:
        raise InputsRefused([f"input '{name}' is no {datatype}: {error}"]) from error
    return _shaped(name, array, shape)


def from_bytes(
    name: str, content: memoryview, datatype: str, shape: Sequence[int], most_texts: int
) -> Array:
    """A tensor that was sent as bytes.

    Args:
        name: of the input.
        content: its bytes; texts in UTF-8, each after its length in 4 bytes.
        datatype: a key of `DATATYPES`.
        shape: as it was sent.
        most_texts: that one tensor may hold, since each takes much more memory than its bytes.

    Raises:
        InputsRefused: when they are not as many as the shape says, or not texts.
    """
    count = math.prod(shape)
    if datatype == TEXT:
        if min(count, len(content) // _LENGTH.size) > most_texts:
            raise InputsRefused([f"input '{name}' holds {count:,} texts; at most {most_texts:,}"])
        return _shaped(name, np.array([*_texts(name, content)], np.object_), shape)
    kind = np.dtype(KINDS[DATATYPES[datatype]])
    if count * kind.itemsize != len(content):
        raise InputsRefused(
            [
                f"input '{name}' has {len(content):,} bytes; {datatype} of the shape "
                f"{list(shape)} has {count * kind.itemsize:,}"
            ]
        )
    if kind.kind == "b":  # any other byte than 0 is true, and 1 is what NumPy computes with
        return _shaped(name, np.frombuffer(content, np.uint8) != 0, shape)
    return _shaped(name, np.frombuffer(content, kind.newbyteorder("<")), shape)


def to_bytes(array: Array) -> bytes:
    """An output as bytes."""
    if datatype_of_array(array) == TEXT:
        texts = [str(each).encode() for each in array.ravel().tolist()]
        return b"".join(part for text in texts for part in (_LENGTH.pack(len(text)), text))
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _shaped(name: str, array: Array, shape: Sequence[int]) -> Array:
    if array.size != math.prod(shape):
        raise InputsRefused(
            [
                f"input '{name}' holds {array.size:,} values; its shape {list(shape)} has "
                f"{math.prod(shape):,}"
            ]
        )
    try:
        return array.reshape(shape)
    except (ValueError, OverflowError) as error:  # sizes beside a 0 may be any number
        raise InputsRefused([f"input '{name}': the shape {list(shape)} is too large"]) from error


def _texts(name: str, content: memoryview) -> Iterator[str]:
    place = 0
    while place < len(content):
        begin = place + _LENGTH.size
        if begin > len(content):
            raise InputsRefused([f"input '{name}' ends within the length of a text"])
        place = begin + _LENGTH.unpack_from(content, place)[0]
        if place > len(content):
            raise InputsRefused([f"input '{name}' ends within a text"])
        try:
            yield str(content[begin:place], "utf-8")
        except UnicodeDecodeError as error:
            raise InputsRefused([f"input '{name}' holds a text that is not UTF-8"]) from error

"""Named arrays as the content of an npz file: of any names, without pickles, in bounded memory."""

from __future__ import annotations

import math
import zipfile
from collections import Counter
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 4 << 30
"""Bytes that all arrays of a file may take in memory by default."""


HEADER_BYTES, MANY = 128, 1000
"""Of an array in an npz; and how many arrays no sender exceeds."""


class BadArrays(ValueError):
    """The content is not an npz of arrays, or is too large."""


def dump_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An npz file's content; `numpy.savez` refuses arrays with the names of its own parameters.

    Args:
        arrays: by name; texts may come as objects, which are written as numpy's own texts: they
            could else only be pickled.

    Raises:
        ValueError: when an array holds other objects.
    """
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, array in arrays.items():
            plain = np.asarray(array)
            if plain.dtype.kind == "O" and all(isinstance(each, str) for each in plain.flat):
                plain = plain.astype(np.str_)
            with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, plain, allow_pickle=False)
    return content.getvalue()


def read_npz(content: bytes, largest: int = MAX_BYTES) -> dict[str, NDArray[Any]]:
    """Every array of an npz that a sender chose.

    Args:
        content: of the file.
        largest: bytes that all arrays together may take in memory.

    Raises:
        BadArrays: when something else is in it, or more.
    """
    if not zipfile.is_zipfile(BytesIO(content)):
        what = (
            "this is one array without a name, as `numpy.save` writes it"
            if content.startswith(np.lib.format.MAGIC_PREFIX)
            else f"this is no npz of arrays: {'no zip file' if content else 'it is empty'}"
        )
        raise BadArrays(f"{what}; expected what `numpy.savez(file, name=array)` writes")
    try:
        with zipfile.ZipFile(BytesIO(content)) as file:
            entries = file.infolist()
            strange = [entry.filename for entry in entries if not entry.filename.endswith(".npy")]
            if strange:
                raise BadArrays(f"'{strange[0]}' in it is no array")
            [(name, times), *_] = Counter(each.filename for each in entries).most_common(1) or [
                ("", 0)
            ]
            if times > 1:
                raise BadArrays(f"'{name}' is in it {times:,} times: one would hide the others")
            # What is allowed are arrays: the headers of any sensible number of them come on top.
            total = sum(entry.file_size for entry in entries)
            total -= HEADER_BYTES * min(len(entries), MANY)
            if total > largest:
                raise BadArrays(
                    f"its arrays take {total:,} bytes; at most {largest:,} are read from a file of "
                    f"{len(content):,} bytes (not compressed, by `numpy.savez`, it may be larger)"
                )
            return {entry.filename.removesuffix(".npy"): _array(file, entry) for entry in entries}
    except (
        Exception
    ) as error:  # zipfile, zlib, lzma and tokenize each raise their own errors for broken content
        raise BadArrays(f"this is no npz of arrays: {error or type(error).__name__}") from error


def _array(file: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    with file.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, kind = read_header(stream)
        if kind.hasobject:
            raise BadArrays(
                f"'{entry.filename}' holds objects of Python, such as lists of unequal lengths, "
                "and not numbers or texts"
            )
        # An array is allocated by the size in its header, before it is read.
        if math.prod(shape) * kind.itemsize > entry.file_size:
            raise BadArrays(f"'{entry.filename}' is cut off")
    with file.open(entry) as stream:
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        return array

"""Finds the data file of an ONNX graph that was saved as two, such as `m.onnx` and `m.onnx.data`.

The client has no `onnx`.

A tensor that is stored in another file has an entry of two strings, `location` and the file's name;
in protobuf's encoding that is one run of bytes, which can be searched for.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

# Field 1 is the key, of 8 bytes; field 2 the value, whose length below 128 is one byte.
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])")


def data_beside(model: Path) -> Path | None:
    """The external data file of an ONNX graph.

    Args:
        model: file of a model of any kind; only `.onnx` files are searched.

    Returns:
        The file that the graph names, if it names one by a plain name and the file exists; else
        None.
    """
    if model.suffix.lower() != ".onnx" or not model.stat().st_size:
        return None
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        names = {
            content[found.end() : found.end() + found[1][0]]
            for found in _LOCATION.finditer(content)
        }
    if len(names) != 1:
        return None
    name = names.pop().decode(errors="replace")
    if "/" in name or "\\" in name or "\0" in name or name in (".", ".."):
        return None
    path = model.with_name(name)
    return path if path.is_file() else None

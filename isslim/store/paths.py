"""The guard for every path that comes from a manifest, a request or the name of an artifact."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from isslim.store.errors import UnsafePath

_PART = re.compile(r"[A-Za-z0-9._-]+")


def safe_relative(path: str) -> PurePosixPath:
    """A plain relative path, such as `original.onnx` or `plots/curve.svg`.

    Raises:
        UnsafePath: when it is empty, absolute, holds `.` or `..` as a part, or any character but
            letters, digits, `.`, `_`, `-` and `/`.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") or _PART.fullmatch(part) is None for part in parts):
        raise UnsafePath(path)
    return PurePosixPath(*parts)

"""Local files as a request names them."""

from __future__ import annotations

from pathlib import Path

from isslim.store.artifacts import sha256_of
from isslim.types.jobs import UploadRef


def upload_of(path: Path) -> UploadRef:
    """What a file would be called as an upload; the pipeline is given the file itself."""
    return UploadRef(sha256=sha256_of(path), filename=path.name, size_bytes=path.stat().st_size)

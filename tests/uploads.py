"""Local files as uploads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from isslim.store.files import sha256_of
from isslim.store.settings import StoreSettings
from isslim.store.uploads import UploadStore
from isslim.types.jobs import UploadRef


def upload_of(path: Path) -> UploadRef:
    """What a file would be called as an upload, for a pipeline that is given the file itself."""
    return UploadRef(sha256=sha256_of(path), filename=path.name, size_bytes=path.stat().st_size)


def stored(settings: StoreSettings, path: Path) -> UploadRef:
    """Uploads a file, for a worker that fetches it."""

    async def content() -> AsyncIterator[bytes]:
        yield path.read_bytes()

    return asyncio.run(UploadStore(settings).save(content(), path.name))

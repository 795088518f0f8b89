"""Uploads: streamed to disk under a limit while they are hashed, then kept by their hash.

The same content sent twice is stored once. A failed upload leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path, PurePath
from uuid import uuid4

from isslim.store.artifacts import Artifacts
from isslim.store.clock import StorageClock, folder_time
from isslim.store.errors import EmptyUpload, StoreError, TooLarge
from isslim.store.files import noticing_full_disk, sha256_of
from isslim.store.settings import StoreSettings
from isslim.types.jobs import UploadRef

Stamp = tuple[int, int]
Made = dict[str, Stamp]
"""Uploads by hash that a request has brought, with the stamps of their files."""
_RENEWED = "renewed"
"""Folder of remote storage in which a mark named by the hash of an upload says when it was renewed.
"""


class UploadStore:
    """Content-addressed uploads in artifact storage, as `uploads/<sha256>`."""

    def __init__(self, settings: StoreSettings) -> None:
        self._artifacts = Artifacts(settings)
        self._limit = settings.upload_limit_bytes
        self._arriving = settings.home / "arriving"
        self._clock = StorageClock(lambda: folder_time(self._arriving))

    async def save(
        self,
        chunks: AsyncIterator[bytes],
        filename: str,
        limit_bytes: int | None = None,
        made: Made | None = None,
    ) -> UploadRef:
        """Stores a stream.

        Args:
            chunks: the content.
            filename: from the sender; only its last part is kept, and only for messages.
            limit_bytes: in place of the settings' limit.
            made: gets what was not there before, for `forget`.

        Raises:
            TooLarge: as soon as the limit is exceeded.
            EmptyUpload: when the stream was empty.
            OutOfSpace: when the disk is full.
        """
        limit = self._limit if limit_bytes is None else limit_bytes
        self._arriving.mkdir(parents=True, exist_ok=True)
        name = PurePath(filename).name or "upload"
        digest, size = hashlib.sha256(), 0
        # Each arrival has its own file: two simultaneous equal uploads must not share one.
        arriving = self._arriving / uuid4().hex
        try:
            with noticing_full_disk(name), arriving.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > limit:
                        raise TooLarge(name, limit)
                    digest.update(chunk)
                    # In a thread, like what follows: a slow disk must not keep the event loop from
                    # answering other requests.
                    await asyncio.to_thread(file.write, chunk)
            if size == 0:
                raise EmptyUpload(name)
            upload = UploadRef(sha256=digest.hexdigest(), filename=name, size_bytes=size)
            # It is written even when it exists: that renews its time, so that garbage collection
            # keeps it.
            stamp = _stamp(arriving)
            is_new = made is not None and (
                upload.sha256 in made
                or not await asyncio.to_thread(self._artifacts.exists, _name(upload.sha256))
            )
            await asyncio.to_thread(self._artifacts.move_in, _name(upload.sha256), arriving)
            if made is not None and is_new:
                made[upload.sha256] = stamp
            return upload
        finally:
            arriving.unlink(missing_ok=True)

    def fetch(self, upload: UploadRef, folder: Path) -> Path:
        """Copies an upload into a folder and checks it.

        Args:
            upload: which one.
            folder: the target, where the file is named by its hash.

        Returns:
            The file.

        Raises:
            NotFound: when it is not in storage.
            StoreError: when its content is not what was uploaded.
        """
        target = folder / upload.sha256
        if not target.exists():
            self._artifacts.copy_out(_name(upload.sha256), target)
        if sha256_of(target) != upload.sha256:
            target.unlink()
            raise StoreError(f"upload '{upload.filename}' was changed in storage; send it again")
        return target

    def renew(self, upload: UploadRef) -> bool:
        """Whether an upload is in storage, to look before a job is queued on it.

        It counts as recent from now on: garbage collection may have looked at the jobs before.
        """
        if self._artifacts.folder is None:
            # Remote storage renews no file without sending it again; S3 copies none to itself.
            self._artifacts.mark(f"{_RENEWED}/{upload.sha256}")
            return self._artifacts.exists(_name(upload.sha256))
        try:
            os.utime(self._artifacts.folder / _name(upload.sha256))
        except FileNotFoundError:
            self._artifacts.check_readable()
            return False
        return True

    def forget(self, made: Made) -> None:
        """Removes what a refused request has brought, unless another has sent the same since.

        What lies in remote storage is left to `collect_garbage`: who sent it last cannot be told.

        Args:
            made: by `save`.
        """
        for sha256, stamp in made.items():
            if self._artifacts.folder is not None:
                with suppress(FileNotFoundError):
                    path = self._artifacts.folder / _name(sha256)
                    if _stamp(path) == stamp:
                        path.unlink()

    def delete(self, sha256: str) -> None:
        """Removes an upload, if it exists."""
        self._artifacts.delete([_name(sha256)])

    def collect_garbage(self, needed: set[str], older_than_seconds: float = 3600.0) -> None:
        """Removes uploads that no job needs, and partial arrivals of a killed service.

        Recent ones are kept: their request may not have been queued yet.

        Args:
            needed: hashes to which unfinished jobs refer.
            older_than_seconds: age up to which uploads are recent.
        """
        old = self._artifacts.older("uploads", older_than_seconds)
        if self._artifacts.folder is None:
            # Last, so that what was renewed meanwhile is among them.
            forgotten = self._artifacts.older(_RENEWED, older_than_seconds)
            marks = set(self._artifacts.names(_RENEWED)) - set(forgotten)
            needed = needed | {mark.removeprefix(f"{_RENEWED}/") for mark in marks}
            self._artifacts.delete(forgotten)
        unneeded = [name for name in old if name.removeprefix("uploads/") not in needed]
        # A request may have sent or renewed one in between, and queues its job in a moment.
        self._artifacts.delete_old(unneeded, older_than_seconds)
        if not self._arriving.is_dir():
            return
        limit = self._clock.now() - older_than_seconds
        for path in self._arriving.iterdir():
            with suppress(FileNotFoundError):  # it arrived completely meanwhile
                if path.stat().st_mtime < limit:
                    path.unlink()


def _name(sha256: str) -> str:
    return f"uploads/{sha256}"


def _stamp(path: Path) -> Stamp:
    """What tells a file from another of the same content, also after it was moved."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns

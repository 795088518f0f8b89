"""Files in artifact storage (a local folder, or S3 and its like) behind obstore.

Contents are streamed in both directions; nothing here holds a whole file in memory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.store import LocalStore, ObjectStore, from_url

from isslim.store.errors import NotFound, StorageUnavailable
from isslim.store.files import atomic_file, noticing_full_disk
from isslim.store.paths import safe_relative
from isslim.store.settings import StoreSettings

if TYPE_CHECKING:
    from obstore import ObjectMeta  # exists for type checkers only

CHUNK_BYTES = 1 << 20
FileStamp = tuple[int, int]
"""Modification time (ns) and size of a file: a different pair means different content."""


class Artifacts:
    """Artifact storage by plain relative names.

    Attributes:
        folder: the local folder that holds the files, or None for remote storage.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self._store: ObjectStore
        self.folder: Path | None = None
        if settings.artifacts_url is None:
            self.folder = settings.home.absolute() / "artifacts"
            self.folder.mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(self.folder)
        else:
            self._store = from_url(settings.artifacts_url)

    def check_readable(self) -> None:
        """Looks whether files can be read.

        Raises:
            StorageUnavailable: when the folder, which was made at the start, is gone or cannot be
                read, or when remote storage does not answer.
        """
        try:
            if self.folder is None:
                next(iter(obstore.list(self._store, prefix="bundles")), None)
            else:
                os.scandir(self.folder).close()
        except Exception as error:  # obstore has no common root of its errors
            reason = getattr(error, "strerror", None) or str(error)
            raise StorageUnavailable(f"{self.folder or 'remote storage'}: {reason}") from error

    def copy_in(self, name: str, source: Path) -> None:
        """Copies a file into storage; readers see all of it or nothing.

        Args:
            name: what it is to be called in storage, a plain relative path.
            source: the file.

        Raises:
            OutOfSpace: when a local disk is full; nothing was kept.
        """
        key = str(safe_relative(name))
        if self.folder is None:
            obstore.put(self._store, key, source)
            return
        target = self.folder / key
        self._make_folder(target.parent)
        with atomic_file(target) as temporary:
            shutil.copyfile(source, temporary)

    def move_in(self, name: str, source: Path) -> None:
        """Moves a file into storage, without a copy where both are on one disk.

        Readers see all of it or nothing.

        Args:
            name: what it is to be called in storage, a plain relative path.
            source: the file, which is gone afterwards.

        Raises:
            OutOfSpace: when a local disk is full; nothing was kept.
        """
        target = None if self.folder is None else self.folder / safe_relative(name)
        if target is None or source.stat().st_dev != self._make_folder(target.parent).stat().st_dev:
            self.copy_in(name, source)
            source.unlink()
            return
        with noticing_full_disk(target.name), source.open("rb") as written:
            os.fsync(written.fileno())
            source.replace(target)

    def copy_out(self, name: str, target: Path) -> None:
        """Copies a file from storage.

        Args:
            name: of a file in storage.
            target: the file to write; its folder is made.

        Raises:
            NotFound: when there is none of that name.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            stream = obstore.get(self._store, str(safe_relative(name))).stream(
                min_chunk_size=CHUNK_BYTES
            )
        except FileNotFoundError as error:
            raise NotFound("file", name) from error
        with atomic_file(target) as temporary, temporary.open("wb") as file:
            for chunk in stream:
                file.write(chunk)

    @staticmethod
    def _make_folder(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def exists(self, name: str) -> bool:
        """Whether there is a file with that name."""
        key = str(safe_relative(name))
        if self.folder is not None:
            return (self.folder / key).is_file()
        try:
            obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        return True

    def names(self, prefix: str) -> list[str]:
        """Names below a prefix, sorted."""
        return sorted(item["path"] for item in self._listed(prefix))

    def folders_with(self, prefix: str, file: str) -> dict[str, FileStamp]:
        """The folders directly below a prefix that hold a certain file.

        Args:
            prefix: a folder in storage.
            file: the file's name.

        Returns:
            The file's stamp by the name of its folder.
        """
        if self.folder is None:
            parts = (
                (item["path"].removeprefix(f"{prefix}/").split("/"), item)
                for item in self._listed(prefix)
            )
            return {
                path[0]: (int(item["last_modified"].timestamp() * 1e9), item["size"])
                for path, item in parts
                if path[1:] == [file]
            }
        # Every request passes here to find its model: one scan of one folder is much faster
        # than a list of all files in all folders.
        found: dict[str, FileStamp] = {}
        with suppress(FileNotFoundError), os.scandir(self.folder / prefix) as entries:
            for entry in entries:
                with suppress(FileNotFoundError, NotADirectoryError):
                    status = os.stat(f"{entry.path}/{file}")  # noqa: PTH116 - a Path is slower
                    found[entry.name] = (status.st_mtime_ns, status.st_size)
        return found

    def older(self, prefix: str, seconds: float) -> list[str]:
        """Names of files that were last written some time ago, sorted.

        Args:
            prefix: a folder in storage.
            seconds: how long ago at least.
        """
        limit = datetime.now(UTC) - timedelta(seconds=seconds)
        return sorted(
            item["path"] for item in self._listed(prefix) if item["last_modified"] < limit
        )

    def _listed(self, prefix: str) -> Iterator[ObjectMeta]:
        return (item for batch in obstore.list(self._store, prefix=prefix) for item in batch)

    def delete(self, names: list[str]) -> None:
        """Removes files; missing ones are ignored."""
        for name in names:
            try:
                obstore.delete(self._store, name)
            except FileNotFoundError:
                continue

"""Files in artifact storage (a local folder, or S3 and its like) behind obstore.

Contents are streamed in both directions; nothing here holds a whole file in memory.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.store import LocalStore, ObjectStore

from isslim.store.clock import StorageClock
from isslim.store.errors import NotFound, StorageUnavailable
from isslim.store.files import atomic_file, noticing_full_disk
from isslim.store.paths import safe_relative
from isslim.store.remote import noticing_outage, open_remote
from isslim.store.settings import StoreSettings

if TYPE_CHECKING:
    from obstore import ObjectMeta  # exists for type checkers only

PIECE_BYTES = 8 << 20
"""What is read in one request, so that a large file has no time limit of its own."""
UPLOADS_AT_ONCE = 4
"""Pieces of one file that are sent at a time."""
FileStamp = tuple[int, int]
"""Modification time (ns) and size of a file: a different pair means different content."""


class Artifacts:
    """Artifact storage by plain relative names.

    Every method raises `StorageUnavailable` when remote storage refuses or takes too long.

    Attributes:
        folder: the local folder that holds the files, or None for remote storage.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self._store: ObjectStore
        self.folder: Path | None = None
        self._clock = StorageClock(self._shown_time)
        if settings.artifacts_url is None:
            self.folder = settings.home.absolute() / "artifacts"
            self.folder.mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(self.folder)
        else:
            self._store = open_remote(settings.artifacts_url, settings.storage_seconds)
        # Of remote storage too, where that is a folder, such as one of another machine.
        at = self._store.prefix if isinstance(self._store, LocalStore) else None
        self._root = self.folder if at is None else Path(at)

    def check_readable(self) -> None:
        """Looks whether files can be read.

        Raises:
            StorageUnavailable: when the folder, which was made at the start, is gone or cannot be
                read, or when remote storage does not answer.
        """
        self._check_root()
        if self.folder is None:
            with noticing_outage(expects_it=True):
                next(iter(obstore.list(self._store, prefix="bundles")), None)

    def _check_root(self) -> None:
        """Looks whether there is the folder of all files, if it is one: without it no file is.

        Raises:
            StorageUnavailable: when it is gone.
        """
        if self._root is None:
            return
        try:
            os.scandir(self._root).close()
        except OSError as error:
            raise StorageUnavailable(f"its folder: {error.strerror}") from error

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
            with noticing_outage(expects_it=True):
                obstore.put(self._store, key, source, max_concurrency=UPLOADS_AT_ONCE)
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
        pieces = self._pieces(str(safe_relative(name)))
        first = next(pieces)  # whether it exists, before anything is made
        with atomic_file(target) as temporary, temporary.open("wb") as file:
            file.write(first)
            for piece in pieces:
                file.write(piece)

    def _pieces(self, key: str) -> Iterator[bytes]:
        """The content of a file, at least one piece."""
        try:
            with noticing_outage():
                found = obstore.get(self._store, key)
                size = found.meta["size"]
                if size <= PIECE_BYTES:
                    yield bytes(found.bytes())
                    return
            del found
            for start in range(0, size, PIECE_BYTES):
                end = min(start + PIECE_BYTES, size)
                with noticing_outage():
                    piece = bytes(obstore.get_range(self._store, key, start=start, end=end))
                yield piece
        except FileNotFoundError as error:
            self._check_root()
            raise NotFound("file", key) from error

    @staticmethod
    def _make_folder(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def exists(self, name: str) -> bool:
        """Whether there is a file with that name.

        Raises:
            StorageUnavailable: when folder or bucket of all files are gone, which says nothing of
                one.
        """
        key = str(safe_relative(name))
        if self.folder is not None:
            found = (self.folder / key).is_file()
        else:
            # The answer to HEAD does not say what is missing, that to GET does; most are there.
            found = any(self._answers(ask, key) for ask in (obstore.head, obstore.get))
        if not found:
            self._check_root()
        return found

    def _answers(self, ask: Callable[[ObjectStore, str], object], key: str) -> bool:
        """Whether a request for a file finds it.

        Args:
            ask: sends the request.
            key: of the file.
        """
        try:
            with noticing_outage():
                ask(self._store, key)
        except FileNotFoundError:
            return False
        return True

    def names(self, prefix: str) -> list[str]:
        """Names below a prefix, sorted."""
        return sorted(item["path"] for item in self._listed(prefix))

    def mark(self, name: str) -> None:
        """Makes an empty file in remote storage: that it is there says something."""
        with noticing_outage(expects_it=True):
            obstore.put(self._store, str(safe_relative(name)), b"")

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders directly below a prefix of remote storage.

        It takes one request for a thousand of them, whatever they hold.
        """
        self._check_root()
        with noticing_outage(expects_it=True):
            found = obstore.list_with_delimiter(self._store, prefix=prefix)
        return [each.rsplit("/", 1)[-1] for each in found["common_prefixes"]]

    def folders_with(self, prefix: str, file: str) -> dict[str, FileStamp]:
        """The folders directly below a prefix of local storage that hold a certain file.

        Args:
            prefix: a folder in storage.
            file: the file's name.

        Returns:
            The file's stamp by the name of its folder.
        """
        # Every request passes here to find its model: one scan of one folder is much faster
        # than a list of all files in all folders.
        found: dict[str, FileStamp] = {}
        if self.folder is None:
            return found
        with suppress(FileNotFoundError), os.scandir(self.folder / prefix) as entries:
            for entry in entries:
                with suppress(FileNotFoundError, NotADirectoryError):
                    status = os.stat(f"{entry.path}/{file}")  # noqa: PTH116 - a Path is slower
                    found[entry.name] = (status.st_mtime_ns, status.st_size)
        return found

    def older(self, prefix: str, seconds: float) -> list[str]:
        """Names of files that were last written some time ago, sorted.

        That is by the storage's own clock: this host's may be hours ahead of it.

        Args:
            prefix: a folder in storage.
            seconds: how long ago at least.
        """
        limit = self._clock.now() - seconds
        return sorted(
            item["path"]
            for item in self._listed(prefix)
            if item["last_modified"].timestamp() <= limit
        )

    def delete_old(self, names: list[str], seconds: float) -> None:
        """Removes files that `older` has named, but for those that were written again since.

        In remote storage that cannot be told: it has nothing like a rename.

        Args:
            names: of the files.
            seconds: how long ago each was last written, at least.
        """
        if self.folder is None:
            self.delete(names)
            return
        limit = self._clock.now() - seconds
        for name in names:
            path = self.folder / name
            aside = path.with_name(f".{path.name}")  # what a kill leaves is named as old again
            with suppress(FileNotFoundError):
                path.rename(aside)
                if aside.stat().st_mtime > limit:
                    aside.rename(path)
                else:
                    aside.unlink()

    def _shown_time(self) -> float:
        """When the storage says that a file was written which is written now."""
        probe = f".clock-{secrets.token_hex(8)}"
        with noticing_outage(expects_it=True):
            obstore.put(self._store, probe, b"0")
            try:
                return obstore.head(self._store, probe)["last_modified"].timestamp()
            finally:
                obstore.delete(self._store, probe)

    def _listed(self, prefix: str) -> Iterator[ObjectMeta]:
        self._check_root()  # of a folder that is gone, an empty list is the library's answer
        with noticing_outage(expects_it=True):
            for batch in obstore.list(self._store, prefix=prefix):
                yield from batch

    def delete(self, names: list[str]) -> None:
        """Removes files; missing ones are ignored."""
        if self.folder is None and len(names) > 1:
            with suppress(FileNotFoundError), noticing_outage():
                obstore.delete(self._store, names)
                return
        for name in names:
            with suppress(FileNotFoundError), noticing_outage():
                obstore.delete(self._store, name)

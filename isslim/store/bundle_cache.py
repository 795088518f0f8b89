"""Local copies of remote bundles: fetched whole, and removed when they take too much room.

A copy arrives in a folder of another name, which its process locks, and gets its own name when it
is complete: what a killed process left is seen by nobody, and removed by the next one.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from isslim.store.artifacts import Artifacts
from isslim.store.errors import NotFound
from isslim.store.integrity import MANIFEST, fingerprint
from isslim.store.paths import safe_relative
from isslim.types.names import is_model_id

ARRIVING, REMOVED = ".arriving-", ".removed-"


class BundleCache:
    """The cache of one home; several processes may share it.

    Args:
        artifacts: where bundles are fetched from.
        folder: of the cache.
        limit_bytes: size of all copies above which the ones that were not opened for longest are
            removed.
    """

    def __init__(self, artifacts: Artifacts, folder: Path, limit_bytes: int) -> None:
        self._artifacts, self._folder, self._limit = artifacts, folder, limit_bytes

    def folder_of(self, bundle_id: str) -> Path:
        """Where the copy of a bundle is, or would be."""
        return self._folder / bundle_id

    def manifest_of(self, bundle_id: str) -> Path:
        """Where the copy of a manifest is, or would be: there are more of them than of bundles."""
        return self._folder / "manifests" / f"{bundle_id}.json"

    def fetch(self, bundle_id: str) -> bool:
        """Copies a bundle from storage; False when there is a copy.

        Raises:
            NotFound: when it is not in storage.
            OutOfSpace: when the disk is full.
            StorageUnavailable: when the storage does not answer.
        """
        folder, prefix = self.folder_of(bundle_id), f"bundles/{bundle_id}/"
        if (folder / MANIFEST).exists():
            return False
        names = self._artifacts.names(prefix.rstrip("/"))
        if f"{prefix}{MANIFEST}" not in names:
            raise NotFound("model", bundle_id)
        with self._arriving() as arriving:
            for name in names:
                relative = safe_relative(name.removeprefix(prefix))
                self._artifacts.copy_out(name, arriving / relative)
            with suppress(OSError):  # of an earlier release, which fetched into this folder
                shutil.rmtree(folder)
            with suppress(OSError):  # another process was first
                arriving.rename(folder)
        return True

    def used(self, bundle_id: str) -> None:
        """Notes that a copy was opened now."""
        with suppress(FileNotFoundError):
            os.utime(self.folder_of(bundle_id))

    def drop(self, bundle_id: str) -> None:
        """Removes a copy, and that of the manifest; nobody sees a part of it."""
        self.manifest_of(bundle_id).unlink(missing_ok=True)
        removed = self._folder / f"{REMOVED}{secrets.token_hex(8)}"
        with suppress(FileNotFoundError):
            self.folder_of(bundle_id).rename(removed)
        shutil.rmtree(removed, ignore_errors=True)

    def clean(self, present: Collection[str], kept: str) -> None:
        """Removes copies of bundles that are gone, what killed processes left, and the oldest.

        Args:
            present: ids of the bundles in storage.
            kept: id of the copy that stays, whatever its size.
        """
        for path in self._folder.iterdir():
            if path.name.startswith((ARRIVING, REMOVED)):
                _remove_unlocked(path)
        copies = {path.name for path in self._folder.iterdir() if is_model_id(path.name)}
        manifests = {path.stem for path in (self._folder / "manifests").glob("*.json")}
        for gone in (copies | manifests).difference(present, {kept}):
            self.drop(gone)
        sizes = {each: _size(self.folder_of(each)) for each in copies & {*present, kept}}
        opened = sorted(sizes, key=lambda each: _time(self.folder_of(each)))
        total = sum(sizes.values())
        for oldest in (each for each in opened if each != kept):
            if total <= self._limit:
                break
            self.drop(oldest)
            total -= sizes[oldest]

    @contextmanager
    def _arriving(self) -> Iterator[Path]:
        """A new folder, which is locked while it is filled, and removed unless it was renamed."""
        folder = self._folder / f"{ARRIVING}{secrets.token_hex(8)}"
        folder.mkdir(parents=True)
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)


def _remove_unlocked(folder: Path) -> None:
    """Removes a folder that no living process fills."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)


def _size(folder: Path) -> int:
    """Bytes of a copy; 0 when it was removed meanwhile."""
    try:
        return sum(size for _, size, _ in fingerprint(folder))
    except FileNotFoundError:
        return 0


def _time(folder: Path) -> float:
    """When a copy was opened last."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0

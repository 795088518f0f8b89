"""Bundles in artifact storage: published whole, verified when opened.

`isslim/store/__init__.py` has the format.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from isslim.store.artifacts import Artifacts, FileStamp
from isslim.store.bundle_cache import BundleCache
from isslim.store.errors import CorruptBundle, NotFound, StorageUnavailable
from isslim.store.folders import OpenBundle, id_of
from isslim.store.integrity import (
    MANIFEST,
    Fingerprint,
    fingerprint,
    looks_untouched,
    read_manifest,
    verify,
)
from isslim.store.listing import RemoteListing
from isslim.store.settings import StoreSettings
from isslim.types.manifest import Manifest
from isslim.types.names import is_model_id

REMOTE_STAMP: FileStamp = (0, 0)
"""The stamp of every manifest in remote storage."""


@dataclass(frozen=True)
class ListedBundle:
    """A bundle in the list.

    Attributes:
        manifest: None when it cannot be read.
        issues: why it cannot be used, one line each; empty if no problem is known.
    """

    id: str
    manifest: Manifest | None
    issues: list[str]


class BundleStore:
    """All published bundles, as `bundles/<id>/...` in artifact storage."""

    def __init__(self, settings: StoreSettings) -> None:
        self._artifacts = Artifacts(settings)
        self._cache = BundleCache(self._artifacts, settings.cache / "bundles", settings.cache_bytes)
        self._listing = RemoteListing(self._listed_folders, self._is_whole)
        self._verified: dict[str, tuple[Fingerprint, Manifest]] = {}
        self._damaged: dict[str, tuple[Fingerprint, list[str]]] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._manifests: dict[str, tuple[FileStamp, Manifest | None]] = {}
        self._newest_first: tuple[dict[str, FileStamp], list[tuple[str, Manifest]]] = ({}, [])

    @property
    def is_remote(self) -> bool:
        """Whether bundles lie in remote storage, and on local disk copies of them."""
        return self._artifacts.folder is None

    def check_listed(self) -> None:
        """Looks whether the list of bundles is that of now, before something is said to be gone.

        Raises:
            StorageUnavailable: when it is older, as the storage does not answer, or is away.
        """
        if not self.is_remote:
            self.check_readable()
        elif self._listing.fault is not None:
            raise StorageUnavailable(self._listing.fault.reason)

    def check_readable(self) -> None:
        """Looks whether bundles can be read.

        Raises:
            StorageUnavailable: when they cannot.
        """
        self._artifacts.check_readable()

    def publish(self, folder: Path) -> str:
        """Copies a sealed folder into storage, its manifest last.

        Returns:
            The bundle's id. Publishing the same content again changes nothing.

        Raises:
            CorruptBundle: when the folder does not match its manifest.
            OutOfSpace: when the disk is full; no bundle appears.
            StorageUnavailable: when remote storage does not answer; it can be tried again.
        """
        bundle_id = self.stage(folder)
        self.complete(bundle_id)
        return bundle_id

    def stage(self, folder: Path) -> str:
        """Copies a sealed folder into storage, its manifest to where it makes no bundle yet.

        Returns:
            The bundle's id, for `complete`.

        Raises:
            CorruptBundle: when the folder does not match its manifest.
            OutOfSpace: when the disk is full; nothing is left.
        """
        bundle_id = id_of(folder)
        manifest = verify(bundle_id, folder)
        prefix = f"bundles/{bundle_id}"
        if not self._is_intact(bundle_id):
            try:
                for record in manifest.files:
                    self._artifacts.copy_in(f"{prefix}/{record.path}", folder / record.path)
                self._artifacts.copy_in(_staged(bundle_id), folder / MANIFEST)
            except StorageUnavailable:
                raise  # it can remove nothing either; what was sent is used by the next try
            except BaseException:
                self.discard(bundle_id)
                raise
        return bundle_id

    def _is_intact(self, bundle_id: str) -> bool:
        """Whether there is a bundle that can be opened."""
        try:
            self.open(bundle_id)
        except (CorruptBundle, NotFound):
            return False
        return True

    def complete(self, bundle_id: str) -> bool:
        """Makes a bundle of what was staged, by its manifest.

        It may be repeated, by any process, after an interruption.

        Returns:
            Whether there is such a bundle now: False when nothing of the kind was staged.
        """
        target = f"bundles/{bundle_id}/{MANIFEST}"
        if not self._artifacts.exists(target):
            with tempfile.TemporaryDirectory(prefix="iss-") as folder:
                manifest = Path(folder) / MANIFEST
                try:
                    self._artifacts.copy_out(_staged(bundle_id), manifest)
                except NotFound:
                    return False
                if self.is_remote:
                    self._artifacts.delete([_deleted(bundle_id)])
                self._artifacts.copy_in(target, manifest)
            self._listing.renew()
        self._artifacts.delete([_staged(bundle_id)])
        return True

    def discard(self, bundle_id: str) -> None:
        """Removes what was staged, unless it is a bundle by now."""
        if self.exists(bundle_id):
            return
        self._artifacts.delete([_staged(bundle_id)])
        self._artifacts.delete(self._artifacts.names(f"bundles/{bundle_id}"))
        if self._artifacts.folder is not None:
            shutil.rmtree(self._artifacts.folder / "bundles" / bundle_id, ignore_errors=True)

    def open(self, bundle_id: str) -> OpenBundle:
        """A verified bundle on local disk; remote ones are fetched into the cache first.

        A bundle verified before is only compared by its files' sizes and modification times, so
        that opening is cheap and a change on disk is still noticed.

        Raises:
            NotFound: when there is no such bundle.
            CorruptBundle: when its files do not match the manifest.
        """
        self._check_there(bundle_id)
        # A lock for each bundle: no request waits until another bundle is hashed, and no bundle is
        # hashed or fetched twice at the same time.
        with self._locks.setdefault(bundle_id, threading.Lock()):
            unchanged = self.unchanged(bundle_id)
            if unchanged is not None:
                return unchanged
            self._verified.pop(bundle_id, None)
            return self._fetched(bundle_id) if self.is_remote else self._checked(bundle_id)

    def _fetched(self, bundle_id: str) -> OpenBundle:
        """The local copy of a remote bundle, fetched where there is none, or a damaged one."""
        if not self._cache.fetch(bundle_id):
            try:
                found = self._checked(bundle_id)
            except (CorruptBundle, NotFound):
                # The copy is damaged or was removed; the bundle in storage may be intact.
                self._cache.drop(bundle_id)
                self._cache.fetch(bundle_id)
            else:
                self._cache.used(bundle_id)
                return found
        self._cache.clean(self._listing.known(), bundle_id)
        return self._checked(bundle_id)

    def _checked(self, bundle_id: str) -> OpenBundle:
        """The bundle in its local folder, every file verified.

        One that was found damaged is not hashed again until a file of it changes.
        """
        folder = self._folder(bundle_id)
        try:
            seen = fingerprint(folder)
        except FileNotFoundError as error:  # deleted since it was looked up
            raise NotFound("model", bundle_id) from error
        damaged = self._damaged.get(bundle_id)
        if damaged is not None and damaged[0] == seen:
            raise CorruptBundle(bundle_id, damaged[1])
        try:
            manifest = verify(bundle_id, folder)
        except CorruptBundle as found:
            self._damaged[bundle_id] = (seen, found.issues)
            raise
        self._verified[bundle_id] = (seen, manifest)
        return OpenBundle(bundle_id, folder, manifest)

    def unchanged(self, bundle_id: str) -> OpenBundle | None:
        """A bundle that was verified before, if its files still have the same sizes and times.

        None otherwise. No file is read.
        """
        known, folder = self._verified.get(bundle_id), self._folder(bundle_id)
        try:
            same = known is not None and known[0] == fingerprint(folder)
        except FileNotFoundError:
            return None
        return OpenBundle(bundle_id, folder, known[1]) if known is not None and same else None

    def _folder(self, bundle_id: str) -> Path:
        """The folder of a bundle on local disk, once it is fetched."""
        local = self._artifacts.folder
        if local is None:
            return self._cache.folder_of(bundle_id)
        return local / "bundles" / bundle_id

    def manifests(self) -> list[tuple[str, Manifest]]:
        """Ids and manifests of all bundles whose manifest can be read, newest first."""
        written = self._manifest_stamps()
        known, found = self._newest_first
        if written != known:
            read = (
                (bundle_id, self._manifest(bundle_id, seen)) for bundle_id, seen in written.items()
            )
            readable = [
                (bundle_id, manifest) for bundle_id, manifest in read if manifest is not None
            ]
            found = sorted(readable, key=lambda pair: pair[1].created_at, reverse=True)
            self._newest_first = (written, found)
        return list(found)

    def ids(self) -> set[str]:
        """Ids of all bundles, usable or not."""
        return set(self._manifest_stamps())

    def listed(self) -> list[ListedBundle]:
        """All bundles, newest first, then those whose manifest cannot be read.

        Files newer than their manifest, or of another size than in it, are hashed; the others when
        the bundle is opened.
        """
        readable = [
            ListedBundle(each, manifest, self._issues(each, manifest))
            for each, manifest in self.manifests()
        ]
        others = sorted(self._manifest_stamps().keys() - {each.id for each in readable})
        return [*readable, *(ListedBundle(each, None, self._issues(each, None)) for each in others)]

    def exists(self, bundle_id: str) -> bool:
        """Whether there is such a bundle, usable or not."""
        return is_model_id(bundle_id) and self._artifacts.exists(f"bundles/{bundle_id}/{MANIFEST}")

    def delete(self, bundle_id: str) -> None:
        """Removes a bundle, its manifest first, so that nobody opens a part of it.

        Raises:
            NotFound: when there is no such bundle.
        """
        self._check_there(bundle_id)
        prefix = f"bundles/{bundle_id}"
        if self.is_remote:
            # Some servers list a folder for a while after its last file is gone.
            self._artifacts.mark(_deleted(bundle_id))
        self._artifacts.delete([f"{prefix}/{MANIFEST}"])
        self._listing.forget(bundle_id)
        self._artifacts.delete(self._artifacts.names(prefix))
        if self._artifacts.folder is None:
            self._cache.drop(bundle_id)
        else:
            shutil.rmtree(self._artifacts.folder / prefix, ignore_errors=True)
        for known in (self._verified, self._damaged, self._manifests):
            known.pop(bundle_id, None)
        self._locks.pop(bundle_id, None)

    def collect_garbage(
        self, older_than_seconds: float = 3600.0, kept: Collection[str] = ()
    ) -> None:
        """Removes the remains of bundles whose publication was killed: files without a manifest.

        Args:
            older_than_seconds: younger files may belong to a bundle that is being published.
            kept: ids of bundles that are still to be completed.
        """
        old = set(self._artifacts.older("bundles", older_than_seconds))
        old.update(self._artifacts.older("staged", older_than_seconds))
        self._artifacts.delete(self._artifacts.older("deleted", older_than_seconds))
        files: dict[str, list[str]] = {}
        for name in self._artifacts.names("bundles") + self._artifacts.names("staged"):
            files.setdefault(name.split("/")[1], []).append(name)
        for bundle_id, names in files.items():
            whole = f"bundles/{bundle_id}/{MANIFEST}" in names
            wanted = whole or bundle_id in kept or not is_model_id(bundle_id)
            if not wanted and old.issuperset(names):
                self.discard(bundle_id)

    def _check_there(self, bundle_id: str) -> None:
        # A copy is opened while the storage does not answer: it is what was there last.
        listed = self.is_remote and is_model_id(bundle_id) and bundle_id in self._listing.known()
        if not listed and not self.exists(bundle_id):
            raise NotFound("model", bundle_id)

    def _listed_folders(self) -> set[str]:
        """Folders of bundles in remote storage, but for those of deleted ones."""
        deleted = {name.rpartition("/")[2] for name in self._artifacts.names("deleted")}
        return set(self._artifacts.folders("bundles")) - deleted

    def _is_whole(self, bundle_id: str) -> bool:
        """Whether a folder in remote storage is a bundle; its manifest is read."""
        if not is_model_id(bundle_id):
            return False
        self._manifests.pop(bundle_id, None)
        self._manifest(bundle_id, REMOTE_STAMP)
        return bundle_id in self._manifests

    def _manifest_stamps(self) -> dict[str, FileStamp]:
        """The modification time of each bundle's manifest."""
        if self.is_remote:
            # What is in remote storage by its id stays as it is.
            return dict.fromkeys(self._listing.known(), REMOTE_STAMP)
        found = self._artifacts.folders_with("bundles", MANIFEST)
        return {each: written for each, written in found.items() if is_model_id(each)}

    def _issues(self, bundle_id: str, manifest: Manifest | None) -> list[str]:
        folder = self._folder(bundle_id)
        try:
            if manifest is not None and (
                self._artifacts.folder is None or looks_untouched(folder, manifest)
            ):
                return []
            self.open(bundle_id)
        except (CorruptBundle, NotFound) as found:
            return found.issues if isinstance(found, CorruptBundle) else [str(found)]
        return []

    def _manifest(self, bundle_id: str, written: FileStamp) -> Manifest | None:
        """A bundle's manifest, read again when the file changed; None if it is unreadable."""
        known = self._manifests.get(bundle_id)
        if known is None or known[0] != written:
            try:
                known = (written, self._read_manifest(bundle_id))
            except NotFound:  # deleted since it was listed
                return None
            except CorruptBundle:
                known = (written, None)
            self._manifests[bundle_id] = known
        return known[1]

    def _read_manifest(self, bundle_id: str) -> Manifest:
        if self._artifacts.folder is not None:
            return read_manifest(
                bundle_id, self._artifacts.folder / "bundles" / bundle_id / MANIFEST
            )
        copy = self._cache.manifest_of(bundle_id)
        if copy.exists():
            try:
                found = read_manifest(bundle_id, copy)
            except CorruptBundle:
                copy.unlink(missing_ok=True)
            else:
                if not self._artifacts.exists(f"bundles/{bundle_id}/{MANIFEST}"):
                    raise NotFound("model", bundle_id)
                return found
        self._artifacts.copy_out(f"bundles/{bundle_id}/{MANIFEST}", copy)
        return read_manifest(bundle_id, copy)


def _staged(bundle_id: str) -> str:
    """The place of a manifest that makes no bundle yet; a bundle has no file that it names not."""
    return f"staged/{bundle_id}/{MANIFEST}"


def _deleted(bundle_id: str) -> str:
    """The place of the note that a bundle was deleted, so that no list shows it any more."""
    return f"deleted/{bundle_id}"

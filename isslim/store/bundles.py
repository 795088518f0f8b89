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
from isslim.store.errors import CorruptBundle, NotFound
from isslim.store.folders import OpenBundle, id_of
from isslim.store.integrity import (
    MANIFEST,
    Fingerprint,
    fingerprint,
    looks_untouched,
    read_manifest,
    verify,
)
from isslim.store.paths import safe_relative
from isslim.store.settings import StoreSettings
from isslim.types.manifest import Manifest
from isslim.types.names import is_model_id


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
        self._cache = settings.cache / "bundles"
        self._verified: dict[str, tuple[Fingerprint, Manifest]] = {}
        self._damaged: dict[str, tuple[Fingerprint, list[str]]] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._manifests: dict[str, tuple[FileStamp, Manifest | None]] = {}
        self._newest_first: tuple[dict[str, FileStamp], list[tuple[str, Manifest]]] = ({}, [])

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
        if not self._artifacts.exists(f"{prefix}/{MANIFEST}"):
            try:
                for record in manifest.files:
                    self._artifacts.copy_in(f"{prefix}/{record.path}", folder / record.path)
                self._artifacts.copy_in(_staged(bundle_id), folder / MANIFEST)
            except BaseException:
                self.discard(bundle_id)
                raise
        return bundle_id

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
                self._artifacts.copy_in(target, manifest)
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
        prefix = self._prefix_of(bundle_id)
        # A lock for each bundle: no request waits until another bundle is hashed, and no bundle is
        # hashed or fetched twice at the same time.
        with self._locks.setdefault(bundle_id, threading.Lock()):
            unchanged = self.unchanged(bundle_id)
            if unchanged is not None:
                return unchanged
            self._verified.pop(bundle_id, None)
            if self._artifacts.folder is None and not self._fetch(bundle_id, prefix):
                try:
                    return self._checked(bundle_id)
                except CorruptBundle:
                    # The cached copy is damaged; the bundle in storage may be intact.
                    shutil.rmtree(self._folder(bundle_id), ignore_errors=True)
                    self._fetch(bundle_id, prefix)
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
        return local / "bundles" / bundle_id if local is not None else self._cache / bundle_id

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
        prefix = self._prefix_of(bundle_id)
        self._artifacts.delete([f"{prefix}/{MANIFEST}"])
        self._artifacts.delete(self._artifacts.names(prefix))
        for folder in (
            self._cache / bundle_id,
            self._artifacts.folder and self._artifacts.folder / prefix,
        ):
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
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
        staged = {name: name.split("/")[1] for name in self._artifacts.names("staged")}
        found = {name.split("/")[1] for name in self._artifacts.names("bundles")}
        found.update(staged.values())
        for bundle_id in sorted(
            each for each in found - self._manifest_stamps().keys() if is_model_id(each)
        ):
            files = self._artifacts.names(f"bundles/{bundle_id}")
            files += [name for name, of in staged.items() if of == bundle_id]
            if old.issuperset(files) and bundle_id not in kept:
                self.discard(bundle_id)

    def _prefix_of(self, bundle_id: str) -> str:
        if not self.exists(bundle_id):
            raise NotFound("model", bundle_id)
        return f"bundles/{bundle_id}"

    def _fetch(self, bundle_id: str, prefix: str) -> bool:
        """Copies a bundle into the cache; False when there is a copy."""
        folder = self._cache / bundle_id
        if (folder / MANIFEST).exists():
            return False
        names = self._artifacts.names(prefix)
        for name in sorted(names, key=lambda name: name.endswith(MANIFEST)):
            self._artifacts.copy_out(name, folder / safe_relative(name.removeprefix(f"{prefix}/")))
        return True

    def _manifest_stamps(self) -> dict[str, FileStamp]:
        """The modification time of each bundle's manifest."""
        found = self._artifacts.folders_with("bundles", MANIFEST)
        return {
            bundle_id: written for bundle_id, written in found.items() if is_model_id(bundle_id)
        }

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
        copy = self._cache / "manifests" / f"{bundle_id}.json"
        if copy.exists():
            try:
                return read_manifest(bundle_id, copy)
            except CorruptBundle:
                copy.unlink(missing_ok=True)
        self._artifacts.copy_out(f"bundles/{bundle_id}/{MANIFEST}", copy)
        return read_manifest(bundle_id, copy)


def _staged(bundle_id: str) -> str:
    """The place of a manifest that makes no bundle yet; a bundle has no file that it names not."""
    return f"staged/{bundle_id}/{MANIFEST}"

"""Bundles in artifact storage: sealed, published whole, verified when opened. `store/__init__.py` has the format."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from store.artifacts import Artifacts, sha256_of, whole_file
from store.errors import CorruptBundle, NotFound
from store.manifest import FileRecord, Manifest
from store.paths import safe_relative
from store.settings import StoreSettings

MANIFEST = "manifest.json"
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class OpenBundle:
    """A bundle whose files have been verified, on local disk."""

    id: str
    folder: Path
    manifest: Manifest

    def path(self, name: str) -> Path:
        """The path of one of its files.

        Raises:
            UnsafePath: when the name would leave the folder.
            NotFound: when the manifest does not name it.
        """
        relative = str(safe_relative(name))
        known = [record.path for record in self.manifest.files]
        if relative != MANIFEST and relative not in known:
            raise NotFound("file", name, known)
        return self.folder / relative


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Hashes every file of a folder and writes its manifest, the last step of making a bundle.

    Args:
        folder: the bundle's files, without a manifest.
        manifest: complete but for `files`, which is replaced.

    Returns:
        The manifest as written.

    Raises:
        OutOfSpace: when the disk is full.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    files = [
        FileRecord(
            path=str(safe_relative(path.relative_to(folder).as_posix())),
            size_bytes=path.stat().st_size,
            sha256=sha256_of(path),
        )
        for path in paths
    ]
    sealed = manifest.model_copy(update={"files": files})
    with whole_file(folder / MANIFEST) as temporary:
        temporary.write_text(sealed.model_dump_json(indent=2), encoding="utf-8")
    return sealed


class BundleStore:
    """All published bundles, as `bundles/<id>/...` in artifact storage."""

    def __init__(self, settings: StoreSettings) -> None:
        self._artifacts = Artifacts(settings)
        self._cache = settings.cache / "bundles"
        self._verified: dict[str, tuple[list[tuple[str, int, int]], Manifest]] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._manifests: dict[str, tuple[int, int, Manifest]] = {}

    def publish(self, folder: Path) -> str:
        """Copies a sealed folder into storage, its manifest last.

        Returns:
            The bundle's id. Publishing the same content again changes nothing.

        Raises:
            CorruptBundle: when the folder is not what its manifest says.
            OutOfSpace: when the disk is full; no bundle appears.
        """
        bundle_id = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()[:16]
        manifest = _verify(bundle_id, folder)
        prefix = f"bundles/{bundle_id}"
        if not self._artifacts.exists(f"{prefix}/{MANIFEST}"):
            try:
                for record in manifest.files:
                    self._artifacts.put(f"{prefix}/{record.path}", folder / record.path)
                self._artifacts.put(f"{prefix}/{MANIFEST}", folder / MANIFEST)
            except BaseException:
                self._artifacts.delete(self._artifacts.names(prefix))
                raise
        return bundle_id

    def open(self, bundle_id: str) -> OpenBundle:
        """A verified bundle on local disk; remote ones are fetched into the cache first.

        A bundle verified before is only compared by its files' sizes and times of change, so that opening is cheap and
        a change on disk is noticed all the same.

        Raises:
            NotFound: when there is no such bundle.
            CorruptBundle: when its files are not what the manifest says.
        """
        prefix = self._known(bundle_id)
        # One lock a bundle: nobody waits for the hashing of another one, and none is hashed or fetched twice at a time.
        with self._locks.setdefault(bundle_id, threading.Lock()):
            unchanged = self.unchanged(bundle_id)
            if unchanged is not None:
                return unchanged
            self._verified.pop(bundle_id, None)
            folder = self._folder(bundle_id)
            if self._artifacts.folder is None:
                self._fetch(bundle_id, prefix)
            try:
                seen = _fingerprint(folder)
            except FileNotFoundError as error:  # deleted in this moment
                raise NotFound("model", bundle_id) from error
            manifest = _verify(bundle_id, folder)
            self._verified[bundle_id] = (seen, manifest)
        return OpenBundle(bundle_id, folder, manifest)

    def unchanged(self, bundle_id: str) -> OpenBundle | None:
        """A bundle that was verified before, if its files still have their sizes and times of change; at once."""
        known, folder = self._verified.get(bundle_id), self._folder(bundle_id)
        try:
            same = known is not None and known[0] == _fingerprint(folder)
        except FileNotFoundError:
            return None
        return OpenBundle(bundle_id, folder, known[1]) if known is not None and same else None

    def _folder(self, bundle_id: str) -> Path:
        """Where a bundle lies on local disk, or will when it was fetched."""
        local = self._artifacts.folder
        return local / "bundles" / bundle_id if local is not None else self._cache / bundle_id

    def manifests(self) -> list[tuple[str, Manifest]]:
        """Ids and manifests of all bundles, newest first; one whose manifest cannot be read is left out."""
        found = []
        for name in self._artifacts.names("bundles"):
            prefix, _, last = name.rpartition("/")
            if last == MANIFEST and prefix.count("/") == 1:
                bundle_id = prefix.removeprefix("bundles/")
                try:
                    found.append((bundle_id, self._manifest(bundle_id, name)))
                except (CorruptBundle, NotFound):
                    continue
        return sorted(found, key=lambda pair: pair[1].created_at, reverse=True)

    def delete(self, bundle_id: str) -> None:
        """Removes a bundle, its manifest first, so that nobody opens half of it.

        Raises:
            NotFound: when there is no such bundle.
        """
        prefix = self._known(bundle_id)
        self._artifacts.delete([f"{prefix}/{MANIFEST}"])
        self._artifacts.delete(self._artifacts.names(prefix))
        for folder in (self._cache / bundle_id, self._artifacts.folder and self._artifacts.folder / prefix):
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
        self._verified.pop(bundle_id, None)
        self._locks.pop(bundle_id, None)

    def _known(self, bundle_id: str) -> str:
        if _ID.fullmatch(bundle_id) is None or not self._artifacts.exists(f"bundles/{bundle_id}/{MANIFEST}"):
            raise NotFound("model", bundle_id)
        return f"bundles/{bundle_id}"

    def _fetch(self, bundle_id: str, prefix: str) -> None:
        folder = self._cache / bundle_id
        if not (folder / MANIFEST).exists():
            names = self._artifacts.names(prefix)
            for name in sorted(names, key=lambda name: name.endswith(MANIFEST)):
                self._artifacts.get(name, folder / safe_relative(name.removeprefix(f"{prefix}/")))

    def _manifest(self, bundle_id: str, name: str) -> Manifest:
        if self._artifacts.folder is not None:
            folder = self._artifacts.folder / "bundles" / bundle_id
            try:
                status = (folder / MANIFEST).stat()
            except FileNotFoundError as error:
                raise NotFound("model", bundle_id) from error
            seen = (status.st_mtime_ns, status.st_size)
            known = self._manifests.get(bundle_id)
            if known is None or known[:2] != seen:
                known = self._manifests[bundle_id] = (*seen, _read(bundle_id, folder))
            return known[2]
        target = self._cache / "manifests" / f"{bundle_id}.json"
        if not target.exists():
            self._artifacts.get(name, target)
        return Manifest.model_validate_json(target.read_bytes())


def _read(bundle_id: str, folder: Path) -> Manifest:
    """The manifest, checked against the id.

    Raises:
        CorruptBundle: when it is not the one that the id names, or not valid.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except FileNotFoundError as error:
        raise NotFound("model", bundle_id) from error
    if hashlib.sha256(content).hexdigest()[:16] != bundle_id:
        raise CorruptBundle(bundle_id, ["manifest.json is not the one that the id names"])
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise CorruptBundle(bundle_id, [f"manifest.json: {issue['msg']}" for issue in error.errors()]) from error


def _verify(bundle_id: str, folder: Path) -> Manifest:
    """Checks every file; reports all issues at once.

    Raises:
        CorruptBundle: when anything is missing, changed or not named.
    """
    manifest, issues = _read(bundle_id, folder), []
    for record in manifest.files:
        path = folder / safe_relative(record.path)
        if not path.is_file():
            issues.append(f"{record.path} is missing")
        elif path.stat().st_size != record.size_bytes:
            issues.append(f"{record.path} has {path.stat().st_size:,} bytes instead of {record.size_bytes:,}")
        elif sha256_of(path) != record.sha256:
            issues.append(f"{record.path} has another SHA-256")
    named = {record.path for record in manifest.files} | {MANIFEST}
    issues += [f"{name} is not in the manifest" for name, _, _ in _fingerprint(folder) if name not in named]
    if issues:
        raise CorruptBundle(bundle_id, issues)
    return manifest


def _fingerprint(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change (ns) of every file."""
    found, waiting = [], [("", folder)]
    while waiting:
        prefix, current = waiting.pop()
        # Every request comes through here: a scan gets names and kinds in one call, a walk of paths takes many.
        with os.scandir(current) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((f"{prefix}{entry.name}/", Path(entry.path)))
                else:
                    status = entry.stat(follow_symlinks=False)
                    found.append((prefix + entry.name, status.st_size, status.st_mtime_ns))
    return sorted(found)

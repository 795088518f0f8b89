"""A bundle as a folder: sealed when it is made, verified when it is opened.

Unlike `isslim.store.bundles`, it needs no artifact storage.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from isslim.store.errors import NotFound
from isslim.store.files import atomic_file, sha256_of
from isslim.store.integrity import MANIFEST, verify
from isslim.store.leniency import known_part
from isslim.store.paths import safe_relative
from isslim.types.manifest import FileRecord, Manifest
from isslim.types.report import Report

_REPORT = TypeAdapter(Report)


@dataclass(frozen=True)
class OpenBundle:
    """A bundle whose files have been verified, on local disk."""

    id: str
    folder: Path
    manifest: Manifest

    @property
    def files(self) -> list[FileRecord]:
        """All of its files: the manifest, which does not name itself, and those that it names."""
        manifest = self.folder / MANIFEST
        record = FileRecord(
            path=MANIFEST, size_bytes=manifest.stat().st_size, sha256=sha256_of(manifest)
        )
        return [record, *self.manifest.files]

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
    """Hashes every file of a folder and writes its manifest, the last step in making a bundle.

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
    with atomic_file(folder / MANIFEST) as temporary:
        temporary.write_text(sealed.model_dump_json(indent=2), encoding="utf-8")
    return sealed


def open_folder(folder: Path) -> OpenBundle:
    """A sealed folder as a bundle, every file verified.

    Raises:
        NotFound: when it holds no manifest.
        CorruptBundle: when its files do not match the manifest.
    """
    bundle_id = id_of(folder)
    return OpenBundle(bundle_id, folder, verify(bundle_id, folder))


def id_of(folder: Path) -> str:
    """The id of a sealed folder: the first 16 hexadecimal digits of its manifest's SHA-256.

    Raises:
        NotFound: when it holds no manifest.
    """
    try:
        return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()[:16]
    except FileNotFoundError as error:
        raise NotFound("file", MANIFEST) from error


def report_of(bundle: OpenBundle) -> Report:
    """A bundle's report, without the fields that a later release of its format may have added."""
    return known_part(_REPORT, bundle.path("report.json").read_bytes())

"""Verifies a bundle's folder: the manifest, all contents, or only sizes and times."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from isslim.store.errors import CorruptBundle, NotFound
from isslim.store.files import sha256_of
from isslim.store.leniency import known_part
from isslim.store.paths import safe_relative
from isslim.types.manifest import Manifest

MANIFEST = "manifest.json"
_MANIFEST = TypeAdapter(Manifest)
Fingerprint = list[tuple[str, int, int]]
"""Name, size and modification time (ns) of every file."""


def read_manifest(bundle_id: str, path: Path) -> Manifest:
    """The manifest in a file, checked against the id.

    A later release of the same format may have added fields: they are left out.

    Args:
        bundle_id: the first 16 hexadecimal digits of the SHA-256 that the file must have.
        path: the file.

    Raises:
        NotFound: when there is no such file.
        CorruptBundle: when the id does not match it, or it is invalid.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound("model", bundle_id) from error
    if hashlib.sha256(content).hexdigest()[:16] != bundle_id:
        raise CorruptBundle(bundle_id, ["manifest.json is not the one that the id names"])
    try:
        return known_part(_MANIFEST, content)
    except ValidationError as error:
        issues = [
            (".".join(str(part) for part in issue["loc"]), issue["msg"]) for issue in error.errors()
        ]
        # Issues with other fields mean nothing where the format itself is different.
        if any(place == "format_version" for place, _ in issues):
            advice = "it was made by another release; delete it and send its request again"
            issues = [("format_version", advice)]
        raise CorruptBundle(
            bundle_id, [f"{MANIFEST}: {place}: {message}" for place, message in issues]
        ) from error


def verify(bundle_id: str, folder: Path) -> Manifest:
    """Checks every file; reports all issues together.

    Args:
        bundle_id: of the bundle that the folder should be.
        folder: its files, the manifest among them.

    Returns:
        The manifest.

    Raises:
        NotFound: when there is no manifest.
        CorruptBundle: when any file is missing, changed or not listed.
    """
    manifest, issues = read_manifest(bundle_id, folder / MANIFEST), []
    for record in manifest.files:
        path = folder / safe_relative(record.path)
        if not path.is_file():
            issues.append(f"{record.path} is missing")
        elif path.stat().st_size != record.size_bytes:
            issues.append(
                f"{record.path} has {path.stat().st_size:,} bytes instead of {record.size_bytes:,}"
            )
        elif sha256_of(path) != record.sha256:
            issues.append(f"{record.path} has another SHA-256")
    named = {record.path for record in manifest.files} | {MANIFEST}
    issues += [
        f"{name} is not in the manifest" for name, _, _ in fingerprint(folder) if name not in named
    ]
    if issues:
        raise CorruptBundle(bundle_id, issues)
    return manifest


def looks_untouched(folder: Path, manifest: Manifest) -> bool:
    """Whether the files look unchanged since publication; none is read.

    All must exist with their sizes, none newer than the manifest, which was written last.

    Args:
        folder: a bundle's.
        manifest: of that bundle.
    """
    seen = {name: (size, changed) for name, size, changed in fingerprint(folder)}
    if MANIFEST not in seen:
        return False
    _, sealed = seen.pop(MANIFEST)
    expected = {record.path: record.size_bytes for record in manifest.files}
    sizes = {name: size for name, (size, _) in seen.items()}
    return sizes == expected and all(changed <= sealed for _, changed in seen.values())


def fingerprint(folder: Path) -> Fingerprint:
    """The entries of a folder, sorted by name.

    Raises:
        FileNotFoundError: when there is no such folder.
    """
    found, waiting = [], [("", folder)]
    while waiting:
        prefix, current = waiting.pop()
        # Every request passes here: a scan gets names and kinds in one call, where a walk
        # over paths takes many.
        with os.scandir(current) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((f"{prefix}{entry.name}/", Path(entry.path)))
                else:
                    status = entry.stat(follow_symlinks=False)
                    found.append((prefix + entry.name, status.st_size, status.st_mtime_ns))
    return sorted(found)

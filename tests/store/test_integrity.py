"""A bundle's folder on a real disk: what verifies, what each fault is called, what a look sees."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from isslim.store.errors import CorruptBundle, NotFound, UnsafePath
from isslim.store.integrity import (
    MANIFEST,
    fingerprint,
    looks_untouched,
    read_manifest,
    verify,
)
from isslim.types.manifest import FileRecord, Manifest
from tests.store.manifests import manifest_of

FILES = {"original.onnx": b"o" * 1234, "plots/curve.svg": b"<svg/>", "plots/a/deep.txt": b"1"}
SEALED_NS = 1_700_000_000_000_000_000


def records_of(files: dict[str, bytes]) -> list[FileRecord]:
    """What a manifest has to say of files."""
    return [
        FileRecord(path=path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for path, content in files.items()
    ]


def write_manifest(folder: Path, content: str) -> str:
    """Writes a manifest, and returns the id that names it."""
    (folder / MANIFEST).write_text(content)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


@pytest.fixture
def manifest() -> Manifest:
    return manifest_of(records_of(FILES))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a bundle, written a second before its manifest."""
    made = tmp_path / "bundle"
    for path, content in FILES.items():
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_bytes(content)
        os.utime(made / path, ns=(SEALED_NS - 10**9, SEALED_NS - 10**9))
    return made


@pytest.fixture
def bundle_id(folder: Path, manifest: Manifest) -> str:
    found = write_manifest(folder, manifest.model_dump_json())
    os.utime(folder / MANIFEST, ns=(SEALED_NS, SEALED_NS))
    return found


def issues_of(bundle_id: str, folder: Path) -> list[str]:
    with pytest.raises(CorruptBundle) as refused:
        verify(bundle_id, folder)
    assert refused.value.bundle == bundle_id
    return refused.value.issues


def test_untouched_folder_verifies(folder: Path, bundle_id: str, manifest: Manifest) -> None:
    assert verify(bundle_id, folder) == manifest
    assert read_manifest(bundle_id, folder / MANIFEST) == manifest


def test_every_fault_of_a_folder_is_named_at_once(folder: Path, bundle_id: str) -> None:
    (folder / "original.onnx").write_bytes(b"o" * 1233 + b"x")
    (folder / "plots/curve.svg").write_bytes(b"s" * 1000)
    (folder / "plots/a/deep.txt").unlink()
    (folder / "plots/a/deep.txt").mkdir()
    (folder / "plots/a/deep.txt/other").write_bytes(b"")
    (folder / "extra").write_bytes(b"")
    assert issues_of(bundle_id, folder) == [
        "original.onnx has another SHA-256",
        "plots/curve.svg has 1,000 bytes instead of 6",
        "plots/a/deep.txt is missing",
        "extra is not in the manifest",
        "plots/a/deep.txt/other is not in the manifest",
    ]


def test_large_sizes_are_written_in_groups(folder: Path, bundle_id: str) -> None:
    (folder / "original.onnx").write_bytes(b"")
    assert issues_of(bundle_id, folder) == ["original.onnx has 0 bytes instead of 1,234"]


def test_folder_without_a_manifest_is_no_bundle(folder: Path) -> None:
    with pytest.raises(NotFound, match="there is no model '0123456789abcdef'") as missing:
        verify("0123456789abcdef", folder)
    assert isinstance(missing.value.__cause__, FileNotFoundError)


def test_manifest_of_another_id_is_refused(folder: Path, bundle_id: str) -> None:
    with pytest.raises(CorruptBundle) as refused:
        read_manifest("0" * 16, folder / MANIFEST)
    assert refused.value.bundle == "0" * 16
    assert refused.value.issues == [f"{MANIFEST} is not the one that the id names"]
    with pytest.raises(CorruptBundle):
        read_manifest(bundle_id + "0", folder / MANIFEST)


def test_every_invalid_field_is_named_with_its_place(folder: Path, manifest: Manifest) -> None:
    content = json.loads(manifest.model_dump_json())
    content["files"][1]["size_bytes"] = -1
    content["other"] = 1
    assert issues_of(write_manifest(folder, json.dumps(content)), folder) == [
        f"{MANIFEST}: files.1.size_bytes: Input should be greater than or equal to 0",
        f"{MANIFEST}: other: Extra inputs are not permitted",
    ]


def test_another_format_hides_the_issues_that_follow_from_it(
    folder: Path, manifest: Manifest
) -> None:
    content = json.loads(manifest.model_dump_json()) | {"format_version": 1, "other": 1}
    assert issues_of(write_manifest(folder, json.dumps(content)), folder) == [
        f"{MANIFEST}: format_version: it was made by another release; delete it and send its "
        "request again"
    ]


def test_manifest_that_names_a_file_outside_is_refused(folder: Path) -> None:
    (folder.parent / "secret").write_bytes(b"s")
    found = write_manifest(folder, manifest_of(records_of({"../secret": b"s"})).model_dump_json())
    with pytest.raises(UnsafePath):
        verify(found, folder)


def test_fingerprint_is_size_and_time_of_every_file(folder: Path, bundle_id: str) -> None:
    assert bundle_id
    (folder / "empty").mkdir()
    (folder / "link").symlink_to("nowhere")
    link = (folder / "link").lstat()
    expected = [(path, len(content), SEALED_NS - 10**9) for path, content in FILES.items()]
    expected += [(MANIFEST, (folder / MANIFEST).stat().st_size, SEALED_NS)]
    expected += [("link", link.st_size, link.st_mtime_ns)]
    assert fingerprint(folder) == sorted(expected)
    with pytest.raises(FileNotFoundError):
        fingerprint(folder / "nowhere")


def test_link_to_a_folder_is_a_file_and_is_not_followed(folder: Path, bundle_id: str) -> None:
    (folder / "loop").symlink_to(folder)
    assert [name for name, _, _ in fingerprint(folder) if name.startswith("loop")] == ["loop"]
    assert issues_of(bundle_id, folder) == ["loop is not in the manifest"]


def test_look_sees_sizes_and_times_and_reads_nothing(
    folder: Path, bundle_id: str, manifest: Manifest
) -> None:
    assert bundle_id
    assert looks_untouched(folder, manifest)
    curve = folder / "plots/curve.svg"
    curve.write_bytes(b"<SVG/>")
    for written, untouched in ((SEALED_NS, True), (SEALED_NS + 1, False), (SEALED_NS - 1, True)):
        os.utime(curve, ns=(written, written))
        assert looks_untouched(folder, manifest) is untouched
    curve.write_bytes(b"<svg/>.")
    os.utime(curve, ns=(SEALED_NS, SEALED_NS))
    assert not looks_untouched(folder, manifest)


def test_look_misses_files_that_are_gone_or_new(
    folder: Path, bundle_id: str, manifest: Manifest
) -> None:
    assert bundle_id
    extra = folder / "extra"
    extra.write_bytes(b"")
    os.utime(extra, ns=(0, 0))
    assert not looks_untouched(folder, manifest)
    extra.unlink()
    (folder / "original.onnx").unlink()
    assert not looks_untouched(folder, manifest)


def test_folder_without_a_manifest_is_not_untouched(folder: Path, manifest: Manifest) -> None:
    for path in FILES:
        os.utime(folder / path, ns=(0, 0))
    assert not looks_untouched(folder, manifest)

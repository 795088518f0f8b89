"""Path guard, uploads and bundles on a real disk, with the faults that they exist for."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from isslim.store.artifacts import Artifacts
from isslim.store.bundles import BundleStore
from isslim.store.errors import CorruptBundle, EmptyUpload, NotFound, TooLarge, UnsafePath
from isslim.store.folders import seal
from isslim.store.integrity import MANIFEST
from isslim.store.paths import safe_relative
from isslim.store.settings import StoreSettings
from isslim.store.uploads import UploadStore
from tests.conftest import Published


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a\\b", "c:x", "a\0b", "a/", "\n"]
)
def test_unsafe_paths_are_refused(path: str) -> None:
    with pytest.raises(UnsafePath):
        safe_relative(path)


def test_plain_paths_pass() -> None:
    assert str(safe_relative("plots/curve-1.svg")) == "plots/curve-1.svg"


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def save(store: UploadStore, *parts: bytes) -> str:
    return asyncio.run(store.save(pieces(*parts), "dir/model.pt")).sha256


def files(settings: StoreSettings) -> list[str]:
    """Names of all files in the home, and of those that a remote storage holds in its stead."""
    found = [str(p.relative_to(settings.home)) for p in settings.home.rglob("*") if p.is_file()]
    if settings.artifacts_url is not None:
        found += [f"artifacts/{name}" for name in Artifacts(settings).names("")]
    return sorted(found)


def test_upload_is_kept_once_under_its_hash(settings: StoreSettings, tmp_path: Path) -> None:
    store = UploadStore(settings)
    first, second = save(store, b"ab", b"c"), save(store, b"a", b"bc")
    assert first == second == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files(settings) == [f"artifacts/uploads/{first}"]
    ref = asyncio.run(store.save(pieces(b"abc"), "x"))
    assert store.fetch(ref, tmp_path / "in").read_bytes() == b"abc"
    store.delete(first)
    with pytest.raises(NotFound):
        store.fetch(ref, tmp_path / "other")


def test_refused_upload_removes_only_what_its_own_request_brought(
    settings: StoreSettings,
) -> None:
    store = UploadStore(settings)
    mine, stranger, another = dict[str, tuple[int, int]](), dict[str, tuple[int, int]](), {}
    ref = asyncio.run(store.save(pieces(b"abc"), "x", made=mine))
    asyncio.run(store.save(pieces(b"abc"), "y", made=stranger))
    asyncio.run(store.save(pieces(b"other"), "z", made=stranger))
    assert (len(mine), len(stranger)) == (1, 1)  # the same content was there
    store.forget(stranger)
    assert store.renew(ref)
    # Nor does mine, once it was sent again by another: that request counts on it.
    asyncio.run(store.save(pieces(b"abc"), "y", made=another))
    store.forget(mine)
    assert store.renew(ref)
    alone = dict[str, tuple[int, int]]()
    last = asyncio.run(store.save(pieces(b"alone"), "x", made=alone))
    asyncio.run(store.save(pieces(b"alone"), "x", made=alone))  # twice in one request
    store.forget(alone)
    # Who sent what lies in remote storage last cannot be told: garbage is collected there.
    assert store.renew(last) == (settings.artifacts_url is not None)


def test_sweep_removes_old_uploads_that_no_job_needs(settings: StoreSettings) -> None:
    store = UploadStore(settings)
    needed, other = save(store, b"needed"), save(store, b"other")
    store.collect_garbage({needed})
    assert len(files(settings)) == 2  # young ones stay
    store.collect_garbage({needed}, older_than_seconds=0)
    assert files(settings) == [f"artifacts/uploads/{needed}"]
    assert other != needed


@pytest.mark.parametrize("is_remote", [False, True])
def test_upload_on_which_another_job_is_queued_is_recent_again(
    is_remote: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "remote" if is_remote else tmp_path / "artifacts"
    folder.mkdir()
    # A folder by its address is treated as any other remote storage is.
    settings = StoreSettings(home=tmp_path, artifacts_url=folder.as_uri() if is_remote else None)
    store = UploadStore(settings)
    kept, gone = (asyncio.run(store.save(pieces(each), "m")) for each in (b"kept", b"gone"))

    def age() -> None:
        for path in folder.rglob("*"):
            if path.is_file():
                os.utime(path, (0, 0))

    def there() -> set[str]:
        return {path.name for path in folder.rglob("*") if path.is_file()}

    age()
    assert store.renew(kept)
    store.collect_garbage(set())  # of a worker that looked at the jobs before
    assert there() == {kept.sha256}
    assert not store.renew(gone)
    age()  # and what was renewed is not kept for ever, nor are its marks
    store.collect_garbage(set())
    assert there() == set()


def test_upload_that_is_asked_for_while_old_ones_are_removed_stays(tmp_path: Path) -> None:
    settings = StoreSettings(home=tmp_path)
    store, artifacts = UploadStore(settings), Artifacts(settings)
    again, sent, gone = (
        asyncio.run(store.save(pieces(each), "m")) for each in (b"again", b"sent", b"gone")
    )
    for path in (tmp_path / "artifacts" / "uploads").iterdir():
        os.utime(path, (0, 0))
    old = artifacts.older("uploads", 3600)
    assert len(old) == 3
    assert store.renew(again)
    asyncio.run(store.save(pieces(b"sent"), "m"))
    artifacts.delete_old(old, 3600)  # of a worker that has listed them before
    assert (store.renew(again), store.renew(sent), store.renew(gone)) == (True, True, False)
    assert len(artifacts.names("uploads")) == 2


@pytest.mark.parametrize(
    "backend", [pytest.param("cluster", marks=pytest.mark.slow)], indirect=True
)
def test_upload_in_object_storage_is_recent_again(settings: StoreSettings) -> None:
    store = UploadStore(settings)
    kept, gone = (asyncio.run(store.save(pieces(each), "m")) for each in (b"kept", b"gone"))
    time.sleep(3)  # its times are whole seconds
    assert store.renew(kept)
    store.collect_garbage(set(), older_than_seconds=2)
    assert (store.renew(kept), store.renew(gone)) == (True, False)


def test_sweep_removes_what_a_killed_service_left_of_an_arrival(settings: StoreSettings) -> None:
    store = UploadStore(settings)
    save(store, b"whole")
    old, young = (settings.home / "arriving" / name for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    store.collect_garbage(set())
    assert [path.name for path in (settings.home / "arriving").iterdir()] == ["young"]


def test_slow_disk_keeps_nobody_else_waiting(
    settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The disk is done with the upload once the event loop has had a turn meanwhile: never, if it
    # waits for the disk.
    turned = threading.Event()
    fsync = os.fsync

    def slow(handle: int) -> None:
        assert turned.wait(10)
        fsync(handle)

    async def both() -> None:
        saving = asyncio.create_task(UploadStore(settings).save(pieces(b"abc"), "m"))
        while not saving.done():
            await asyncio.sleep(0.05)
            if (settings.home / "arriving").exists():
                turned.set()
        await saving

    monkeypatch.setattr(os, "fsync", slow)
    asyncio.run(both())


def test_upload_over_the_limit_stops_while_streaming(tmp_path: Path) -> None:
    settings = StoreSettings(home=tmp_path, upload_limit_bytes=10)
    seen = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            seen.append(1)
            yield b"1234"

    with pytest.raises(TooLarge, match="limit of 10 bytes"):
        asyncio.run(UploadStore(settings).save(endless(), "big"))
    assert len(seen) == 3
    with pytest.raises(EmptyUpload):
        save(UploadStore(settings))
    assert files(settings) == []


def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    # A limit on the size of files stands for the full disk: the write fails in the same place.
    code = f"""
import asyncio, resource, signal
from pathlib import Path
from isslim.store.errors import OutOfSpace
from isslim.store.settings import StoreSettings
from isslim.store.uploads import UploadStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
async def much():
    for _ in range(40):
        yield bytes(10_000)
store = UploadStore(StoreSettings(home=Path({str(tmp_path)!r})))
try:
    asyncio.run(store.save(much(), "m"))
except OutOfSpace as error:
    assert "nothing of it was kept" in str(error)
else:
    raise SystemExit("no error")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.fixture
def copy(published: Published, tmp_path: Path) -> tuple[BundleStore, str, Path]:
    shutil.copytree(published.settings.home / "artifacts", tmp_path / "artifacts")
    folder = tmp_path / "artifacts" / "bundles" / published.bundle_id
    return BundleStore(StoreSettings(home=tmp_path)), published.bundle_id, folder


def test_bundle_opens_lists_and_is_deleted(copy: tuple[BundleStore, str, Path]) -> None:
    store, bundle_id, folder = copy
    assert [found for found, _ in store.manifests()] == [bundle_id]
    assert store.open(bundle_id).path("original.onnx").is_file()
    with pytest.raises(UnsafePath):
        store.open(bundle_id).path("../../x")
    with pytest.raises(NotFound):
        store.open(bundle_id).path("other.onnx")
    store.delete(bundle_id)
    assert not folder.exists()
    with pytest.raises(NotFound):
        store.open(bundle_id)
    with pytest.raises(NotFound):
        store.open("../../etc")


def test_every_change_on_disk_is_noticed(copy: tuple[BundleStore, str, Path]) -> None:
    store, bundle_id, folder = copy
    store.open(bundle_id)
    card = folder / "README.md"
    content = card.read_bytes()
    card.write_bytes(b"x" + content[1:])
    with pytest.raises(CorruptBundle, match=r"README.md has another SHA-256"):
        store.open(bundle_id)
    card.write_bytes(content[:-1])
    (folder / "extra.bin").write_bytes(b"1")
    (folder / "report.json").unlink()
    with pytest.raises(CorruptBundle) as found:
        store.open(bundle_id)
    assert len(found.value.issues) == 3
    card.write_bytes(content)
    (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes() + b" ")
    with pytest.raises(CorruptBundle, match="not the one that the id names"):
        store.open(bundle_id)
    assert store.manifests() == []


def test_a_bundle_of_another_release_is_refused_with_what_to_do(
    copy: tuple[BundleStore, str, Path], tmp_path: Path
) -> None:
    store, _, folder = copy
    written = json.loads((folder / MANIFEST).read_bytes())
    older = json.dumps(written | {"format_version": 1}).encode()
    name = hashlib.sha256(older).hexdigest()[:16]
    shutil.copytree(folder, folder.with_name(name))
    (folder.with_name(name) / MANIFEST).write_bytes(older)
    told = "format_version: it was made by another release; delete it and send its request again"
    with pytest.raises(CorruptBundle, match=told):
        store.open(name)
    assert [listed.issues for listed in store.listed() if listed.id == name] == [
        [f"{MANIFEST}: {told}"]
    ]


def test_optional_field_of_a_later_release_is_no_damage(
    copy: tuple[BundleStore, str, Path],
) -> None:
    store, _, folder = copy
    written = json.loads((folder / MANIFEST).read_bytes())
    written["energy_joules"] = 3.5
    written["variants"][0]["colour"] = "red"
    written["recipe"]["budget"]["colour"] = "red"
    later = json.dumps(written).encode()
    name = hashlib.sha256(later).hexdigest()[:16]
    shutil.copytree(folder, folder.with_name(name))
    (folder.with_name(name) / MANIFEST).write_bytes(later)
    opened = store.open(name)
    assert opened.manifest.variants == store.open(folder.name).manifest.variants
    assert [each.issues for each in store.listed()] == [[], []]
    written["metric"] = 3
    wrong = json.dumps(written).encode()
    name = hashlib.sha256(wrong).hexdigest()[:16]
    shutil.copytree(folder, folder.with_name(name))
    (folder.with_name(name) / MANIFEST).write_bytes(wrong)
    with pytest.raises(CorruptBundle, match="metric"):
        store.open(name)


def test_staged_bundle_appears_by_its_manifest_alone(
    copy: tuple[BundleStore, str, Path], tmp_path: Path
) -> None:
    store, bundle_id, folder = copy
    made = tmp_path / "made"
    shutil.copytree(folder, made)
    store.delete(bundle_id)
    assert not store.complete(bundle_id)
    for ending in ("discarded", "completed"):
        assert store.stage(made) == bundle_id
        assert not store.exists(bundle_id)
        assert store.listed() == []
        if ending == "discarded":
            store.discard(bundle_id)
            assert not store.complete(bundle_id)
    assert store.stage(made) == bundle_id
    assert store.complete(bundle_id)
    assert store.complete(bundle_id)  # again, as after an interruption
    store.discard(bundle_id)  # comes too late
    assert store.open(bundle_id).id == bundle_id
    assert not list((folder.parent.parent / "staged").glob("*/*"))


def test_publishing_is_whole_or_nothing(
    copy: tuple[BundleStore, str, Path], tmp_path: Path
) -> None:
    store, bundle_id, folder = copy
    made = tmp_path / "made"
    shutil.copytree(folder, made)
    assert store.publish(made) == bundle_id  # the same content again changes nothing
    manifest = store.open(bundle_id).manifest
    (made / MANIFEST).unlink()
    sealed = seal(made, manifest.model_copy(update={"name": "other"}))
    (made / "README.md").write_text("changed after sealing")
    with pytest.raises(CorruptBundle):
        store.publish(made)
    assert [found for found, _ in store.manifests()] == [bundle_id]
    seal(made, sealed)
    other = store.publish(made)
    assert other != bundle_id
    assert {found for found, _ in store.manifests()} == {bundle_id, other}


def test_sweep_removes_halves_of_bundles_and_nothing_else(
    copy: tuple[BundleStore, str, Path],
) -> None:
    store, bundle_id, folder = copy
    half, young = folder.with_name("0" * 16), folder.with_name("1" * 16)
    for made in (half, young):
        (made / "plots").mkdir(parents=True)
        for name in ("original.onnx", "plots/curve.svg"):
            (made / name).write_bytes(b"1")
    for path in (*half.rglob("*"), *folder.rglob("*")):
        os.utime(path, (0, 0))
    store.collect_garbage()
    assert {each.name for each in folder.parent.iterdir()} == {bundle_id, young.name}
    assert store.open(bundle_id).path("original.onnx").is_file()


def test_remote_style_storage_is_fetched_into_the_cache(
    copy: tuple[BundleStore, str, Path], tmp_path: Path
) -> None:
    _, bundle_id, _ = copy
    remote = StoreSettings(
        home=tmp_path / "elsewhere", artifacts_url=(tmp_path / "artifacts").as_uri()
    )
    store = BundleStore(remote)
    assert [found for found, _ in store.manifests()] == [bundle_id]
    opened = store.open(bundle_id)
    assert tmp_path / "elsewhere" in opened.folder.parents
    assert any(opened.folder.iterdir())
    # A copy that was damaged is fetched anew; by a process that has verified it, and by one that
    # has not.
    for each in (store, BundleStore(remote)):
        (opened.folder / "README.md").write_text("other")
        (
            tmp_path / "elsewhere" / "cache" / "bundles" / "manifests" / f"{bundle_id}.json"
        ).write_text("{")
        assert each.open(bundle_id).path("README.md").read_text() != "other"
        assert [found.issues for found in each.listed()] == [[]]

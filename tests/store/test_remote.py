"""Remote storage that refuses, is slow, loses files and has another clock."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from obstore.exceptions import GenericError, UnknownConfigurationKeyError
from obstore.store import S3Store

from benchmarks.cluster.object_storage import BUCKET, ObjectStorage
from benchmarks.cluster.proxy import Proxy
from isslim.demo.ports import free_port
from isslim.store.artifacts import PIECE_BYTES, Artifacts
from isslim.store.bundle_cache import ARRIVING
from isslim.store.bundles import BundleStore
from isslim.store.clock import StorageClock
from isslim.store.errors import NotFound, StorageUnavailable
from isslim.store.integrity import MANIFEST
from isslim.store.listing import LISTING_SECONDS, PATIENCE_SECONDS, RemoteListing
from isslim.store.remote import S3_VARIABLES
from isslim.store.settings import StoreSettings
from isslim.store.uploads import UploadStore
from isslim.types.jobs import UploadRef
from tests.backends import Backend
from tests.conftest import Published
from tests.service.copies import publish_as


def test_every_variable_that_is_documented_is_one_that_obstore_reads() -> None:
    for name in S3_VARIABLES:
        # A value that the variable cannot have is another error.
        with suppress(GenericError):
            S3Store("bucket", config={name.lower(): "true"})  # type: ignore[misc]
    with pytest.raises(UnknownConfigurationKeyError):
        S3Store("bucket", config={"aws_something_else": "true"})  # type: ignore[misc]


def test_clock_that_is_set_forward_ages_no_file() -> None:
    shown = [1000.0, 1000.0 + 3 * 3600, 1000.0 - 3 * 3600]
    clock = StorageClock(lambda: shown.pop(0))
    assert clock.now() == 1000.0
    assert clock.now() == pytest.approx(1000.0, abs=1.0)  # three hours ahead now
    assert clock.now() == 1000.0 - 3 * 3600


@pytest.mark.parametrize("hours", [3, -3])
def test_age_of_a_file_is_that_of_the_storage_whatever_the_hosts_clock_says(
    hours: int, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = Artifacts(backend.settings(tmp_path / "home"))
    (tmp_path / "file").write_text("content")
    artifacts.copy_in("uploads/a", tmp_path / "file")
    there = time.time
    monkeypatch.setattr(time, "time", lambda: there() + hours * 3600)
    assert artifacts.older("uploads", 3600) == []
    assert artifacts.older("uploads", 0) == ["uploads/a"]
    assert artifacts.names("") == ["uploads/a"]  # nothing is left of looking at the clock


class Storage:
    """Bundles of a storage, for a listing."""

    def __init__(self) -> None:
        self.ids, self.halves = {"a"}, set[str]()
        self.fault: StorageUnavailable | None = None
        self.free = threading.Event()
        self.free.set()
        self.reads = list[str]()

    def listed(self) -> set[str]:
        self.free.wait(10)
        if self.fault is not None:
            raise self.fault
        return self.ids | self.halves

    def is_whole(self, bundle_id: str) -> bool:
        self.reads.append(bundle_id)
        return bundle_id in self.ids

    def listing(self) -> RemoteListing:
        return RemoteListing(self.listed, self.is_whole)


def test_list_is_that_of_a_moment_ago_and_each_manifest_is_read_once() -> None:
    storage = Storage()
    listing = storage.listing()
    assert listing.known() == {"a"}
    storage.ids, storage.halves = {"b"}, {"c"}
    time.sleep(LISTING_SECONDS)
    assert listing.known() == {"b"}
    storage.ids, storage.halves = {"b", "c"}, set()
    time.sleep(LISTING_SECONDS)
    assert listing.known() == {"b", "c"}
    assert storage.reads == ["a", "b", "c", "c"]
    listing.forget("b")
    storage.ids = {"c"}
    assert listing.known() == {"c"}


def test_what_was_known_last_counts_while_the_storage_does_not_answer() -> None:
    storage = Storage()
    listing = storage.listing()
    storage.fault = StorageUnavailable("it refuses")
    with pytest.raises(StorageUnavailable, match="refuses"):
        listing.known()
    storage.fault = None
    time.sleep(LISTING_SECONDS)
    assert listing.known() == {"a"}
    storage.fault = StorageUnavailable("it refuses")
    time.sleep(LISTING_SECONDS)
    assert listing.known() == {"a"}
    assert listing.fault is not None
    storage.fault = None
    time.sleep(LISTING_SECONDS)
    listing.known()
    time.sleep(LISTING_SECONDS)
    assert listing.known() == {"a"}
    assert listing.fault is None


def test_slow_storage_keeps_nobody_waiting_who_knows_a_list() -> None:
    storage = Storage()
    listing = storage.listing()
    assert listing.known() == {"a"}
    storage.free.clear()
    time.sleep(LISTING_SECONDS)
    began = time.monotonic()
    for _ in range(5):
        assert listing.known() == {"a"}
    assert time.monotonic() - began < 2 * PATIENCE_SECONDS
    storage.free.set()


@pytest.fixture
def remote(published: Published, tmp_path: Path) -> StoreSettings:
    """A home whose bundles lie elsewhere: one of them."""
    shutil.copytree(published.settings.home / "artifacts", tmp_path / "artifacts")
    return StoreSettings(home=tmp_path / "home", artifacts_url=(tmp_path / "artifacts").as_uri())


def test_what_a_killed_fetch_left_is_no_reason_to_refuse_a_bundle(
    remote: StoreSettings, published: Published
) -> None:
    cache, bundle_id = remote.cache / "bundles", published.bundle_id
    for name in (bundle_id, f"{ARRIVING}dead", f"{ARRIVING}alive"):
        (cache / name).mkdir(parents=True)
        (cache / name / "original.onnx").write_bytes(b"half")
        (cache / name / ".partial-0").write_bytes(b"half")
    handle = os.open(cache / f"{ARRIVING}alive", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert BundleStore(remote).open(bundle_id).id == bundle_id
    assert {path.name for path in cache.iterdir()} == {bundle_id, f"{ARRIVING}alive", "manifests"}
    os.close(handle)


def test_cache_is_bounded_and_keeps_what_was_opened_last(
    remote: StoreSettings, published: Published, tmp_path: Path
) -> None:
    ids = [published.bundle_id, *(publish_as(f"m{n}", published, tmp_path) for n in range(2))]
    store = BundleStore(remote)
    size = sum(each.size_bytes for each in store.open(ids[0]).files)
    bounded = BundleStore(remote.model_copy(update={"cache_bytes": 2 * size + size // 2}))
    copies = remote.cache / "bundles"

    def kept() -> set[str]:
        return {path.name for path in copies.iterdir()} - {"manifests"}

    bounded.open(ids[1])
    os.utime(copies / ids[0], (0, 0))
    os.utime(copies / ids[1], (1, 1))
    BundleStore(remote).open(ids[0])  # by another process: it is the younger one now
    bounded.open(ids[2])
    assert kept() == {ids[0], ids[2]}
    assert bounded.open(ids[1]).id == ids[1]  # fetched anew
    store.delete(ids[2])
    BundleStore(remote).open(ids[0])
    shutil.rmtree(copies / ids[0])
    time.sleep(LISTING_SECONDS)
    BundleStore(remote).open(ids[0])
    assert ids[2] not in kept()
    assert not (copies / "manifests" / f"{ids[2]}.json").exists()


def test_bundle_that_was_deleted_elsewhere_is_gone_here(
    remote: StoreSettings, published: Published, tmp_path: Path
) -> None:
    store = BundleStore(remote)
    assert store.open(published.bundle_id).id == published.bundle_id
    other = remote.model_copy(update={"home": tmp_path / "other"})
    BundleStore(other).delete(published.bundle_id)
    time.sleep(2 * LISTING_SECONDS)
    assert store.manifests() == []
    with pytest.raises(NotFound):
        store.open(published.bundle_id)


def test_folder_that_a_server_lists_after_its_last_file_is_gone_is_no_bundle(
    remote: StoreSettings, published: Published, tmp_path: Path
) -> None:
    store = BundleStore(remote)
    assert [each for each, _ in store.manifests()] == [published.bundle_id]
    BundleStore(remote).delete(published.bundle_id)
    (tmp_path / "artifacts" / "bundles" / published.bundle_id).mkdir(parents=True, exist_ok=True)
    time.sleep(LISTING_SECONDS)
    assert store.manifests() == []
    # Published anew, it is there again.
    folder = published.settings.home / "artifacts" / "bundles" / published.bundle_id
    assert BundleStore(remote).publish(folder) == published.bundle_id
    time.sleep(LISTING_SECONDS)
    assert [each for each, _ in store.manifests()] == [published.bundle_id]
    store.delete(published.bundle_id)
    store.collect_garbage(older_than_seconds=0.0)
    assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == [
        path for path in (tmp_path / "artifacts" / "uploads").rglob("*") if path.is_file()
    ]


def test_storage_that_refuses_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = StoreSettings(home=tmp_path, artifacts_url="s3://b/p", storage_seconds=0.2)
    (tmp_path / "file").write_bytes(b"1")
    artifacts, store = Artifacts(settings), BundleStore(settings)
    for attempt in (
        artifacts.check_readable,
        lambda: artifacts.copy_in("uploads/a", tmp_path / "file"),
        lambda: artifacts.copy_out("uploads/a", tmp_path / "copy"),
        lambda: artifacts.exists("uploads/a"),
        lambda: artifacts.names("uploads"),
        lambda: artifacts.delete(["uploads/a"]),
        lambda: artifacts.delete(["uploads/a", "uploads/b"]),
        lambda: artifacts.older("uploads", 0),
        store.manifests,
        store.listed,
        store.collect_garbage,
        lambda: store.open("0" * 16),
        lambda: store.delete("0" * 16),
    ):
        with pytest.raises(StorageUnavailable) as found:
            attempt()
        assert "refuses connections" in str(found.value)
        assert "127.0.0.1" not in str(found.value)


@pytest.fixture
def proxied(object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The network to the S3 server."""
    with Proxy(object_storage.port) as proxy:
        for name, value in object_storage.variables(proxy.port).items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.mark.slow
def test_outage_is_an_error_and_over_when_it_is_over(proxied: Proxy, tmp_path: Path) -> None:
    settings = StoreSettings(home=tmp_path, artifacts_url=f"s3://{BUCKET}/{tmp_path.name}")
    artifacts = Artifacts(settings)
    hasty = Artifacts(settings.model_copy(update={"storage_seconds": 2.0}))
    content = os.urandom(PIECE_BYTES + 1)
    (tmp_path / "file").write_bytes(content)
    artifacts.copy_in("uploads/a", tmp_path / "file")
    artifacts.copy_out("uploads/a", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    with pytest.raises(NotFound):
        artifacts.copy_out("uploads/b", tmp_path / "other")
    proxied.refuse()
    with pytest.raises(StorageUnavailable):
        hasty.copy_in("uploads/b", tmp_path / "file")
    proxied.accept()
    assert not artifacts.exists("uploads/b")
    proxied.delay = 20.0
    began = time.monotonic()
    with pytest.raises(StorageUnavailable, match="too long"):
        hasty.copy_out("uploads/a", tmp_path / "copy")
    assert time.monotonic() - began < 15.0
    proxied.delay = 0.0
    artifacts.copy_out("uploads/a", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    artifacts.delete(["uploads/a", "uploads/b"])
    assert artifacts.names("uploads") == []


@pytest.mark.slow
def test_wrong_key_is_named_without_what_the_storage_says(
    object_storage: ObjectStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    settings = StoreSettings(home=tmp_path, artifacts_url=f"s3://{BUCKET}/x")
    artifacts, uploads = Artifacts(settings), UploadStore(settings)
    (tmp_path / "file").write_bytes(b"1")
    missing = UploadRef(sha256="0" * 64, filename="m.pt", size_bytes=1)
    for attempt in (
        artifacts.check_readable,
        lambda: artifacts.exists("uploads/a"),
        lambda: artifacts.names("uploads"),
        lambda: artifacts.copy_in("uploads/a", tmp_path / "file"),
        lambda: artifacts.copy_out("uploads/a", tmp_path / "copy"),
        lambda: artifacts.delete(["uploads/a"]),
        lambda: artifacts.delete(["uploads/a", "uploads/b"]),
        lambda: uploads.renew(missing),
        lambda: uploads.fetch(missing, tmp_path),
        lambda: BundleStore(settings).open("0" * 16),
    ):
        with pytest.raises(StorageUnavailable, match="answers 403 Forbidden") as found:
            attempt()
        assert str(object_storage.port) not in str(found.value)


@pytest.mark.slow
def test_bucket_that_is_not_there_is_named_as_such(
    object_storage: ObjectStorage, tmp_path: Path
) -> None:
    settings = StoreSettings(home=tmp_path, artifacts_url="s3://nowhere/x")
    artifacts, uploads = Artifacts(settings), UploadStore(settings)
    for attempt in (
        artifacts.check_readable,
        lambda: artifacts.exists("uploads/a"),
        lambda: artifacts.names("uploads"),
        lambda: artifacts.copy_out("uploads/a", tmp_path / "copy"),
        lambda: artifacts.delete(["uploads/a"]),
        lambda: artifacts.delete(["uploads/a", "uploads/b"]),
        lambda: uploads.fetch(UploadRef(sha256="0" * 64, filename="m", size_bytes=1), tmp_path),
        lambda: BundleStore(settings).open("0" * 16),
    ):
        with pytest.raises(StorageUnavailable, match="no such bucket"):
            attempt()


def test_uploads_of_a_folder_that_is_away_are_not_said_to_be_gone(tmp_path: Path) -> None:
    settings = StoreSettings(home=tmp_path)
    uploads = UploadStore(settings)
    missing = UploadRef(sha256="0" * 64, filename="m", size_bytes=1)
    assert not uploads.renew(missing)
    with pytest.raises(NotFound):
        uploads.fetch(missing, tmp_path)
    shutil.rmtree(tmp_path / "artifacts")
    for attempt in (lambda: uploads.renew(missing), lambda: uploads.fetch(missing, tmp_path)):
        with pytest.raises(StorageUnavailable, match="its folder"):
            attempt()


def test_half_bundle_in_remote_storage_is_none(
    remote: StoreSettings, published: Published, tmp_path: Path
) -> None:
    folder = tmp_path / "artifacts" / "bundles" / published.bundle_id
    (folder / MANIFEST).rename(tmp_path / MANIFEST)
    store = BundleStore(remote)
    assert store.manifests() == []
    with pytest.raises(NotFound):
        store.open(published.bundle_id)
    (tmp_path / MANIFEST).rename(folder / MANIFEST)
    time.sleep(LISTING_SECONDS)
    store.manifests()
    assert store.open(published.bundle_id).id == published.bundle_id


def test_storage_that_hangs_does_not_keep_the_loop_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, never answers
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
        settings = StoreSettings(home=tmp_path, artifacts_url="s3://b/p", storage_seconds=1)
        store = UploadStore(settings)
        longest = 0.0

        async def content() -> AsyncIterator[bytes]:
            yield b"m"

        async def save() -> None:
            with pytest.raises(StorageUnavailable):
                await store.save(content(), "m.pt", made={})

        async def go() -> None:
            nonlocal longest
            saving = asyncio.create_task(save())
            while not saving.done():
                before = time.monotonic()
                await asyncio.sleep(0.01)
                longest = max(longest, time.monotonic() - before)
            await saving

        asyncio.run(go())
    assert longest < 0.5

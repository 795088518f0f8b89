"""Backups: a home copied while it is in use, restored into a new one; a damaged database."""

from __future__ import annotations

import hashlib
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.store.backup import BackupRefused, back_up, restore
from isslim.store.database_check import DatabaseCheck, check_database
from isslim.store.errors import DamagedDatabase
from isslim.store.queue import JobQueue
from isslim.store.settings import StoreSettings
from isslim.types.jobs import CompressionRequest, JobState, UploadRef
from tests.conftest import Published

TEXTS = {"model": "tiny", "texts": ["the cat sees the river", "no bird hears nothing"]}


def uploaded(home: Path) -> UploadRef:
    """An upload of one byte in a home."""
    sha256 = hashlib.sha256(b"m").hexdigest()
    path = home / "artifacts" / "uploads" / sha256
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"m")
    return UploadRef(sha256=sha256, filename="m.pt", size_bytes=1)


def compared(client: TestClient) -> object:
    """The scores of all variants, without what was timed."""
    answer = client.post("/score", json=TEXTS)
    assert answer.status_code == 200
    return [(each["variant"], each["texts"]) for each in answer.json()["variants"]]


@pytest.mark.parametrize("name", ["backup.tar", "backup"])
def test_restored_home_serves_what_the_first_one_does(
    name: str, published: Published, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(published.settings.home, home)
    shutil.rmtree(home / "artifacts" / "uploads", ignore_errors=True)
    settings = StoreSettings(home=home)
    queue = JobQueue(settings)
    model = uploaded(home)
    job = queue.enqueue(CompressionRequest(model=model))
    with TestClient(create_app(ServiceSettings(home=home))) as client:
        before = compared(client)
        found = back_up(settings, tmp_path / name)
        assert (found.bundles, found.uploads, found.left_out) == (1, 1, [])
        with pytest.raises(BackupRefused, match="exists"):
            back_up(settings, tmp_path / name)
    queue.close()
    there = StoreSettings(home=tmp_path / "new")
    assert restore(there, tmp_path / name) == found
    with TestClient(create_app(ServiceSettings(home=there.home))) as client:
        assert compared(client) == before
        assert client.get(f"/jobs/{job.id}").json()["state"] == JobState.QUEUED
    with pytest.raises(BackupRefused, match="empty folder"):
        restore(there, tmp_path / name)
    assert not list(tmp_path.glob(".partial-*"))
    assert not list(there.home.glob(".partial-*"))


def test_backup_that_is_damaged_makes_no_home(published: Published, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(published.settings.home, home)
    JobQueue(StoreSettings(home=home)).close()
    back_up(StoreSettings(home=home), tmp_path / "backup")
    graph = next((tmp_path / "backup" / "artifacts" / "bundles").glob("*/original.onnx"))
    graph.write_bytes(b"x" + graph.read_bytes()[1:])
    new = StoreSettings(home=tmp_path / "new")
    with pytest.raises(BackupRefused, match=r"original\.onnx has another SHA-256"):
        restore(new, tmp_path / "backup")
    assert list((tmp_path / "new").iterdir()) == []
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(graph, "other")
    for wrong in (tmp_path / "other.tar", graph, tmp_path / "none.tar"):
        with pytest.raises(BackupRefused):
            restore(new, wrong)


@pytest.mark.parametrize(
    ("lost", "why"),
    [
        ("jobs.sqlite", r"jobs\.sqlite is missing"),
        ("artifacts/uploads/*", "1 models and 0 uploads, where it was made with 1 and 1"),
        ("artifacts/bundles/*/manifest.json", "0 models and 1 uploads"),
    ],
)
def test_backup_that_lost_a_file_makes_no_home(
    lost: str, why: str, published: Published, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(published.settings.home, home)
    shutil.rmtree(home / "artifacts" / "uploads", ignore_errors=True)
    uploaded(home)
    JobQueue(StoreSettings(home=home)).close()
    back_up(StoreSettings(home=home), tmp_path / "backup")
    (path,) = (tmp_path / "backup").glob(lost)
    path.unlink()
    with pytest.raises(BackupRefused, match=why):
        restore(StoreSettings(home=tmp_path / "new"), tmp_path / "backup")
    assert list((tmp_path / "new").iterdir()) == []


def test_damaged_upload_is_left_out_and_refused(tmp_path: Path) -> None:
    settings = StoreSettings(home=tmp_path / "home")
    JobQueue(settings).close()
    sha256 = uploaded(settings.home).sha256
    back_up(settings, tmp_path / "backup")
    (tmp_path / "backup" / "artifacts" / "uploads" / sha256).write_bytes(b"x")
    with pytest.raises(BackupRefused, match=f"the upload {sha256} was changed"):
        restore(StoreSettings(home=tmp_path / "new"), tmp_path / "backup")
    (settings.home / "artifacts" / "uploads" / sha256).write_bytes(b"x")
    found = back_up(settings, tmp_path / "other.tar")
    assert (found.uploads, found.left_out) == (0, [sha256])


def test_backup_is_made_beside_the_home_and_for_its_owner(tmp_path: Path) -> None:
    settings = StoreSettings(home=tmp_path / "home")
    JobQueue(settings).close()
    for target in (settings.home / "backup.tar", settings.home / "kept" / "backup"):
        with pytest.raises(BackupRefused, match="outside it"):
            back_up(settings, target)
    assert not list(settings.home.glob("**/.partial-*"))
    back_up(settings, tmp_path / "backup.tar")
    assert (tmp_path / "backup.tar").stat().st_mode & 0o077 == 0


def test_place_that_cannot_be_written_is_named_in_one_line(tmp_path: Path) -> None:
    settings = StoreSettings(home=tmp_path / "home")
    JobQueue(settings).close()
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", "isslim.service.backup", "back-up", str(tmp_path / "file" / "x")],
        env={"ISS_HOME": str(settings.home), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path / 'file' / 'x'}: File exists ({tmp_path / 'file'})\n"


@pytest.mark.parametrize("place", ["uploads/" + "0" * 64, f"bundles/{'0' * 16}/graph", ""])
def test_full_disk_is_told_and_nothing_is_left_out_for_it(place: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    JobQueue(StoreSettings(home=home)).close()
    if place:
        (home / "artifacts" / place).parent.mkdir(parents=True, exist_ok=True)
        (home / "artifacts" / place).write_bytes(bytes(8 << 20))
    # A limit on the size of files is a full disk that a test can have: the database fits or not.
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from isslim.service.backup import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({7 << 20 if place else 8192},) * 2)\n"
        "sys.exit(main('back-up', Path(sys.argv[1])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "backup")],
        env={"ISS_HOME": str(home), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert len(done.stderr.splitlines()) == 1, done.stderr
    words = "no space left on the disk" if place else "(no space left|cannot be copied)"
    assert re.search(words, done.stderr), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]


def test_damaged_bundle_is_left_out_and_named(published: Published, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(published.settings.home, home)
    JobQueue(StoreSettings(home=home)).close()
    (home / "artifacts" / "bundles" / published.bundle_id / "original.onnx").unlink()
    found = back_up(StoreSettings(home=home), tmp_path / "backup.tar")
    assert (found.bundles, found.left_out) == (0, [published.bundle_id])


def test_other_stores_are_refused(tmp_path: Path) -> None:
    for settings in (
        StoreSettings(home=tmp_path, database_url="postgresql://nowhere/none"),
        StoreSettings(home=tmp_path, artifacts_url="s3://bucket/prefix"),
    ):
        with pytest.raises(BackupRefused, match="pg_dump"):
            back_up(settings, tmp_path / "backup.tar")
    with pytest.raises(BackupRefused, match="nothing to back up"):
        back_up(StoreSettings(home=tmp_path), tmp_path / "backup.tar")


def damaged(home: Path) -> StoreSettings:
    """A home whose database has damaged pages behind the first ones."""
    settings = StoreSettings(home=home)
    queue = JobQueue(settings)
    for digit in "0123456789":
        model = UploadRef(sha256=digit * 64, filename="m.pt", size_bytes=1)
        queue.enqueue(CompressionRequest(model=model))
    queue.close()
    with closing(sqlite3.connect(home / "jobs.sqlite")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = home / "jobs.sqlite"
    content = bytearray(path.read_bytes())
    for page in range(6, len(content) // 4096):
        content[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    path.write_bytes(content)
    return settings


def test_damaged_page_is_found_and_said_at_the_start(tmp_path: Path) -> None:
    settings = damaged(tmp_path / "home")
    with pytest.raises(DamagedDatabase, match="restore a backup"):
        check_database(settings)
    check = DatabaseCheck(settings)
    for _ in range(2):  # the second time without reading it
        with pytest.raises(DamagedDatabase):
            check.raise_damage()
    for module in ("isslim.service", "isslim.compress.worker"):
        started = subprocess.run(
            [sys.executable, "-m", module],
            env={"ISS_HOME": str(settings.home), "ISS_PORT": "1", "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert started.returncode != 0
        assert "the database is damaged (jobs.sqlite: " in started.stderr
        assert "Traceback" not in started.stderr


def test_whole_database_and_none_pass(tmp_path: Path) -> None:
    check_database(StoreSettings(home=tmp_path / "none"))
    settings = StoreSettings(home=tmp_path / "home")
    JobQueue(settings).close()
    check_database(settings)
    DatabaseCheck(settings).raise_damage()

"""Checkpoints in remote storage: what is put there, what is fetched, and what is removed."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from uuid import uuid4

import pytest

from benchmarks.cluster.object_storage import BUCKET, ObjectStorage
from isslim.store.artifacts import Artifacts
from isslim.store.checkpoints import Checkpoints
from isslim.store.errors import UnsafePath
from isslim.store.settings import StoreSettings
from isslim.types.names import CHECKPOINT_NOTE

LEFT = {
    CHECKPOINT_NOTE: "of one request",
    "learn/0.05/learning.state": "a state",
    "finetune/1-0.500000/stage.checkpoint": "a stage",
    "probes.json": "[]",
    "latency-curves.json": "{}",
}
NOT_KEPT = ("request.json", "inputs/upload", "bundle/1/graph.onnx", "temporary/file", "attempt")


@pytest.fixture
def remote(object_storage: ObjectStorage, tmp_path: Path) -> StoreSettings:
    return StoreSettings(home=tmp_path / "home", artifacts_url=f"s3://{BUCKET}/{uuid4().hex}")


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def read(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


@pytest.mark.slow
def test_another_machine_has_what_lay_in_the_folder(remote: StoreSettings, tmp_path: Path) -> None:
    checkpoints = Checkpoints(remote)
    here = written(tmp_path / "here" / "job-1", LEFT | dict.fromkeys(NOT_KEPT, "not kept"))
    written(here, {"learn/.partial-0123": "half", "finetune/stage.partial": "half"})
    known = checkpoints.put(here, {})
    assert known.keys() == LEFT.keys()
    assert checkpoints.names() == {"job-1"}
    # What another machine left of an attempt that did not get as far counts for nothing.
    there = written(tmp_path / "there" / "job-1", {"learn/0.1/learning.state": "another", "x": "y"})
    assert checkpoints.fetch(there)
    assert read(there) == LEFT | {"x": "y"}
    assert not checkpoints.fetch(there)  # its own are there now
    assert read(here).keys() >= {*NOT_KEPT, "learn/.partial-0123"}
    assert not [path for path in here.iterdir() if path.name.startswith("checkpoints-")]


@pytest.mark.slow
def test_what_is_gone_from_the_folder_is_gone_from_storage(
    remote: StoreSettings, tmp_path: Path
) -> None:
    checkpoints, here = Checkpoints(remote), written(tmp_path / "here" / "job-1", LEFT)
    known = checkpoints.put(here, {})
    (here / "probes.json").unlink()
    written(here, {"learn/0.05/learning.state": "a later state"})
    later = checkpoints.put(here, known)
    assert later != known
    there = tmp_path / "there" / "job-1"
    assert checkpoints.fetch(there)
    expected = LEFT | {"learn/0.05/learning.state": "a later state"}
    del expected["probes.json"]
    assert read(there) == expected


@pytest.mark.slow
def test_nothing_is_put_that_is_there_or_is_nobodys(remote: StoreSettings, tmp_path: Path) -> None:
    checkpoints, here = Checkpoints(remote), written(tmp_path / "here" / "job-1", LEFT)
    known = checkpoints.put(here, {})
    checkpoints.remove("job-1")
    checkpoints.remove("job-1")  # there is none
    assert checkpoints.put(here, known) == known
    assert checkpoints.names() == set()
    (here / CHECKPOINT_NOTE).unlink()
    assert checkpoints.put(here, {}) == {}
    assert checkpoints.put(tmp_path / "removed", known) == known
    assert (checkpoints.names(), (tmp_path / "removed").exists()) == (set(), False)
    assert not checkpoints.fetch(tmp_path / "new" / "job-1")


@pytest.mark.slow
def test_checkpoints_of_ended_jobs_are_removed(remote: StoreSettings, tmp_path: Path) -> None:
    checkpoints = Checkpoints(remote)
    for name in ("job-1", "job-2", "other-1"):
        checkpoints.put(written(tmp_path / name, LEFT), {})
    found = checkpoints.names()
    checkpoints.put(written(tmp_path / "young-1", LEFT), {})  # since it was listed
    checkpoints.keep_only(found, {"job-2"})
    assert checkpoints.names() == {"job-2", "young-1"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["../outside", "/outside", "learn/../../outside"])
def test_no_file_is_written_elsewhere(name: str, remote: StoreSettings, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    with tarfile.open(packed, "w") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    Artifacts(remote).copy_in("checkpoints/job-1.tar", packed)
    with pytest.raises(UnsafePath):
        Checkpoints(remote).fetch(tmp_path / "work" / "job-1")
    assert not list(tmp_path.rglob("outside"))


def test_workers_that_share_a_folder_share_no_checkpoints(tmp_path: Path) -> None:
    checkpoints = Checkpoints(StoreSettings(home=tmp_path / "home"))
    assert not checkpoints.is_needed
    assert not checkpoints.fetch(tmp_path / "job-1")
    assert (checkpoints.names(), (tmp_path / "job-1").exists()) == (set(), False)
    checkpoints.remove("job-1")

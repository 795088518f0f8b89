"""The files of a bundle, as the service lists them and the client downloads them."""

from __future__ import annotations

import hashlib
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from isslim.client.api import Client, DamagedDownload, ProblemError
from isslim.store.bundles import BundleStore
from isslim.types.manifest import FileRecord
from tests.conftest import Published
from tests.service.served import served
from tests.service.test_routes import problem


@pytest.fixture(scope="module")
def url(published: Published) -> Iterator[str]:
    with served(published.settings.home, {}) as address:
        yield address


def test_every_file_is_listed_and_arrives_whole(
    url: str, published: Published, tmp_path: Path
) -> None:
    bundle = BundleStore(published.settings).open(published.bundle_id)
    on_disk = {str(each.relative_to(bundle.folder)) for each in bundle.folder.rglob("*.*")}
    with Client(url) as client:
        listed = client.files("tiny")
        assert {each.path for each in listed} == on_disk
        assert listed[0].path == "manifest.json"
        assert listed[0].sha256.startswith(published.bundle_id)
        for each in listed:
            file = client.download("tiny", each.path, tmp_path)
            assert file == tmp_path / each.path
            assert file.read_bytes() == (bundle.folder / each.path).read_bytes()
            assert hashlib.sha256(file.read_bytes()).hexdigest() == each.sha256
            assert file.stat().st_size == each.size_bytes
    assert {each.name for each in tmp_path.iterdir()} == on_disk


def test_what_cannot_be_had_leaves_nothing(url: str, tmp_path: Path) -> None:
    with Client(url) as client:
        for model, path in (
            ("nope", "README.md"),
            ("tiny", "nope.onnx"),
            ("tiny", "../x"),
            ("tiny", "a?b"),
        ):
            with pytest.raises(ProblemError) as refused:
                client.download(model, path, tmp_path / "got")
            assert refused.value.status == 404
        with pytest.raises(ProblemError):
            client.files("nope")
    assert list(tmp_path.iterdir()) == []


class Altered(Client):
    """A client that is told another hash of every file than the file has."""

    def files(self, model: str) -> list[FileRecord]:
        return [each.model_copy(update={"sha256": "0" * 64}) for each in super().files(model)]


def test_file_with_another_content_than_the_listed_one_is_not_kept(
    url: str, tmp_path: Path
) -> None:
    (tmp_path / "card.md").write_text("mine")
    with Altered(url) as client, pytest.raises(DamagedDownload, match=r"README\.md"):
        client.download("tiny", "README.md", tmp_path / "card.md")
    assert [each.name for each in tmp_path.iterdir()] == ["card.md"]
    assert (tmp_path / "card.md").read_text() == "mine"


def test_download_says_what_it_is_and_comes_in_parts(url: str) -> None:
    with httpx.Client(base_url=url) as http:
        listed = {each["path"]: each for each in http.get("/models/tiny/files").json()}
        whole = http.get("/models/tiny/files/compressed.onnx")
        assert whole.headers["content-disposition"] == 'attachment; filename="tiny-compressed.onnx"'
        assert whole.headers["content-type"] == "application/octet-stream"
        part = http.get("/models/tiny/files/compressed.onnx", headers={"range": "bytes=5-9"})
        assert (part.status_code, part.content) == (206, whole.content[5:10])
        head = http.head("/models/tiny/files/compressed.onnx")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) == listed["compressed.onnx"]["size_bytes"]
        assert http.head("/models/nope/files/x").status_code == 404


def test_reading_routes_answer_head_as_get_without_the_body(url: str) -> None:
    with httpx.Client(base_url=url) as http:
        for path in (
            "/health/live",
            "/health/ready",
            "/metrics",
            "/models",
            "/models/tiny",
            "/models/tiny/report",
            "/models/tiny/card",
            "/models/tiny/files",
        ):
            head, get = http.head(path), http.get(path)
            assert (head.status_code, head.content) == (200, b""), path
            assert head.headers["content-type"] == get.headers["content-type"]
        answer = http.put("/models/tiny")
        problem(answer, 405, "http")
        assert answer.headers["allow"] == "DELETE, GET, HEAD"


@pytest.mark.parametrize(("umask", "mode"), [("022", 0o644), ("077", 0o600)])
def test_files_of_bundles_have_the_rights_that_the_umask_leaves(
    umask: str, mode: int, published: Published, tmp_path: Path
) -> None:
    """In a process of its own: an umask is that of all threads."""
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from isslim.store.bundles import BundleStore\n"
        "from isslim.store.settings import StoreSettings\n"
        f"os.umask(0o{umask})\n"
        "BundleStore(StoreSettings(home=Path(sys.argv[2]))).publish(Path(sys.argv[1]))\n"
    )
    folder = BundleStore(published.settings).open(published.bundle_id).folder
    subprocess.run([sys.executable, "-c", code, str(folder), str(tmp_path)], check=True)
    files = [each for each in tmp_path.rglob("*") if each.is_file()]
    assert len(files) > 5
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {mode}

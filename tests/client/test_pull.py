"""A model's files in a folder of one's own: all that were asked for, or none."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from isslim.client.api import Client, DamagedDownload, ProblemError
from isslim.client.cli import app
from isslim.client.pulling import ALWAYS, NothingToPull, chosen_files, pull
from isslim.store.bundles import BundleStore
from isslim.types.manifest import FileRecord
from tests.conftest import Published
from tests.service.served import served


@pytest.fixture(scope="module")
def home(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copied = tmp_path_factory.mktemp("pulled") / "home"
    shutil.copytree(published.settings.home, copied)
    return copied


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    with served(home, {}) as address:
        yield address


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder, with its hash."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_whole_bundle_arrives_and_can_be_opened(
    url: str, published: Published, tmp_path: Path
) -> None:
    out = tmp_path / "made" / "mine"
    done = CliRunner(env={"ISS_URL": url}).invoke(app, ["pull", "tiny", "--out", str(out)])
    assert done.exit_code == 0, done.output
    bundle = BundleStore(published.settings).open(published.bundle_id)
    assert content(out) == content(bundle.folder)
    assert set(done.stdout.split()) == {str(out / name) for name in content(out)}
    assert [each.name for each in out.parent.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("options", "suffixes", "some"),
    [
        (["--only", "onnx"], {".onnx"}, "compressed-int8.onnx"),
        (["--only", "weights"], {".safetensors", ".json"}, "compressed.json"),
        (["--variant", "compressed"], {".onnx", ".safetensors", ".json"}, "compressed.onnx"),
    ],
)
def test_part_comes_with_what_is_needed_to_read_it(
    options: list[str], suffixes: set[str], some: str, url: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    runner = CliRunner(env={"ISS_URL": url})
    assert runner.invoke(app, ["pull", "tiny", "--out", str(out), *options]).exit_code == 0
    names = set(content(out))
    assert {some, "manifest.json", "tokenizer.json"} <= names
    assert {Path(name).suffix for name in names - set(ALWAYS)} <= suffixes
    if "--variant" in options:
        assert "compressed-int8.onnx" not in names


def test_files_that_are_there_are_replaced_by_force_alone(url: str, tmp_path: Path) -> None:
    runner = CliRunner(env={"ISS_URL": url})
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "other").write_text("stays")
    asked = ["pull", "tiny", "--out", str(tmp_path)]
    refused = runner.invoke(app, asked)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"{tmp_path / 'README.md'}; --force replaces them" in refused.stderr
    assert {each.name for each in tmp_path.iterdir()} == {"README.md", "other"}
    assert runner.invoke(app, [*asked, "--force"]).exit_code == 0
    assert (tmp_path / "README.md").read_text().count("tiny")
    assert (tmp_path / "other").read_text() == "stays"


@pytest.mark.parametrize("out", [".", "./", "", "../here"])
def test_folder_without_a_name_of_its_own_takes_files(
    out: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = CliRunner(env={"ISS_URL": url}).invoke(app, ["pull", "tiny", f"--out={out}"])
    assert done.exit_code == 0, done.output
    assert {"manifest.json", "compressed.onnx"} <= set(content(tmp_path / "here"))
    assert [each.name for each in tmp_path.iterdir()] == ["here"]
    assert not list((tmp_path / "here").glob(".*"))


def test_folder_that_cannot_be_written_is_named(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / "out"
    done = CliRunner(env={"ISS_URL": url}).invoke(app, ["pull", "tiny", "--out", str(out)])
    assert done.exit_code == 1
    assert f"{out}: " in done.stderr
    assert ".partial" not in done.stderr


def test_nothing_is_left_of_files_that_do_not_all_arrive(
    url: str, home: Path, published: Published, tmp_path: Path
) -> None:
    bundle = home / "artifacts" / "bundles" / published.bundle_id
    with Client(url) as client:
        files = client.files("tiny")
        gone = FileRecord(path="gone.onnx", size_bytes=1, sha256="0" * 64)
        with pytest.raises(ProblemError):
            pull(client, published.bundle_id, [*files, gone], tmp_path / "out")
        assert list(tmp_path.iterdir()) == []
        # A service whose files are damaged refuses them.
        whole = (bundle / "compressed.onnx").read_bytes()
        (bundle / "compressed.onnx").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        try:
            (tmp_path / "kept").mkdir()
            with pytest.raises((ProblemError, DamagedDownload)):
                pull(client, published.bundle_id, files, tmp_path / "kept")
        finally:
            (bundle / "compressed.onnx").write_bytes(whole)
        assert list((tmp_path / "kept").iterdir()) == []
        assert [each.name for each in tmp_path.iterdir()] == ["kept"]


def test_part_that_a_model_does_not_have_is_named(url: str) -> None:
    with Client(url) as client:
        manifest, files = client.manifest("tiny"), client.files("tiny")
    graphs = [each for each in files if not each.path.endswith(".safetensors")]
    with pytest.raises(NothingToPull, match=r"has no weights; its files: manifest\.json"):
        chosen_files(manifest, graphs, "weights")
    fewer = manifest.model_copy(update={"variants": manifest.variants[:1]})
    left = [each for each in files if each.path.startswith("original")]
    with pytest.raises(NothingToPull, match="no variant 'compressed'; its variants: original"):
        chosen_files(fewer, left, None, "compressed")

"""What `isslim.compress` returns: files, card, summary, and the life of its temporary folder."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import isslim
from isslim.compress.errors import ArgumentsRefused
from isslim.compress.library.compressed import Compressed, changes_of
from isslim.runtime.graphs.model import LoadedGraph
from isslim.store.bundles import BundleStore
from isslim.store.folders import open_folder
from isslim.store.settings import StoreSettings
from tests.card import made_up
from tests.tagger import recorded, tagger_graph

SIZE = {"limit": "size", "value": 0.6}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tagger_graph(tmp_path_factory.mktemp("graph"))


@pytest.fixture(scope="module")
def small(graph: Path) -> Iterator[Compressed]:
    with isslim.compress(graph, recorded(12), budget=SIZE, name="tagger", ranks=False) as found:
        yield found


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary folders of this test alone: others run at the same time."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def temporary() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("isslim-*"))


def test_saved_bundle_is_published_and_opened_by_the_service(
    small: Compressed, tmp_path: Path
) -> None:
    saved = small.save(tmp_path / "saved")
    assert open_folder(saved).manifest == small.manifest
    bundles = BundleStore(StoreSettings(home=tmp_path / "home"))
    opened = bundles.open(bundles.publish(saved))
    session = LoadedGraph(opened).session("compressed")
    run = recorded(1)[0]
    assert session.run(session.checked(run), ["scores"])
    files = {path.name: path.read_bytes() for path in saved.iterdir()}
    assert {path.name: path.read_bytes() for path in opened.folder.iterdir()} == files
    assert files["README.md"].decode() == small.card()
    assert small.card().count("tagger")


def test_nothing_is_written_over(small: Compressed, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty: nothing was written"):
        small.save(folder)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_graphs_are_written_by_the_name_of_their_variant(small: Compressed, tmp_path: Path) -> None:
    for name, variant in small.variants.items():
        path = small.to_onnx(tmp_path / f"{name}.onnx", name)
        assert path.stat().st_size == variant.size_bytes
    with pytest.raises(ArgumentsRefused, match="no variant 'tiny'; there is: original, "):
        small.to_onnx(tmp_path / "tiny.onnx", "tiny")


def test_it_is_described_in_a_line_and_in_a_few(small: Compressed) -> None:
    numbers = [small.variants[name].parameters for name in ("original", "compressed")]
    line = repr(small)
    assert line.startswith(f"<isslim.Compressed 'tagger': {numbers[0]:,} -> {numbers[1]:,} param")
    summary = small.summary()
    assert f"{numbers[0]:,} -> {numbers[1]:,} parameters" in summary
    assert summary.endswith(small.report.verdict)
    assert small.curve == small.report.curve
    assert sum(point.chosen for point in small.curve) == 1


def test_narrow_layers_and_training_are_in_the_summary(small: Compressed) -> None:
    made = made_up.manifest()
    assert changes_of(made)[-3:] == [
        "input of LSTM layer 2: through a narrow layer, 256 -> 70 directions",
        "recurrence of LSTM layer 2: through a narrow layer, 256 -> 40 directions",
        "bottleneck: through a narrow layer, 256 -> 90 directions",
    ]
    how = "4.9 minutes of distillation, 1,240 steps"
    origin = made.provenance.model_copy(update={"finetune": how})
    assert changes_of(made.model_copy(update={"provenance": origin}))[-1] == f"trained: {how}"
    lines = changes_of(small.manifest)
    assert lines
    assert "\n".join(lines) in small.summary()
    assert not any("narrow" in line or "trained" in line for line in lines)


@pytest.mark.slow
def test_temporary_folder_goes_with_the_object(graph: Path, tmp_path: Path) -> None:
    before = temporary()
    small = isslim.compress(graph, recorded(12), budget=SIZE)
    assert len(temporary() - before) == 1
    del small
    gc.collect()
    assert temporary() == before


def test_closed_one_keeps_what_is_no_file(graph: Path, tmp_path: Path) -> None:
    before = temporary()
    with isslim.compress(graph, recorded(12), budget=SIZE) as small:
        assert temporary() != before
    assert temporary() == before
    assert small.card()
    assert repr(small).endswith("closed>")
    with pytest.raises(ValueError, match="it is closed, and its files are removed"):
        small.save(tmp_path / "late")


def test_folder_of_the_caller_is_kept(graph: Path, tmp_path: Path) -> None:
    before = temporary()
    work = tmp_path / "work"
    with isslim.compress(graph, recorded(12), budget=SIZE, folder=work):
        pass
    assert temporary() == before
    (bundle,) = (path.parent for path in work.rglob("manifest.json"))
    assert open_folder(bundle).manifest.recipe.budget.size_ratio == 0.6


@pytest.mark.slow
def test_folder_that_is_used_again_keeps_the_first_model(graph: Path, tmp_path: Path) -> None:
    work, runs = tmp_path / "work", recorded(12)
    first = isslim.compress(graph, runs, budget=SIZE, folder=work)
    before = first.to_onnx(tmp_path / "before.onnx").read_bytes()
    second = isslim.compress(graph, runs, budget={"limit": "size", "value": 0.8}, folder=work)
    assert first.to_onnx(tmp_path / "after.onnx").read_bytes() == before
    assert second.to_onnx(tmp_path / "second.onnx").read_bytes() != before
    assert open_folder(first.save(tmp_path / "saved")).manifest == first.manifest


def test_progress_is_a_function_of_stage_share_and_message(graph: Path) -> None:
    told: list[tuple[str, float, str]] = []

    def report(stage: str, done: float, message: str) -> None:
        told.append((stage, done, message))

    isslim.compress(graph, recorded(12), budget=SIZE, progress=report, latency="all").close()
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages == ["ingest", "calibrate", "search", "export", "measure", "publish"]
    assert told[-1][1] == 1.0
    assert sum("latency of the" in message for _, _, message in told) == 3

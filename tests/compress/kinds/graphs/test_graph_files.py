"""Graphs as they are saved: in two files, or in float16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from isslim.compress.errors import UnreadableUpload
from isslim.compress.kinds.graphs.task import GraphTask
from isslim.compress.kinds.registry import UploadedFiles, read_task
from isslim.runtime.graphs.recorded_inputs import GraphSession, write_runs
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from isslim.types.recipe import Budget, Recipe
from tests.compress.onnx.normalise.test_precision import narrowed, tagger
from tests.tagger import compress, tagger_graph


def test_graph_in_two_files_is_one_graph(tmp_path: Path) -> None:
    uploaded = tagger_graph(tmp_path)
    onnx.save(
        onnx.load(uploaded),
        tmp_path / "two.onnx",
        save_as_external_data=True,
        location="two.onnx.data",
        size_threshold=0,
    )
    (tmp_path / "two.onnx.data").rename(tmp_path / "upload")
    task = read_task(
        UploadedFiles(model=tmp_path / "two.onnx", model_data=tmp_path / "upload"),
        Recipe(budget=Budget(size_ratio=0.5)),
    )
    assert isinstance(task, GraphTask)
    assert "tensors taken in from its data file" in task.origin.layout
    task.export(task.original, tmp_path / "original.onnx")
    assert onnx.load(tmp_path / "original.onnx", load_external_data=False) == onnx.load(uploaded)


def test_data_file_of_a_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"PK" * 40)
    with pytest.raises(UnreadableUpload, match="`model_data` is the data file of an ONNX graph"):
        read_task(
            UploadedFiles(model=tmp_path / "model.pt", model_data=tmp_path / "model.pt"), Recipe()
        )


def test_graph_in_float16_is_published_with_inputs_and_outputs_of_float16(tmp_path: Path) -> None:
    model, feeds = tagger()
    onnx.save(narrowed(model), tmp_path / "half.onnx")
    generator = np.random.default_rng(3)
    runs = [{"x": generator.standard_normal((6, 2, 3)).astype(np.float16)} for _ in range(30)]
    write_runs(tmp_path / "recorded.npz", runs)
    recipe = Recipe(name="half", budget=Budget(size_ratio=0.9))
    made = compress(tmp_path, tmp_path / "half.onnx", recipe, calibration=tmp_path / "recorded.npz")
    bundle = BundleStore(StoreSettings(home=tmp_path)).open(made)
    assert "float16 inside, computed in float32" in bundle.manifest.provenance.layout
    assert all(check.error <= check.tolerance for check in bundle.manifest.checks)
    for variant in bundle.manifest.variants:
        graph = GraphSession(bundle.path(variant.file))
        assert {kind for kind, _ in (*graph.inputs.values(), *graph.outputs.values())} == {
            "tensor(float16)"
        }
        assert graph.run({"x": feeds["x"].astype(np.float16)})["y"].dtype == np.float16

"""Uploaded graphs made ready for ONNX Runtime: what was changed is named, what it gives is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from isslim.compress.errors import UnreadableUpload
from isslim.compress.onnx.normalise.preparing import PreparedGraph, prepare
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.normalise.test_precision import narrowed, tagger
from tests.compress.onnx.proving import run


def test_a_graph_that_is_ready_stays_the_very_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(tagger()[0], path)
    assert prepare(path) == PreparedGraph(path)
    assert prepare(path, path) == PreparedGraph(path, "the data file is not referred to: ignored")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(UnreadableUpload, match="10 are allowed"):
        prepare(path, largest=10)


def test_layers_with_the_batch_first_run_and_give_what_they_should(tmp_path: Path) -> None:
    runs = []
    for layout in (0, 1):
        b = Builder(rng=np.random.default_rng(1))
        x = b.floats("x", (STEPS, BATCH, 3), [None] * 3)
        b.output(b.recurrent("GRU", x, 3, 4, layout=layout)[1], "y")
        onnx.save(b.model(), tmp_path / "m.onnx")
        made = prepare(tmp_path / "m.onnx")
        feeds = {"x": b.feeds["x"].swapaxes(0, 1)} if layout else b.feeds
        runs.append(run(onnx.load(made.path), feeds)["y"])
    np.testing.assert_array_equal(runs[1], runs[0].swapaxes(0, 1))
    assert made.path.name == "m.onnx.prepared.onnx"
    assert made.changes == (
        "layers with layout=1, which ONNX Runtime does not run, put between Transposes"
    )
    assert made.warning == ""


def test_everything_at_once_is_named_in_order(tmp_path: Path) -> None:
    model, feeds = tagger()
    half = narrowed(model)
    backwards = list(half.graph.node)[::-1]
    del half.graph.node[:]
    half.graph.node.extend(backwards)
    path = tmp_path / "m.onnx"
    onnx.save(half, path, save_as_external_data=True, location="d", size_threshold=0)
    made = prepare(path, tmp_path / "d")
    first, second, third = made.changes.split("; ")
    assert first.endswith("tensors taken in from its data file")
    assert second.startswith("float16 inside, computed in float32 here")
    assert third == "nodes that lay behind their readers put before them"
    assert "`original` is the same graph in float32" in made.warning
    halves = {name: value.astype(np.float16) for name, value in feeds.items()}
    expected = run(model, feeds)["y"].astype(np.float16)
    np.testing.assert_array_equal(run(onnx.load(made.path), halves)["y"], expected)


def test_a_graph_that_becomes_smaller_has_no_warning(tmp_path: Path) -> None:
    onnx.save(narrowed(tagger()[0], TensorProto.DOUBLE), tmp_path / "m.onnx")
    made = prepare(tmp_path / "m.onnx")
    assert made.changes.startswith("float64 inside")
    assert made.warning == ""


def test_layers_inside_of_functions_are_found(tmp_path: Path) -> None:
    b = Builder()
    b.recurrent("GRU", "a", 3, 4, outputs=["", "last"], layout=1)
    layer = b.nodes.pop()
    weights = list(layer.input)[1:]
    function = helper.make_function(
        "own", "Layer", ["a", *weights], ["last"], [layer], [helper.make_opsetid("", 17)]
    )
    x = b.floats("x", (BATCH, STEPS, 3), ["B", "T", 3])
    b.nodes.append(helper.make_node("Layer", [x, *weights], ["y"], domain="own"))
    b.outputs.append(helper.make_tensor_value_info("y", 1, None))
    model = b.model()
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    onnx.save(model, tmp_path / "m.onnx")
    made = prepare(tmp_path / "m.onnx")
    assert "layout=1" in made.changes
    assert run(onnx.load(made.path), b.feeds)["y"].shape == (BATCH, 1, 4)

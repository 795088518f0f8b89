"""Files of unknown origin: told from other formats, read within limits, and simplified alike."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from isslim.compress.errors import GraphNotUnderstood, UnreadableUpload
from isslim.compress.onnx.normalise.onnx_reader import is_graph, parse, read_graph, simplified
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import run


def tagger() -> Builder:
    b = Builder()
    outputs = b.recurrent("LSTM", b.floats("x", (STEPS, BATCH, 3), ["T", "B", 3]), 3, 4)
    b.output(b.node("MatMul", [b.squeeze(outputs[0], 1), b.weights(4, 2)]), "y", ["T", "B", 2])
    return b


def test_graphs_are_told_from_files_of_other_formats(tmp_path: Path) -> None:
    onnx.save(tagger().model(), tmp_path / "graph")
    with zipfile.ZipFile(tmp_path / "zip", "w") as file:
        file.writestr("a", "b")
    (tmp_path / "pickle").write_bytes(pickle.dumps({"a": 1}))
    # A header of eight bytes: its length begins as a graph does.
    header = b"{      }"
    (tmp_path / "safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    (tmp_path / "empty").write_bytes(b"")
    found = {path.name: is_graph(path) for path in tmp_path.iterdir()}
    assert found == {
        "graph": True,
        "zip": False,
        "pickle": False,
        "safetensors": False,
        "empty": False,
    }


def test_a_file_is_parsed_up_to_its_limit_and_no_further(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(tagger().model(), path)
    size = path.stat().st_size
    assert parse(path, size) == tagger().model()
    with pytest.raises(UnreadableUpload, match=f"{size - 1:,} are allowed"):
        parse(path, size - 1)
    path.write_bytes(ModelProto(ir_version=8).SerializeToString())
    with pytest.raises(UnreadableUpload, match="it has no graph"):
        parse(path)


def test_a_read_graph_gives_exactly_what_the_file_gives_and_the_model_stays(tmp_path: Path) -> None:
    b = tagger()
    model = b.model()
    before = model.SerializeToString()
    onnx.save(model, tmp_path / "m.onnx")
    expected = run(model, b.feeds)["y"]
    for made in (read_graph(tmp_path / "m.onnx"), simplified(model)):
        np.testing.assert_array_equal(run(made, b.feeds)["y"], expected)
    assert model.SerializeToString() == before


def test_functions_are_inlined() -> None:
    b = tagger()
    squared = helper.make_function(
        "own", "Square", ["a"], ["b"], [helper.make_node("Mul", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    b.nodes.append(helper.make_node("Square", ["y"], ["out"], domain="own"))
    b.outputs.append(helper.make_tensor_value_info("out", 1, ["T", "B", 2]))
    model = b.model()
    model.functions.append(squared)
    model.opset_import.append(helper.make_opsetid("own", 1))
    expected = run(model, b.feeds)
    simple = simplified(model)
    assert not simple.functions
    assert "Square" not in [node.op_type for node in simple.graph.node]
    found = run(simple, b.feeds)
    np.testing.assert_array_equal(found["out"], expected["y"] ** 2)


def test_notes_on_shapes_that_are_out_of_date_are_not_kept() -> None:
    b = tagger()
    model = b.model()
    wrong = next(node.output[0] for node in model.graph.node if node.op_type == "Squeeze")
    model.graph.value_info.append(helper.make_tensor_value_info(wrong, 1, ["T", "B", 99]))
    assert not simplified(model).graph.value_info


def test_an_einsum_of_a_computed_constant_becomes_a_product() -> None:
    b = Builder()
    steps = b.squeeze(
        b.recurrent("GRU", b.floats("x", (STEPS, BATCH, 3), ["T", "B", 3]), 3, 4)[0], 1
    )
    heads = b.node("Reshape", [b.weights(4, 6), b.constant([4, 2, 3])])
    b.output(b.node("Einsum", [steps, heads], equation="tbh,hij->tbij"), "y", ["T", "B", 2, 3])
    simple = simplified(b.model())
    assert "Einsum" not in [node.op_type for node in simple.graph.node]
    expected = run(b.model(), b.feeds)["y"]
    np.testing.assert_allclose(run(simple, b.feeds)["y"], expected, rtol=1e-5, atol=1e-6)


def test_a_layer_in_a_branch_that_cannot_run_does_not_count() -> None:
    b = Builder()
    b.floats("x", (STEPS, BATCH, 3), ["T", "B", 3])
    layer = Builder()
    layer.recurrent("GRU", "x", 3, 4, outputs=["steps", "last"])
    ends = [helper.make_tensor_value_info("last", 1, None)]
    inside = [onnx.numpy_helper.from_array(v, n) for n, v in layer.constants.items()]
    with_layer = helper.make_graph(layer.nodes, "with", [], ends, inside)
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["n"])], "without", [],
        [helper.make_tensor_value_info("n", 1, None)],
    )  # fmt: skip
    b.constants["no"] = np.array(False)
    b.node("If", ["no"], ["chosen"], then_branch=with_layer, else_branch=other)
    b.output("chosen", "y", ["T", "B", 3])
    with pytest.raises(GraphNotUnderstood, match=r"no units to remove; found: .*Neg"):
        simplified(b.model())

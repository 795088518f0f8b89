"""Notes of a graph: replaced in the file, and nothing else of it changes."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from isslim.compress.export.notes import digest, note

ABOUT = {"task": "language-model", "variant": "compressed", "model": "mine"}


def graph() -> ModelProto:
    """With every kind of field that a file may have."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
    weights = numpy_helper.from_array(np.arange(200, dtype=np.float32).reshape(2, 100)[:, 0], "w")
    body = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "g", ports[:1], ports[1:], [weights]
    )
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.other", 3)]
    )
    model.producer_name, model.producer_version = "another", "0.1"
    model.domain, model.model_version, model.doc_string = "org.example", 2**40, "its own words"
    for key, value in (("variant", "older"), ("precision", "int8"), ("author", "somebody")):
        model.metadata_props.add(key=key, value=value)
    return model


def test_notes_are_replaced_and_all_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    onnx.save(graph(), path)
    note(path, "a line", ABOUT)
    found, expected = onnx.load(path), graph()
    expected.producer_name, expected.producer_version = "isslim", version("isslim")
    expected.doc_string = "a line"
    del expected.metadata_props[0]
    for key, value in ABOUT.items():
        expected.metadata_props.add(key=key, value=value)
    assert found == expected
    once = path.read_bytes()
    note(path, "a line", ABOUT)
    assert len(path.read_bytes()) == len(once)
    assert onnx.load(path) == expected
    assert [each.name for each in tmp_path.iterdir()] == ["graph.onnx"]


def test_two_files_with_the_same_notes_are_equal(tmp_path: Path) -> None:
    for name in ("one", "two"):
        onnx.save(graph(), tmp_path / name)
        note(tmp_path / name, "a line", ABOUT)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_file_that_is_no_message_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    path.write_bytes(b"\x0f\x00 no message")
    with pytest.raises(ValueError, match="no ONNX file: wire type 7 at byte 0"):
        note(path, "a line", ABOUT)
    assert path.read_bytes() == b"\x0f\x00 no message"
    assert [each.name for each in tmp_path.iterdir()] == ["graph.onnx"]


def test_digest_is_of_what_a_graph_computes(tmp_path: Path) -> None:
    path, other = tmp_path / "graph.onnx", tmp_path / "other.onnx"
    onnx.save(graph(), path)
    before = digest(path)
    note(path, "a line", ABOUT)
    assert digest(path) == before
    changed = graph()
    changed.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.ones(2, dtype=np.float32), changed.graph.initializer[0].name)
    )
    onnx.save(changed, other)
    assert digest(other) != before
    newer = graph()
    newer.opset_import[0].version = 20
    onnx.save(newer, other)
    assert digest(other) != before

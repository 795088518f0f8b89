"""A graph in two files is read as the one it was, and nothing else is ever read for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from isslim.client.beside import data_beside
from isslim.compress.errors import GraphNotUnderstood
from isslim.compress.onnx.model.external_data import load_external
from isslim.compress.onnx.normalise.onnx_reader import simplified
from isslim.compress.onnx.normalise.preparing import prepare
from tests.compress.onnx.normalise.test_refusals import lstm

DATA = "m.onnx.data"


def two_files(folder: Path) -> Path:
    """A layer saved as `m.onnx` and `m.onnx.data`."""
    path = folder / "m.onnx"
    onnx.save(lstm(), path, save_as_external_data=True, location=DATA, size_threshold=0)
    return path


def tensor_of(model: ModelProto) -> TensorProto:
    return max(model.graph.initializer, key=lambda each: each.ByteSize())


def change(tensor: TensorProto, key: str, value: str) -> None:
    for entry in tensor.external_data:
        if entry.key == key:
            entry.value = value
            return
    tensor.external_data.add(key=key, value=value)


def test_both_files_make_the_model_that_was_saved(tmp_path: Path) -> None:
    path = two_files(tmp_path)
    (tmp_path / DATA).rename(tmp_path / "another-name")
    made = prepare(path, tmp_path / "another-name")
    assert onnx.load(made.path, load_external_data=False) == lstm()
    assert "tensors taken in" in made.changes


def test_one_file_stays_the_very_file(tmp_path: Path) -> None:
    path = tmp_path / "one.onnx"
    onnx.save(lstm(), path)
    assert (prepare(path).path, prepare(path).changes) == (path, "")
    made = prepare(path, path)
    assert made.path == path
    assert "not referred to" in made.changes


def test_the_model_alone_is_refused_with_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(GraphNotUnderstood, match=r"'m.onnx.data'.*`model_data`.*onnx\.save"):
        prepare(two_files(tmp_path))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("location", "other.data", "lie in 2 files"),
        ("offset", "100000", "is it the file that was written with this model"),
        ("offset", "-8", "is to lie at bytes -8"),
        ("offset", "here", "no number"),
        ("length", "4", "has 4 bytes in the data file"),
    ],
)
def test_places_that_are_not_in_the_file_are_refused(
    key: str, value: str, said: str, tmp_path: Path
) -> None:
    model = onnx.load(two_files(tmp_path), load_external_data=False)
    change(tensor_of(model), key, value)
    with pytest.raises(GraphNotUnderstood, match=said):
        load_external(model, tmp_path / DATA)


@pytest.mark.parametrize("name", ["/etc/passwd", "../m.onnx.data", "..", "a\\b", ""])
def test_names_that_are_paths_are_refused(name: str, tmp_path: Path) -> None:
    model = onnx.load(two_files(tmp_path), load_external_data=False)
    for tensor in model.graph.initializer:
        change(tensor, "location", name)
    with pytest.raises(GraphNotUnderstood, match="no plain file name"):
        load_external(model, tmp_path / DATA)
    onnx.save(model, tmp_path / "m.onnx")
    assert data_beside(tmp_path / "m.onnx") is None


def hidden() -> TensorProto:
    tensor = TensorProto(
        name="secret", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value="passwd")
    return tensor


def in_attribute(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["k"], value=hidden()))


def in_list(model: ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("several", [hidden()]))


def in_branch(model: ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [], [hidden()])
    model.graph.node[0].attribute.append(helper.make_attribute("branch", branch))


def in_branches(model: ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [], [hidden()])
    model.graph.node[0].attribute.append(helper.make_attribute("branches", [branch]))


def in_sparse(model: ModelProto) -> None:
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(hidden(), indices, [3]))


def in_function(model: ModelProto) -> None:
    node = helper.make_node("Constant", [], ["k"], value=hidden())
    model.functions.append(helper.make_function("own", "f", [], ["k"], [node], []))


def in_training(model: ModelProto) -> None:
    model.training_info.add().algorithm.initializer.append(hidden())


def without_location(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.external_data.add(key="location", value="passwd")


@pytest.mark.parametrize(
    "hide",
    [
        in_attribute,
        in_list,
        in_branch,
        in_branches,
        in_sparse,
        in_function,
        in_training,
        without_location,
    ],
)
def test_data_outside_is_found_wherever_it_hides(hide: Callable[[ModelProto], None]) -> None:
    model = lstm()
    hide(model)
    with pytest.raises(GraphNotUnderstood, match="in a file beside the model"):
        simplified(model)


def test_the_client_finds_the_file_that_the_graph_names(tmp_path: Path) -> None:
    path = two_files(tmp_path)
    assert data_beside(path) == tmp_path / DATA
    (tmp_path / DATA).unlink()
    assert data_beside(path) is None
    onnx.save(lstm(), path)
    (tmp_path / DATA).write_bytes(b"of another model")
    assert data_beside(path) is None

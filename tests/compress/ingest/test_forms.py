"""Files of other forms are told what they are, with the lines that make them uploadable."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from isslim.compress.errors import CompressError, UnreadableUpload, UnsafePickle
from isslim.compress.ingest.forms import refuse_foreign
from isslim.compress.kinds.language.ingest.layouts import read_model
from isslim.compress.onnx.model.split_model import nodes
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import read_graph
from tests.compress.kinds.language.ingest.test_understood import model, state
from tests.compress.onnx.proving import run


class Scripted(nn.Module):
    """Something that can be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.linear(inputs)
        return result


def zipped(*names: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"content")

    return write


def content(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


FORMS: list[tuple[str, Callable[[Path], object], str, str]] = [
    (
        "m.pt",
        lambda path: torch.jit.trace(Scripted(), torch.ones(2, 3)).save(str(path)),
        "TorchScript",
        "torch.jit.load('m.pt')",
    ),
    (
        "m.npz",
        lambda path: np.savez(path, **{k: v.numpy() for k, v in state().items()}),
        "npz archive",
        "numpy.load('m.npz')",
    ),
    (
        "m.npy",
        lambda path: np.save(path, np.ones(3)),
        r"one array of numpy",
        "torch.save(model.state_dict()",
    ),
    (
        "m.keras",
        zipped("config.json", "metadata.json", "model.weights.h5"),
        "a Keras model",
        "load_model('m.keras', compile=False)",
    ),
    (
        "m.h5",
        content(b"\x89HDF\r\n\x1a\n" + bytes(600)),
        "HDF5",
        "model.export('model.onnx', format='onnx')",
    ),
    (
        "m.zip",
        zipped("weights/model.pt", "readme.txt"),
        "a zip archive.*weights/model.pt",
        "Unpack it",
    ),
    (
        "m.zip",
        zipped("m/saved_model.pb", "m/variables/variables.index"),
        "a SavedModel",
        "tf2onnx.convert --saved-model",
    ),
    (
        "saved_model.pb",
        content(b"\x08\x01\x12\x80\x01\x0a\x10serve"),
        "a SavedModel",
        "tf2onnx.convert --saved-model",
    ),
    (
        "m.tflite",
        content(b"\x1c\x00\x00\x00TFL3" + bytes(64)),
        "TensorFlow Lite",
        "--tflite m.tflite",
    ),
    (
        "m.gguf",
        content(b"GGUF\x03\x00\x00\x00" + bytes(64)),
        "GGUF",
        "torch.save(model.state_dict()",
    ),
    (
        "m.pt2",
        zipped("m/archive_format", "m/data/weights/weight_0"),
        "torch.export",
        "torch.export.load('m.pt2')",
    ),
    ("m.pt.gz", content(gzip.compress(b"weights")), "gzip", "Unpack it"),
    (
        "m.pt",
        content(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "Git LFS",
        "git lfs pull",
    ),
    ("m.pt", content(b"<!DOCTYPE html><html></html>"), "web page", "fetch it again"),
    (
        "m.index.json",
        content(json.dumps({"weight_map": {}}).encode()),
        "index of a model in several files",
        "in one file",
    ),
    ("m.json", content(b'{"layers": []}'), "JSON", "torch.save(model.state_dict()"),
    ("m.bin", content(b"\x01\x02\x03" * 200), "not a known form", "torch.save of a state_dict"),
    (
        "m.pkl",
        lambda path: path.write_bytes(pickle.dumps({"a": 1}, protocol=2)),
        "checkpoint",
        "torch.save(model.state_dict()",
    ),
    (
        "m.pkl",
        lambda path: path.write_bytes(pickle.dumps({"a": [1.5]}, protocol=4)),
        "pickle",
        "torch.save(model.state_dict()",
    ),
    (
        "m.pt",
        lambda path: torch.save(model(), path),
        "whole pickled module",
        "torch.save(model.state_dict()",
    ),
    (
        "m.pt",
        lambda path: torch.save(model(), path, _use_new_zipfile_serialization=False),
        "pickled",
        "model.state_dict()",
    ),
    ("m.pt", lambda path: torch.save(torch.ones(3), path), "holds a Tensor", "a state_dict"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "write", "what", "remedy"), FORMS, ids=[f"{each[0]}-{each[2]}" for each in FORMS]
)
def test_other_forms_are_named_with_a_remedy(
    name: str, write: Callable[[Path], object], what: str, remedy: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises((UnreadableUpload, UnsafePickle), match=what) as refused:
        read_model(tmp_path / name, None)
    assert remedy in refused.value.detail
    assert "weights_only" not in refused.value.detail
    assert "add_safe_globals" not in refused.value.detail + "".join(refused.value.issues)


def test_old_torch_files_are_read(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert "2 LSTM layers" in read_model(tmp_path / "old.pt", None).layout


def test_a_safetensors_header_is_not_taken_for_another_form(tmp_path: Path) -> None:
    """The first bytes are a length and may look like any format: here like the start of JSON."""
    for metadata in range(0x7B20 - 2000, 0x7B20, 500):
        save_file(state(), tmp_path / "model.safetensors", {"note": "x" * metadata})
        assert read_model(tmp_path / "model.safetensors", None)


def test_a_config_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    torch.save({k: v for k, v in state().items() if k != "decoder.weight"}, tmp_path / "model.pt")
    (tmp_path / "config.json").write_bytes(b'\xef\xbb\xbf{"tied": true}')
    assert (
        "tied, as the config says"
        in read_model(tmp_path / "model.pt", tmp_path / "config.json").layout
    )
    (tmp_path / "config.json").write_text('{"tie": true}')
    with pytest.raises(CompressError, match="its keys are tied, one_hot"):
        read_model(tmp_path / "model.pt", tmp_path / "config.json")


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"")
    with pytest.raises(UnreadableUpload, match="the file is empty"):
        read_model(tmp_path / "m.pt", None)


def test_weights_that_were_changed_on_the_way_are_found_by_their_checksum(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(state(), path)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    data[largest.header_offset + 2000] ^= 64
    path.write_bytes(data)
    with pytest.raises(
        UnreadableUpload, match=f"its part '{largest.filename}' is not what was written"
    ):
        read_model(path, None)


def test_a_checkpoint_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state(), tmp_path / "m.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_model(tmp_path / "m.pt", None).network.vocabulary == 40


_KERAS_MODEL = """
import keras, numpy as np
from keras import layers
keras.utils.set_random_seed(0)
model = keras.Sequential([
    keras.Input((None,), dtype="int32"),
    layers.Embedding(9, 4, mask_zero=True),
    layers.Bidirectional(layers.GRU(6, return_sequences=True)),
    layers.Conv1D(5, 3, padding="same", activation="relu"),
    layers.SimpleRNN(4, return_sequences=True),
    layers.LSTM(5),
    layers.Dense(3),
])
model.compile("adam", "mse")
model.save("FILE")
given = np.random.default_rng(0).integers(0, 9, (4, 7)).astype("int32")
given[0, 4:] = given[1, :3] = 0
np.savez("expected.npz", ids=given, y=model.predict(given, verbose=0))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("keras", "tensorflow", "tf2onnx"))),
    reason="keras, tensorflow and tf2onnx are not installed",
)
@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_what_a_refused_keras_model_is_told_makes_a_graph_that_is_read(
    tmp_path: Path, name: str
) -> None:
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    folder = {"cwd": tmp_path, "env": environment, "check": True}
    make = _KERAS_MODEL.replace("FILE", name)
    subprocess.run([sys.executable, "-c", make], **folder)  # type: ignore[call-overload]
    with pytest.raises(UnreadableUpload) as refusal:
        refuse_foreign(tmp_path / name)
    install, export = re.findall(r"`([^`]*)`", str(refusal.value))
    assert install.startswith("pip install")
    subprocess.run(export, shell=True, **folder)  # type: ignore[call-overload]
    graph = read_graph(tmp_path / "model.onnx")
    found = Counter(node.op_type for node in nodes(graph.graph))
    assert (found["GRU"], found["RNN"], found["LSTM"], found["Loop"]) == (2, 1, 1, 0)
    expected = np.load(tmp_path / "expected.npz")
    (port,) = graph.graph.input
    (given,) = run(graph, {port.name: expected["ids"]}).values()
    np.testing.assert_allclose(given, expected["y"], rtol=0, atol=2e-6)
    network = GraphNetwork.from_model(graph)
    assert [axis.reasons for axis in network.report()] == [()] * 4

"""Folders that hold a model and what belongs to it, and the second file of an ONNX graph."""

from __future__ import annotations

from pathlib import Path

import onnx

from isslim.compress.errors import ArgumentsRefused
from isslim.compress.onnx.model.external_data import external_tensors
from isslim.compress.onnx.normalise.onnx_reader import is_graph

MODELS = ("compressed.safetensors", "model.safetensors", "model.pt", "compressed.onnx")
"""Of a pulled or saved bundle, or of a folder that `train` wrote: the first that is there."""
WEIGHTS = ("*.safetensors", "*.pt", "*.pth", "*.ckpt", "*.bin", "*.onnx")
COMPANIONS = {
    "config": ("compressed.json", "config.json"),
    "vocabulary": ("tokenizer.json", "words.txt", "vocabulary.txt", "vocab.txt", "vocab.json"),
    "vectors": ("vectors.npy",),
    "characters": ("characters.txt",),
}
"""Names of the other files, by the field of an upload."""


def files_in(folder: Path) -> dict[str, Path]:
    """The files of a folder by the fields of an upload.

    Args:
        folder: with one model in it.

    Raises:
        ArgumentsRefused: when it holds no model, or several.
    """
    known = [folder / name for name in MODELS if (folder / name).is_file()]
    found = known[:1] or sorted(path for form in WEIGHTS for path in folder.glob(form))
    if len(found) != 1:
        there = ", ".join(path.name for path in found) or "none"
        raise ArgumentsRefused(
            f"the folder {folder} has to hold one model ({', '.join(WEIGHTS)}); there is: {there}"
        )
    model = found[0]
    if is_graph(model):
        return with_external_data(model)
    files = {"model": model}
    for field, names in COMPANIONS.items():
        there_is = [folder / name for name in names if (folder / name).is_file()]
        if there_is:
            files[field] = there_is[0]
    return files


def with_external_data(path: Path) -> dict[str, Path]:
    """A model's file, with the data file of a graph that was saved as two beside it.

    Args:
        path: of the file.
    """
    if not is_graph(path):
        return {"model": path}
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # protobuf's own error; the reader says what is wrong with the file
        return {"model": path}
    names = {
        entry.value
        for tensor in external_tensors(model)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    beside = [path.parent / name for name in names if Path(name).name == name]
    # Of several the reader says that one file is expected.
    if len(beside) == 1 and beside[0].is_file():
        return {"model": path, "model_data": beside[0]}
    return {"model": path}

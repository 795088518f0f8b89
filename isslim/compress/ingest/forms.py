"""Recognises file formats by content, and says how to convert those that are not supported.

Read are safetensors files, PyTorch checkpoints and (in `compress/graphs`) ONNX graphs. Any other
form is named, with the lines that turn it into one of these.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path

from isslim.compress.errors import UnreadableUpload

SAVE = "`torch.save(model.state_dict(), 'weights.pt')`"
# Keras exports no model that it has only loaded, so it is called once; without `compile=False` it
# does not find the loss of an .h5 file again. Over PyTorch it would write a recurrent layer as a
# single step, and say nothing.
_KERAS = (
    "`pip install keras tensorflow tf2onnx`, then `KERAS_BACKEND=tensorflow python -c "
    "\"import keras; model = keras.models.load_model('FILE', compile=False); "
    "model(model.inputs); model.export('model.onnx', format='onnx')\"`"
)
_UNPACK = "Unpack it and send the model's own file"
_ANY = f"Send the weights where the model was trained: {SAVE}"

MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (
        0,
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, as Keras writes its models (.h5)",
        f"Send the model as ONNX: {_KERAS}",
    ),
    (0, b"GGUF", "a GGUF file of llama.cpp, whose weights are quantized", _ANY),
    (0, b"lmgg", "a GGML file of llama.cpp, whose weights are quantized", _ANY),
    (0, b"tjgg", "a GGML file of llama.cpp, whose weights are quantized", _ANY),
    (4, b"TFL3", "a TensorFlow Lite model", "Send it as ONNX: `pip install tf2onnx`, then "
     "`python -m tf2onnx.convert --tflite FILE --output model.onnx`"),
    (0, b"\x93NUMPY", "one array of numpy (.npy)", _ANY),
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"BZh", "a bzip2 archive", _UNPACK),
    (0, b"\xfd7zXZ", "an xz archive", _UNPACK),
    (0, b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (
        0,
        b"version https://git-lfs",
        "a pointer of Git LFS, not the file itself",
        "Fetch it with `git lfs pull`, then send it",
    ),
    (0, b"\xba\x16\x4f\x2f", "a model of fastText", "It has no recurrent layers to compress"),
)  # fmt: skip
"""Position, bytes, what the file is, what to do."""

_SAVED_MODEL = (
    "Send it as ONNX: `pip install tf2onnx`, then `python -m tf2onnx.convert --saved-model FOLDER "
    "--output model.onnx`"
)


def refuse_foreign(path: Path, name: str = "") -> None:
    """Refuses a file of a form that is known and not read.

    Args:
        path: of the file.
        name: as the sender called it; empty: the path's.

    Raises:
        UnreadableUpload: with what the file is and how to make one that is read.
    """
    name = name or path.name
    _refuse_shard(name)
    if is_safetensors(path):
        return
    with path.open("rb") as file:
        start = file.read(512)
    for position, magic, what, remedy in MAGIC:
        if start[position : position + len(magic)] == magic:
            raise _foreign(what, remedy, name)
    if (
        start[:3] == b"\x08\x01\x12"
    ):  # protobuf: schema version 1, then a graph; an ONNX file's version is 3 or higher
        raise _foreign("a SavedModel of TensorFlow", _SAVED_MODEL, name)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise _foreign(
            "a web page or XML",
            "The download returned a web page in place of the file: fetch it again",
            name,
        )
    if text[:1] in (b"{", b"["):
        description = "the index of a model in several files" if b"weight_map" in start else "JSON"
        raise _foreign(description, _MERGE if "index" in description else _ANY, name)
    if is_zip(path):
        _refuse_archive(path, name)


def is_safetensors(path: Path) -> bool:
    """Whether a file begins like safetensors: 8 bytes of header length, then JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    return (
        len(start) == 9 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 100_000_000
    )


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive.

    Raises:
        UnreadableUpload: when it is one of several parts, as a damaged one may say.
    """
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile as error:
        raise UnreadableUpload(f"the file is a zip archive that is damaged: {error}") from error


def refuse_other_zip(path: Path, name: str = "") -> None:
    """Refuses a zip that is no PyTorch checkpoint.

    Args:
        path: the file.
        name: what the sender called it.

    Raises:
        UnreadableUpload: with what lies in it.
    """
    names = _entries(path)
    if not any(entry.split("/")[-1] == "data.pkl" for entry in names):
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise _foreign(
            f"a zip archive, but not a PyTorch checkpoint: it holds {shown or 'nothing'}",
            _UNPACK,
            name or path.name,
        )


def refuse_damaged(path: Path) -> None:
    """Refuses a zip of which a part is not what was written, by the checksums in its directory.

    torch's own reader looks at none: a weight of flipped bits would be read as it is.

    Args:
        path: of an archive that is known to unpack to no more than it may.

    Raises:
        UnreadableUpload: naming the part.
    """
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if (
                entry.CRC == 0
            ):  # of an empty part, or left out by `torch.serialization.set_crc32_options(False)`
                continue
            try:
                with archive.open(entry) as part:
                    while part.read(1 << 20):
                        pass
            except (
                zipfile.BadZipFile,
                zlib.error,
                EOFError,
                OSError,
                RuntimeError,
                ValueError,
            ) as error:
                raise UnreadableUpload(
                    f"the file is damaged: its part '{entry.filename}' is not what was written "
                    f"({error}). Send it again"
                ) from error


_MERGE = (
    "Send the whole model in one file: load all of its files where it was trained, then " + SAVE
)


def _refuse_shard(name: str) -> None:
    """A name like `model-00001-of-00002.safetensors` says that the file is a part."""
    part = re.search(r"(?<!\d)(\d+)[-_]of[-_](\d+)(?!\d)", name)
    if part is not None and int(part[2]) > 1:
        raise UnreadableUpload(
            f"'{name}' is part {int(part[1])} of {int(part[2])} of a model, so that the other "
            f"parts are missing. {_MERGE}"
        )


def _refuse_archive(path: Path, name: str) -> None:
    names = _entries(path)
    last = {entry.split("/")[-1] for entry in names}
    inside = {part for entry in names for part in entry.split("/")[:-1]}
    if "constants.pkl" in last or ("code" in inside and "data.pkl" in last):
        raise _foreign(
            "a TorchScript archive, which holds code beside the weights",
            f"Send the weights alone: `model = torch.jit.load('FILE')`, then {SAVE}",
            name,
        )
    if names and all(entry.endswith(".npy") for entry in names):
        raise _foreign(
            "an npz archive of numpy",
            "Send its arrays as a checkpoint: `arrays = numpy.load('FILE')`, then "
            "`torch.save({name: torch.from_numpy(arrays[name]) for name in arrays.files}, "
            "'weights.pt')`",
            name,
        )
    if "model.weights.h5" in last or {"config.json", "metadata.json"} <= last:
        raise _foreign("a Keras model (.keras)", f"Send it as ONNX: {_KERAS}", name)
    if "saved_model.pb" in last:
        raise _foreign("a SavedModel of TensorFlow in a zip", f"Unpack it. {_SAVED_MODEL}", name)
    if "archive_format" in last or "serialized_exported_program.json" in last:
        raise _foreign(
            "a program of torch.export (.pt2)",
            "Send its weights: `program = torch.export.load('FILE')`, then "
            "`torch.save(program.state_dict, 'weights.pt')`",
            name,
        )
    if "extern_modules" in last:
        raise _foreign("a torch.package archive, which holds code", _ANY, name)


def _entries(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UnreadableUpload(
            f"the file is a zip archive that is damaged or truncated: {error}"
        ) from error


def _foreign(what: str, remedy: str, name: str) -> UnreadableUpload:
    # Under the hash that an upload is stored as nobody would know the file again.
    shown = name if "." in name else "model file"
    return UnreadableUpload(f"the file is {what}. {remedy.replace('FILE', shown)}")

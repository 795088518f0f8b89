"""Files to arrays, safely: safetensors, or a PyTorch checkpoint read with `weights_only=True` and never otherwise.

What a file is, is decided by its first bytes. A checkpoint is a zip archive: its directory is looked at before anything
is unpacked, since torch stores tensors uncompressed and an entry that unpacks to much more than it takes is a bomb. The
same holds for tensors: views that claim more values than are stored are looked at before they are written out.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load_file
from torch import Tensor

from compress.errors import BadWeights, UnreadableUpload, UnsafePickle
from compress.ingest.limits import memory_for

MOST_RATIO = 8
"""Unpacked / packed of a whole archive. Weights hardly compress; runs of zeros do. The same for the float32 arrays that a
file becomes: half precision doubles, and a tied matrix counts as often as it has names."""
PICKLE_ROOM_BYTES = 512 << 20
"""What reading a pickle may take beyond twice its tensors: a vocabulary of millions of words becomes Python objects."""

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "weights")
WORDS = ("idx2word", "itos", "vocab", "vocabulary", "words", "chars", "stoi", "word2idx", "char2idx")


class UploadConfig(BaseModel):
    """The optional JSON beside the weights.

    Attributes:
        tied: whether the decoder shares the embedding's matrix; null: tied when they are equal or one is missing.
        vocabulary: the words, in the order of their ids.
        rename: from a parameter's name in the file to the name that this project understands.
        layers: the recurrent modules from the bottom to the top, where their names do not tell.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tied: bool | None = None
    vocabulary: list[str] | None = None
    rename: dict[str, str] = {}
    layers: list[str] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """What a file held: float32 arrays by name, the config beside it, and the vocabulary if there was one.

    Attributes:
        wrapper: the keys under which the parameters lay, such as `state_dict/`.
        in_order: whether the parameters stand in the order in which the model made them. safetensors sorts them.
    """

    arrays: dict[str, NDArray[np.float32]]
    config: UploadConfig
    vocabulary: list[str] | None = None
    wrapper: str = ""
    in_order: bool = False


def read_checkpoint(model: Path, config: Path | None) -> Checkpoint:
    """Reads an uploaded model file.

    Args:
        model: safetensors or a PyTorch checkpoint.
        config: the optional JSON.

    Raises:
        UnreadableUpload: when a file is truncated, of another form, or a bomb, or a tensor is not stored value by value.
        UnsafePickle: when a checkpoint needs more than weights.
        BadWeights: when a parameter is not finite.
    """
    hints = _read_config(config)
    safe = _is_safetensors(model)
    content = _read_safetensors(model) if safe else _read_torch(model)
    tensors, vocabulary, wrapper = _flatten(content)
    if not tensors:
        raise UnreadableUpload("the file holds no parameter", [f"found: {', '.join(map(str, content)) or 'nothing'}"])
    _refuse_unstored(tensors, model.stat().st_size)
    arrays, bad = {}, []
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            if tensor.is_quantized or tensor.dtype in (torch.int8, torch.uint8):
                raise UnreadableUpload(f"'{name}' is quantized ({tensor.dtype}); upload the float weights")
            continue
        array = tensor.detach().to(torch.float32).contiguous().numpy()
        if not np.isfinite(array).all():
            bad.append(f"'{name}' has {int((~np.isfinite(array)).sum()):,} values that are NaN or infinite")
        arrays[hints.rename.get(name, name)] = array
    if bad:
        raise BadWeights("some weights are NaN or infinite: the training diverged, or the file was damaged", bad)
    # torch never names a layer's parameters alphabetically, so that a sorted file has lost the order of its modules.
    in_order = not safe and list(tensors) != sorted(tensors)
    return Checkpoint(arrays, hints, hints.vocabulary or vocabulary, wrapper, in_order)


def _refuse_unstored(tensors: Mapping[str, Tensor], file_bytes: int) -> None:
    """Refuses tensors that are sparse, on no device, or claim more values than the file holds, before any is copied."""
    issues, total = [], 0
    for name, tensor in tensors.items():
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        if kind != "strided":
            issues.append(f"'{name}' is {kind}; save it dense: tensor.to_dense()")
        elif tensor.is_meta:
            issues.append(
                f"'{name}' is on the device 'meta' and has no values; save the model after loading its weights"
            )
        elif tensor.is_complex():
            issues.append(f"'{name}' holds complex numbers; real ones are expected")
        else:
            total += tensor.numel() * 4
            claimed, stored = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
            if claimed > stored:
                issues.append(
                    f"'{name}' {tuple(tensor.shape)} claims {claimed:,} bytes, {stored:,} are stored (an expanded view?); "
                    "save it written out: tensor.contiguous()"
                )
    if issues:
        raise UnreadableUpload("parameters must be dense tensors whose values are all stored in the file", issues)
    if total > MOST_RATIO * file_bytes:
        raise UnreadableUpload(
            f"the file of {file_bytes:,} bytes would become {total:,} bytes of float32 weights; too many of its "
            "tensors share their values"
        )


def _read_config(path: Path | None) -> UploadConfig:
    if path is None:
        return UploadConfig()
    try:
        return UploadConfig.model_validate_json(path.read_bytes())
    except ValidationError as error:
        issues = [f"{'.'.join(map(str, issue['loc'])) or 'config'}: {issue['msg']}" for issue in error.errors()]
        raise UnreadableUpload("the config is not the JSON that is expected", issues) from error


def _is_safetensors(path: Path) -> bool:
    """The header's length (8 bytes, little endian), then its JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 100_000_000


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        return load_file(path)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise UnreadableUpload(f"the safetensors file is damaged or truncated: {error}") from error


def _read_torch(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as file:
        start = file.read(16)
    unpacked = path.stat().st_size
    if zipfile.is_zipfile(path):
        unpacked = _refuse_bomb(path)
    elif not start.startswith(b"\x80"):
        form = (
            "an ONNX graph"
            if path.suffix == ".onnx" or b"onnx" in start or start[:1] == b"\x08"
            else "not a known form"
        )
        raise UnreadableUpload(
            f"the file is {form}: a safetensors file or a PyTorch checkpoint (torch.save of a state_dict) is expected; "
            "it may be truncated",
            [f"it begins with {start!r}"],
        )
    most = 2 * unpacked + PICKLE_ROOM_BYTES
    try:
        with memory_for(most):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _unpickled(str(error)) from error
    except Exception as error:
        # The pickle says what is called with which arguments, if only of what makes weights: anything may come of it.
        told = next(iter(str(error).splitlines()), type(error).__name__)
        if isinstance(error, MemoryError) or "memory" in told or "bad_alloc" in told:
            raise UnreadableUpload(
                f"the checkpoint of {path.stat().st_size:,} bytes asks for more than {most:,} bytes of memory"
            ) from error
        raise UnreadableUpload(f"the checkpoint is damaged or truncated: {told}") from error
    if isinstance(content, Mapping):
        return content
    raise UnreadableUpload(
        f"the checkpoint holds a {type(content).__name__}; a dictionary of parameters (a state_dict) is expected"
    )


def _unpickled(reason: str) -> UnsafePickle | UnreadableUpload:
    """The refusal in our own words: torch's advises the reader to switch its guard off, which nobody here can or should."""
    needed = list(dict.fromkeys(re.findall(r"(?:GLOBAL|[Uu]nsupported class) ([\w.]+)", reason)))
    if not needed and not re.search("persistent_load|unsupported (global|class)", reason, re.IGNORECASE):
        return UnreadableUpload("the checkpoint is damaged or truncated: its pickle is not one that torch writes")
    return UnsafePickle(
        "the checkpoint holds more than weights (often a whole pickled module), and running its code is refused. Where you "
        "trained it, save the weights alone: torch.save(model.state_dict(), 'model.pt')",
        [f"to load it, the code of '{name}' would have to run" for name in needed],
    )


def _refuse_bomb(path: Path) -> int:
    """The bytes that the archive unpacks to."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile as error:
        raise UnreadableUpload(f"the checkpoint is damaged or truncated: {error}") from error
    packed = path.stat().st_size
    if unpacked > MOST_RATIO * packed:
        raise UnreadableUpload(
            f"the archive of {packed:,} bytes would unpack to {unpacked:,}; torch stores weights uncompressed, so this "
            "is no checkpoint"
        )
    return unpacked


def _flatten(content: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[str] | None, str]:
    """Parameters, vocabulary and the wrapper that they were under."""
    vocabulary, wrapper = _words(content), ""
    current: Mapping[str, Any] = content
    while not any(isinstance(value, Tensor) for value in current.values()):
        inner = next((name for name in WRAPPERS if isinstance(current.get(name), Mapping)), None)
        if inner is None:
            break
        current, wrapper = current[inner], f"{wrapper}{inner}/"
    tensors = {str(name): value for name, value in current.items() if isinstance(value, Tensor)}
    return tensors, vocabulary, wrapper


def _words(content: Mapping[str, Any]) -> list[str] | None:
    for name in WORDS:
        value = content.get(name)
        if isinstance(value, list | tuple) and value and all(isinstance(word, str) for word in value):
            return list(value)
        if isinstance(value, str) and name in ("chars", "vocab", "vocabulary"):
            return list(value)
        if isinstance(value, Mapping) and value:
            return words_by_id(value)
    return None


def words_by_id(mapping: Mapping[Any, Any]) -> list[str] | None:
    """The words of a `{word: id}` or `{id: word}` dictionary in the order of their ids; None when ids have gaps.

    JSON has only strings as keys, so that an id may be one: `{"0": "the"}`.
    """
    pairs = [(v, k) if isinstance(v, int) else (k, v) for k, v in mapping.items()]
    if all(isinstance(i, str) and i.isdecimal() and isinstance(w, str) for i, w in pairs):
        pairs = [(int(i), w) for i, w in pairs]
    if not all(isinstance(i, int) and not isinstance(i, bool) and isinstance(w, str) for i, w in pairs):
        return None
    if sorted(i for i, _ in pairs) != list(range(len(pairs))):
        return None
    return [word for _, word in sorted(pairs)]


def read_json(path: Path) -> Any:
    """JSON of a file, or None when it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None

"""Reads checkpoints safely: safetensors, or PyTorch files with `weights_only=True` only.

What a file is, is decided by its first bytes. A checkpoint is a zip archive: its directory is
looked at before anything is unpacked, since torch stores tensors uncompressed and an entry that
unpacks to much more than it takes is a bomb. The same holds for tensors: views that claim more
values than are stored are looked at before they are written out.

Nothing of a file is ignored without its name: what is no part of the model stands in
`Checkpoint.dropped`.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from isslim.compress.errors import BadWeights, UnreadableUpload
from isslim.compress.ingest.config import UploadConfig, read_config
from isslim.compress.ingest.forms import (
    SAVE,
    is_safetensors,
    is_zip,
    refuse_damaged,
    refuse_foreign,
    refuse_other_zip,
)
from isslim.compress.ingest.parametrised import fold
from isslim.compress.ingest.state_dicts import choose, shown
from isslim.compress.ingest.unpickling import Record, load
from isslim.compress.ingest.word_lists import word_lists
from isslim.compress.pruning.blocks import ORDER

MAX_RATIO = 8
"""Unpacked / packed of a whole archive. Weights hardly compress; runs of zeros do. The same for
the float32 arrays that a file becomes: half precision doubles, and a tied matrix counts as often
as it has names."""
MAX_TENSORS = 100_000
"""Parts of an archive and tensors of a file that are read; large models have some thousands."""
_BESIDE = re.compile(
    r"(^|[._])(loss(es|_?fn|_?func|_?function|_?weights?)?|\w*criterion|crit|nll\w*|cross_?entropy|class_weights?|pos_weight|"
    r"\w*counts?|\w*freqs?|\w*frequenc(y|ies)|n_averaged|num_batches_tracked|num_updates|(global_)?steps?|epochs?|best\w*|metrics?|"
    r"perplexity|ppl|accuracy|lr|learning_rate)([._]|$)",
    re.IGNORECASE,
)
"""Names of numbers that training keeps and a model does not read; of a matrix no name is
believed."""
_TIED = re.compile(
    r"(is_?)?tied?_?(weights?|embeddings?|word_embeddings?|decoder|softmax)?|weight_?tying|share_?embeddings?"
)
_WHOLE = ("_mask", ORDER)
"""Ends of names of whole numbers that a model reads."""
T = TypeVar("T")
_LAYERS = re.compile(
    r"n_?layers?|num_?layers|(rnn|lstm|gru)_?layers|n_?rnn_?layers|num_(rnn|lstm|gru)_layers|number_of_layers"
)
"""Names of options in lower case."""


@dataclass(frozen=True)
class Checkpoint:
    """What a file held.

    Attributes:
        arrays: float32, by name; what all names begin with is left away.
        config: the JSON beside the file.
        vocabularies: lists of tokens by where they were found; those of the config under `config`.
        wrapper: the keys under which the parameters lay, such as `state_dict`.
        dropped: what else the file holds, by name, and why it is not read.
        done: what was done to get the weights, such as the folding of masks.
        tied: where the file itself says that decoder and embedding share a matrix; empty: nowhere.
        layers: how many layers the options of the training run in the file speak of, by where they
            do.
        sources: the name in the state dict of every array, in the order of the file.
        unused: the tensors of the state dict that are no arrays here, by name.
        folded: of `done`, what computed weights from several tensors of the file.
    """

    arrays: dict[str, NDArray[np.float32]]
    config: UploadConfig = field(default_factory=UploadConfig)
    vocabularies: dict[str, list[str]] = field(default_factory=dict)
    wrapper: str = ""
    dropped: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    tied: str = ""
    layers: dict[str, int] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    unused: dict[str, Tensor] = field(default_factory=dict)
    folded: tuple[str, ...] = ()


def read_checkpoint(model: Path, config: Path | None, name: str = "") -> Checkpoint:
    """Reads an uploaded model file.

    Args:
        model: safetensors or a PyTorch checkpoint.
        config: the optional JSON.
        name: the file's, as the sender called it.

    Raises:
        UnreadableUpload: when a file is truncated, of another form, or a bomb, or a tensor is not
            stored value by value.
        UnsafePickle: when a checkpoint needs more than weights.
        BadWeights: when a parameter is not finite.
    """
    hints = read_config(config)
    refuse_foreign(model, name)
    content = _read_safetensors(model) if is_safetensors(model) else _read_torch(model, name)
    state = choose(content, hints.state)
    kept, dropped = _parted(state.tensors, hints.drop)
    _refuse_unstored(kept, model.stat().st_size)
    folded, computed = fold(kept)
    done = list(computed)
    arrays = _arrays({hints.rename.get(each, each): tensor for each, tensor in folded.items()})
    precisions = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in folded.values())
    if others := [precision for precision in precisions if precision != "float32"]:
        done.append(f"stored as {' and '.join(others)}, read as float32")
    own = {} if hints.vocabulary is None else {"config": hints.vocabulary}
    beside = tuple(f"{each}, beside the model" for each in state.beside)
    tied = next((where for where, value in _options(content, _TIED) if value is True), "")
    if not tied and is_safetensors(model) and _header(model).get("tied") == "true":
        tied = "in its header"
    layers = {where: value for where, value in _options(content, _LAYERS) if type(value) is int}
    return Checkpoint(
        _without_prefix(arrays),
        hints,
        own or word_lists(content),
        state.path,
        (*dropped, *beside),
        tuple(done),
        tied,
        layers,
        _without_prefix({hints.rename.get(each, each): each for each in folded}),
        {each: tensor for each, tensor in state.tensors.items() if each not in kept},
        tuple(computed),
    )


def _parted(
    tensors: Mapping[str, Tensor], configured: list[str]
) -> tuple[dict[str, Tensor], list[str]]:
    """Separates parameters from other tensors: training statistics, and what the config drops."""
    if absent := [name for name in configured if name not in tensors]:
        raise UnreadableUpload(
            f"the config drops {', '.join(absent)}, and the file has no such tensor",
            list(tensors)[:40],
        )
    kept, dropped = {}, []
    layers = {name.removesuffix("weight") for name, tensor in tensors.items() if tensor.dim() > 1}
    for name, tensor in tensors.items():
        if name in configured:
            dropped.append(f"{shown(name, tensor)}, as the config says")
        elif name.endswith("bias") and name.removesuffix("bias") in layers:
            kept[name] = tensor  # of a linear layer, whatever that is called
        elif tensor.dim() <= 1 and _BESIDE.search(name):
            dropped.append(f"{shown(name, tensor)}, of the training by its name")
        elif tensor.dim() == 0 and not (tensor.is_floating_point() or tensor.is_complex()):
            dropped.append(f"{shown(name, tensor)}, a whole number, which no parameter is")
        elif (
            tensor.is_quantized
            or tensor.dtype in (torch.int8, torch.uint8)
            or "float8" in str(tensor.dtype)
        ):
            if not name.endswith("_mask"):
                raise UnreadableUpload(
                    f"'{name}' is quantized ({tensor.dtype}); upload the float weights"
                )
            kept[name] = tensor
        elif not (tensor.is_floating_point() or tensor.is_complex() or name.endswith(_WHOLE)):
            raise UnreadableUpload(
                f"'{name}' {tuple(tensor.shape)} holds whole numbers "
                f"({str(tensor.dtype).removeprefix('torch.')}), and no "
                f'parameter does. If the model does not read it, say so in the config: {{"drop": '
                f'["{name}"]}}'
            )
        else:
            kept[name] = tensor
    return kept, dropped


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
    arrays, bad = {}, []
    for name, tensor in tensors.items():
        array = tensor.detach().to(torch.float32).contiguous().numpy()
        if not np.isfinite(array).all():
            bad.append(
                f"'{name}' has {int((~np.isfinite(array)).sum()):,} values that are NaN or infinite"
            )
        arrays[name] = array
    if bad:
        raise BadWeights(
            "some weights are NaN or infinite: the training diverged, or the file was damaged", bad
        )
    return arrays


def _without_prefix(arrays: dict[str, T]) -> dict[str, T]:
    """Strips a prefix that all names share, and torch.compile's `_orig_mod.`."""
    arrays = {name.replace("_orig_mod.", ""): array for name, array in arrays.items()}
    while len(prefixes := {name.partition(".")[0] for name in arrays}) == 1:
        known = prefixes <= {"module", "model", "net"}
        if not all(name.count(".") >= (1 if known else 2) for name in arrays):
            break
        arrays = {name.partition(".")[2]: array for name, array in arrays.items()}
    return arrays


def _options(
    content: object, named: re.Pattern[str], path: str = "", deepest: int = 4
) -> Iterator[tuple[str, object]]:
    """Options of the training run that are called so, wherever in the file they lie."""
    inside = vars(content) if isinstance(content, Record) else content
    if not isinstance(inside, Mapping) or len(inside) > 1000 or deepest == 0:
        return
    for name, value in inside.items():
        if named.fullmatch(str(name).lower()):
            yield f"{path}{name}", value
        elif not isinstance(value, Tensor):
            yield from _options(value, named, f"{path}{name}/", deepest - 1)


def _refuse_unstored(tensors: Mapping[str, Tensor], file_bytes: int) -> None:
    """Refuses tensors that are sparse, on no device, or claim more values than are stored."""
    issues, total = [], 0
    for name, tensor in tensors.items():
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        if kind != "strided":
            issues.append(f"'{name}' is {kind}; save it dense: tensor.to_dense()")
        elif tensor.is_meta:
            issues.append(
                f"'{name}' is on the device 'meta' and has no values; save the model after loading "
                "its weights"
            )
        elif tensor.is_complex():
            issues.append(f"'{name}' holds complex numbers; real ones are expected")
        else:
            total += tensor.numel() * 4
            claimed, stored = (
                tensor.numel() * tensor.element_size(),
                tensor.untyped_storage().nbytes(),
            )
            if claimed > stored:
                issues.append(
                    f"'{name}' {tuple(tensor.shape)} claims {claimed:,} bytes, {stored:,} are "
                    "stored (an expanded view?); "
                    "save it written out: tensor.contiguous()"
                )
    if issues:
        raise UnreadableUpload(
            "parameters must be dense tensors whose values are all stored in the file", issues
        )
    if total > MAX_RATIO * file_bytes:
        raise UnreadableUpload(
            f"the file of {file_bytes:,} bytes would become {total:,} bytes of float32 weights; "
            "too many of its "
            "tensors share their values"
        )


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    """The tensors by name; `save_model` stores a shared tensor once and its alias as metadata."""
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()  # the file is no dictionary: it cannot be iterated
            _refuse_many(len(names), "tensors")
            tensors = {name: file.get_tensor(name) for name in names}
            names = file.metadata() or {}
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise UnreadableUpload(f"the safetensors file is damaged or truncated: {error}") from error
    return tensors | {
        other: tensors[kept]
        for other, kept in names.items()
        if kept in tensors and other not in tensors
    }


def _refuse_many(count: int, what: str) -> None:
    if count > MAX_TENSORS:
        raise UnreadableUpload(f"the file holds {count:,} {what}; at most {MAX_TENSORS:,} are read")


def _header(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file that can be read."""
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _read_torch(path: Path, name: str) -> Any:
    with path.open("rb") as file:
        start = file.read(16)
    unpacked = path.stat().st_size
    if not unpacked:
        raise UnreadableUpload(f"the file is empty. Where the model was trained: {SAVE}")
    if is_zip(path):
        unpacked = _refuse_bomb(path)
        refuse_other_zip(path, name)
        refuse_damaged(path)
    elif not start.startswith(b"\x80"):
        if start.startswith(b"PK"):
            raise UnreadableUpload(
                "the file begins as a checkpoint or another zip archive and is damaged or "
                f"truncated after {unpacked:,} bytes: "
                "its end is missing. Send it again"
            )
        form = (
            "an ONNX graph"
            if path.suffix == ".onnx" or b"onnx" in start or start[:1] == b"\x08"
            else "not a known form"
        )
        raise UnreadableUpload(
            f"the file is {form}: a safetensors file or a PyTorch checkpoint (torch.save of a "
            "state_dict) is expected; "
            f"it may be truncated. Where the model was trained: {SAVE}",
            [f"it begins with {start!r}"],
        )
    content = load(path, unpacked)
    if isinstance(content, Mapping | list | tuple | Record):
        return content
    raise UnreadableUpload(
        f"the checkpoint holds a {type(content).__name__}; a dictionary of parameters (a "
        "state_dict) is expected"
    )


def _refuse_bomb(path: Path) -> int:
    """The bytes that the archive unpacks to."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            unpacked = sum(entry.file_size for entry in entries)
    except zipfile.BadZipFile as error:
        raise UnreadableUpload(f"the checkpoint is damaged or truncated: {error}") from error
    _refuse_many(len(entries), "parts")
    packed = path.stat().st_size
    if unpacked > MAX_RATIO * packed:
        raise UnreadableUpload(
            f"the archive of {packed:,} bytes would unpack to {unpacked:,}; torch stores weights "
            "uncompressed, so this "
            "is no checkpoint"
        )
    return unpacked

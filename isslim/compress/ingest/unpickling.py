"""Reads PyTorch checkpoints with `weights_only=True` only; no foreign class is instantiated.

People store more than weights: the options of a run (`argparse.Namespace`), losses as numpy
scalars, paths. torch's reader refuses names that it does not know, but more can be registered with
it, each with a class to use. The classes registered here are our own: they keep values and run
nothing. numpy's own `dtype` is not among them: its `__setstate__` trusts pointers in a pickle.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isslim.compress.errors import UnreadableUpload, UnsafePickle
from isslim.compress.ingest.forms import SAVE
from isslim.compress.ingest.limits import memory_for

PICKLE_ROOM_BYTES = 512 << 20
"""What reading a pickle may take beyond twice its tensors: a vocabulary of millions of words
becomes Python objects."""


class Record:
    """An object's attributes without its class; what it was called with is forgotten."""

    def __new__(cls, *_: object, **__: object) -> Record:
        """A record, whatever the arguments."""
        return super().__new__(cls)

    def __init__(self, *_: object, **attributes: object) -> None:
        vars(self).update(attributes)

    def __setstate__(self, state: object) -> None:
        """Takes the attributes that a pickle gives."""
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, Mapping):
                vars(self).update({str(name): value for name, value in part.items()})


class Kind:
    """A dtype of numpy: its letter and size, and the order of its bytes."""

    def __init__(self, code: str = "", *_: object) -> None:
        self.code, self.order = str(code), "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Takes the byte order and nothing else."""
        self.order = state[1] if len(state) > 1 and state[1] in ("<", ">", "|", "=") else "<"

    def values(self, data: object) -> Any:
        """An array of the bytes; a list as it is; None for anything else."""
        if isinstance(data, list | tuple):
            return list(data)
        plain = re.fullmatch(r"[fiub][1248]|U\d{1,4}", self.code)
        if plain is None or not isinstance(data, bytes):
            return None
        return np.frombuffer(data, np.dtype(self.order + self.code))


class Array:
    """An array of numpy.

    Attributes:
        value: the array, a list of its objects, or None where it is of a kind that is not read.
    """

    def __init__(self) -> None:
        self.value: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Takes `(version, shape, dtype, whether in Fortran's order, bytes or objects)`."""
        _, shape, kind, fortran, data = state
        found = kind.values(data)
        self.value = (
            found.reshape(shape, order="F" if fortran else "C")
            if isinstance(found, np.ndarray)
            else found
        )


class Dictionary:
    """A dictionary of a class of its own, as a plain one."""

    def __new__(cls, *_: object) -> dict[Any, Any]:  # type: ignore[misc]
        """An empty dictionary; the pickle fills it."""
        return {}


def _scalar(kind: Kind, data: object = None) -> Any:
    found = kind.values(data)
    return found[0].item() if isinstance(found, np.ndarray) and found.size == 1 else None


def _array(*_: object) -> Array:
    return Array()


def _text(*parts: object) -> str:
    return "/".join(map(str, parts))


_KNOWN: dict[Callable[..., Any], tuple[str, ...]] = {
    Record: (
        "argparse.Namespace",
        "types.SimpleNamespace",
        "torch.torch_version.TorchVersion",
        "datetime.datetime",
        "datetime.date",
        "datetime.timedelta",
        "builtins.int",
        "builtins.float",
        "builtins.str",
        "builtins.list",
        "builtins.dict",
        "torchtext.vocab.Vocab",
        "torchtext.vocab._default_unk_index",
    ),
    Dictionary: (
        "collections.defaultdict",
        "pytorch_lightning.utilities.parsing.AttributeDict",
        "lightning.pytorch.utilities.parsing.AttributeDict",
        "lightning.fabric.utilities.data.AttributeDict",
        "lightning_fabric.utilities.data.AttributeDict",
    ),
    Kind: ("numpy.dtype",),
    Array: ("numpy.ndarray",),
    _scalar: ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"),
    _array: ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"),
    _text: (
        "pathlib.PosixPath",
        "pathlib.WindowsPath",
        "pathlib.PurePosixPath",
        "pathlib.PureWindowsPath",
        "pathlib.Path",
        "pathlib._local.PosixPath",
        "pathlib._local.WindowsPath",
    ),
}
STAND_INS: list[tuple[Callable[..., Any], str]] = [
    (stand_in, name) for stand_in, names in _KNOWN.items() for name in names
]
"""What stands for the names that a pickle may speak of beside weights. Calling any of them runs no
code of the library's."""


def load(path: Path, unpacked_bytes: int) -> Any:
    """The content of a PyTorch checkpoint.

    Args:
        path: of the file.
        unpacked_bytes: what its archive unpacks to.

    Raises:
        UnreadableUpload: when it is damaged, or asks for more memory than weights of its size take.
        UnsafePickle: when code would have to run.
    """
    most = 2 * unpacked_bytes + PICKLE_ROOM_BYTES
    try:
        with memory_for(most), torch.serialization.safe_globals([*STAND_INS]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refusal(str(error)) from error
    except Exception as error:
        # The pickle says what is called with which arguments, if only of what makes weights:
        # anything may come of it.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        if isinstance(error, MemoryError) or "memory" in reason or "bad_alloc" in reason:
            raise UnreadableUpload(
                f"the checkpoint of {path.stat().st_size:,} bytes asks for more than {most:,} "
                "bytes of memory"
            ) from error
        # What torch says is meant for whoever calls it, and at times advises to switch its guard
        # off.
        reason = reason if "weights_only" not in reason else type(error).__name__
        raise UnreadableUpload(
            f"the checkpoint is damaged or truncated, or not written by torch.save ({reason}). "
            f"Where the model was trained: {SAVE}"
        ) from error


def as_tensor(value: object) -> Tensor | None:
    """A tensor, or a numeric array as one; None for anything else."""
    if isinstance(value, Tensor):
        return value
    if (
        isinstance(value, Array)
        and isinstance(value.value, np.ndarray)
        and value.value.dtype.kind in "fiub"
    ):
        array = value.value.astype(value.value.dtype.newbyteorder("="))
        return torch.from_numpy(array)
    return None


def _refusal(reason: str) -> UnsafePickle | UnreadableUpload:
    """The refusal in our own words: torch's advises to switch its protection off."""
    needed = list(dict.fromkeys(re.findall(r"(?:GLOBAL|[Uu]nsupported class) ([\w.]+)", reason)))
    if not needed and "Unsupported operand" in reason:
        return UnreadableUpload(
            "the checkpoint's pickle is not in the form that torch.save writes by default (pickled "
            "by hand, or with another "
            f"`pickle_protocol`?). Save the weights again where the model was trained: {SAVE}"
        )
    if not needed and not re.search(
        "persistent_load|unsupported (global|class)", reason, re.IGNORECASE
    ):
        return UnreadableUpload(
            "the checkpoint is damaged or truncated, or not written by torch.save. Where the "
            f"model was trained: {SAVE}"
        )
    if any(
        name.startswith(("torch.ao.", "torch.nn.quantized", "torch.quantization"))
        for name in needed
    ):
        what = (
            "a quantized module, whose weights are in a form of its own. Save the float weights, "
            "from before it was quantized"
        )
    else:
        what = (
            "more than weights (often a whole pickled module, torch.save(model, ...)), and running "
            "its code is refused. Save "
            "the weights alone, where the model's class is at hand"
        )
    return UnsafePickle(
        f"the checkpoint holds {what}: {SAVE}",
        [f"to load it, the code of '{name}' would have to run" for name in needed],
    )

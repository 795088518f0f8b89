"""The small network of a bundle as a PyTorch module, to be scored with, looked at or trained on.

    >>> import isslim.torch
    >>> small = isslim.torch.load("small/")      # of `isslim pull NAME --out small/`
    >>> logits, state = small(tokens, small.zero_state(batch))
    >>> tagger = isslim.torch.load("saved/", model=Tagger())  # of `Compressed.save("saved/")`

A language model maps tokens, int64 (T, B), and a state to the logits (T, B, V) of the token after
each, and the state after the last step. The state is a list with a tuple of tensors (1, B, H) for
each layer from the bottom: hidden and cell state of an LSTM, the hidden state of a GRU or of a
recurrent highway network. `zero_state(B)` is the state before a text; what `forward` returns
continues it.

A reader (BiDAF) maps vectors (T, B, E), characters (T, B, W) and lengths (B,) of the contexts, then
those of the questions, to natural log-probabilities (B, T) of the answer's first and last token:
see `isslim.compress.kinds.questions.networks.bidaf.Bidaf.forward`.

Both are in evaluation mode on the CPU, with gradients: `small.train()`, an optimizer and a loss
train them on. Legend: T steps, B batch, V vocabulary, H units, E width of a word vector, W
characters of a word.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from isslim.compress.errors import ModuleNotCut
from isslim.compress.kinds.modules import build_network
from isslim.compress.modules.attributes import set_numbers, with_likely
from isslim.compress.modules.resize import resize_module
from isslim.compress.training.saved_network import (
    COMPRESSED,
    MAX_NAMED,
    TRAINED,
    WeightsRefused,
    read_network,
)
from isslim.store.files import sha256_of
from isslim.types.manifest import Manifest
from isslim.types.same_form import NUMBERS, OWN_MODULE, STATE_DICT

__all__ = ["WeightsRefused", "load"]

_MANIFEST = "manifest.json"
_OWN = (OWN_MODULE, STATE_DICT)
"""Weights of a class of the user's own: of a module, or of a language model with `form` `same`."""


def load(folder: str | PathLike[str], model: nn.Module | None = None) -> nn.Module:
    """The compressed network of a bundle, or the network that a training run wrote.

    Args:
        folder: with `compressed.safetensors` and `compressed.json`, as `isslim pull` and
            `Compressed.save` write them, or with `model.safetensors` and `config.json`. With
            `manifest.json` beside them, the files have to be those that it names.
        model: a module of the class that was compressed, of any number of units; it stays as it
            is. A copy of it gets the sizes and weights of `module.safetensors` or
            `state_dict.safetensors`. None: the network is one of this package's classes.

    Returns:
        The network in evaluation mode; see the module's docstring for its `forward`.

    Raises:
        WeightsRefused: when a file is missing, changed or damaged, the architecture is not known
            here, or the weights do not fit the sizes or the model.
    """
    if not isinstance(folder, str | PathLike):
        raise WeightsRefused(f"`folder` is a {type(folder).__name__}: a path is expected")
    place = Path(folder)
    if model is not None:
        return _own_module(place, model)
    names = next((each for each in (COMPRESSED, TRAINED) if (place / each.weights).is_file()), None)
    if names is None:
        raise WeightsRefused(_missing(place))
    if (place / _MANIFEST).is_file():
        _check_hashes(place, (names.weights, names.spec))
    return read_network(place, build_network, names)


def _missing(place: Path) -> str:
    """Why a folder without a network of this package's cannot be loaded."""
    if not place.is_dir():
        return f"there is no folder {place}"
    own = next((name for name in _OWN if (place / name).is_file()), None)
    if own is not None:
        return (
            f"{place / own} holds the weights of a class of your own: give an object of it, "
            f"`isslim.torch.load({str(place)!r}, model=YourClass(...))`"
        )
    return (
        f"{place} lacks {COMPRESSED.weights}: the folder of a compressed language model or reader "
        "is expected, as `Compressed.save(folder)` or `isslim pull NAME --out folder` writes it. A "
        "graph has no such file (run its `compressed.onnx`), and neither has a bundle of format 2 "
        "(compress the model again)"
    )


def _own_module(place: Path, model: nn.Module) -> nn.Module:
    """A copy of a module with the sizes and weights that were saved.

    Raises:
        WeightsRefused: when there are none, or they are those of another class.
    """
    if not isinstance(model, nn.Module):
        raise WeightsRefused(
            f"`model` is {model!r:.80}: an object of the class that was compressed is expected, "
            "such as `model=Tagger()`"
        )
    name = next((each for each in _OWN if (place / each).is_file()), None)
    if name is None:
        raise WeightsRefused(
            f"{place} {'holds' if place.is_dir() else 'is no folder with'} "
            f"{'neither ' if place.is_dir() else ''}{OWN_MODULE} "
            f"{'nor' if place.is_dir() else 'or'} {STATE_DICT}: a folder that `Compressed.save` "
            "wrote of a module that could be made small is expected, or of a language model with "
            "`form` 'same'"
        )
    if (place / _MANIFEST).is_file():
        _check_hashes(place, (name,))
    try:
        found = load_file(place / name)
    except SafetensorError as error:
        raise WeightsRefused(f"{place / name} is damaged or truncated: {error}") from error
    if faults := _misfits(model, found):
        more = f"; and {len(faults) - MAX_NAMED} more" if len(faults) > MAX_NAMED else ""
        raise WeightsRefused(
            f"{name} does not fit a {type(model).__name__}: {'; '.join(faults[:MAX_NAMED])}{more}. "
            "Build the model as the one that was compressed"
        )
    try:
        small = resize_module(model, found).eval()
    except ModuleNotCut as error:
        raise WeightsRefused(f"{name} does not fit: {error.detail}") from error
    numbers = _numbers(place / name)
    if numbers is None:
        return with_likely(model, small)
    set_numbers(small, numbers)
    return small


def _numbers(path: Path) -> list[tuple[str, list[str], int]] | None:
    """Attributes of the module's own code that hold numbers of units, if the file notes them.

    Raises:
        WeightsRefused: when the note is not one.
    """
    with safe_open(path, "pt") as file:
        noted = (file.metadata() or {}).get(NUMBERS)
    if noted is None:
        return None
    try:
        return TypeAdapter(list[tuple[str, list[str], int]]).validate_json(noted)
    except ValidationError as error:
        raise WeightsRefused(f"{path}: its metadata '{NUMBERS}' is damaged: {noted:.80}") from error


def _misfits(model: nn.Module, found: dict[str, Tensor]) -> list[str]:
    """What a module needs that the file lacks; a tensor with several names is there under one."""
    owned: dict[int, list[str]] = {}
    shapes = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor):
            owned.setdefault(id(tensor), []).append(name)
            shapes[name] = tensor.dim()
    lacking = [names[0] for names in owned.values() if found.keys().isdisjoint(names)]
    return [f"'{name}' is missing" for name in lacking] + [
        f"'{name}' has {found[name].dim()} dimensions, and {count} are expected"
        for name, count in shapes.items()
        if name in found and found[name].dim() != count
    ]


def _check_hashes(folder: Path, names: tuple[str, ...]) -> None:
    """Compares files with the manifest beside them.

    Raises:
        WeightsRefused: when one is not that which the manifest names.
    """
    try:
        manifest = Manifest.model_validate_json((folder / _MANIFEST).read_bytes())
    except ValidationError as error:
        raise WeightsRefused(
            f"{folder / _MANIFEST} cannot be read: {error.error_count()} of its fields are not "
            "those of a bundle that this release knows"
        ) from error
    expected = {record.path: record.sha256 for record in manifest.files}
    for name in names:
        if (folder / name).is_file() and sha256_of(folder / name) != expected.get(name):
            raise WeightsRefused(
                f"{folder / name} is not the file that {_MANIFEST} names: its SHA-256 differs. "
                "Fetch the folder again; to load weights that you changed, leave "
                f"{_MANIFEST} out"
            )

"""The small network of a bundle as a PyTorch module, to be scored with, looked at or trained on.

    >>> import isslim.torch
    >>> small = isslim.torch.load("small/")      # of `isslim pull NAME --out small/`
    >>> logits, state = small(tokens, small.zero_state(batch))

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

from pathlib import Path

from pydantic import ValidationError
from torch import nn

from isslim.compress.kinds.modules import build_network
from isslim.compress.training.saved_network import (
    COMPRESSED,
    TRAINED,
    WeightsRefused,
    read_network,
)
from isslim.store.files import sha256_of
from isslim.types.manifest import Manifest

__all__ = ["WeightsRefused", "load"]

_MANIFEST = "manifest.json"


def load(folder: str | Path) -> nn.Module:
    """The compressed network of a bundle, or the network that a training run wrote.

    Args:
        folder: with `compressed.safetensors` and `compressed.json`, as `isslim pull` writes it, or
            with `model.safetensors` and `config.json`. With `manifest.json` beside them, the files
            have to be those that it names.

    Returns:
        The network in evaluation mode; see the module's docstring for its `forward`.

    Raises:
        WeightsRefused: when a file is missing, changed or damaged, the architecture is not known
            here, or the weights do not fit the sizes.
    """
    place = Path(folder)
    names = next((each for each in (COMPRESSED, TRAINED) if (place / each.weights).is_file()), None)
    if names is None:
        raise WeightsRefused(
            f"{place} {'lacks' if place.is_dir() else 'is no folder with'} "
            f"{COMPRESSED.weights}: a folder that `isslim pull NAME --out {place}` wrote is "
            "expected. A graph (ONNX) has no such file, and neither has a bundle of format 2: "
            "compress the model again"
        )
    if (place / _MANIFEST).is_file():
        _check_hashes(place, (names.weights, names.spec))
    return read_network(place, build_network, names)


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

"""A question answering model as a folder, which is also an upload: weights, sizes, and what turns text into numbers.

`model.safetensors`, `config.json` (`architecture` "bidaf" and the sizes by the names of `BidafSpec`), `words.txt`,
`vectors.npy` and `characters.txt` (see `runtime.passages`).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.torch import save

from compress.axes import AxisMismatch
from compress.errors import UnreadableUpload
from compress.networks.bidaf import Bidaf
from compress.networks.bidaf_axes import BidafSpec, declare
from runtime.passages import PassageCodec


def save_reader(folder: Path, network: Bidaf, codec: PassageCodec) -> None:
    """Writes the folder's files; the weights last, and whole or not at all."""
    codec.save(folder)
    sizes = {"architecture": network.architecture, **asdict(network.spec)}
    (folder / "config.json").write_text(json.dumps(sizes, indent=2), encoding="utf-8")
    weights = {name: torch.from_numpy(array) for name, array in network.arrays().items()}
    temporary = folder / "model.safetensors.partial"
    temporary.write_bytes(save(weights))
    temporary.replace(folder / "model.safetensors")


def load_reader(folder: Path) -> tuple[Bidaf, PassageCodec]:
    """The model in evaluation mode, and its codec.

    Raises:
        UnreadableUpload: when the files do not fit each other or are no BiDAF model; the issues say why.
        OSError: when one is not there.
    """
    try:
        arrays = load_file(folder / "model.safetensors")
        spec = BidafSpec.of(arrays)
        declare(spec).check(arrays)
        codec = PassageCodec.from_folder(folder)
    except AxisMismatch as error:
        raise UnreadableUpload("the weights are not those of one BiDAF network", error.issues) from error
    except (SafetensorError, KeyError, ValueError, IndexError) as error:
        raise UnreadableUpload(f"'{folder.name}' holds no BiDAF model: {error}") from error
    if (codec.width, codec.character_ids) != (spec.vectors, spec.characters):
        raise UnreadableUpload(
            f"word vectors of width {codec.width} and {codec.character_ids} character ids, where the weights expect "
            f"{spec.vectors} and {spec.characters}"
        )
    return Bidaf(spec).filled(arrays), codec

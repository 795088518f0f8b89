"""A network on disk: its weights as safetensors, its architecture and sizes as JSON beside them.

The weights have the names of `TrainableNetwork.arrays`; a matrix that two layers share is stored
once. The header's metadata is `format` (`pt`), `isslim` (the version of the form), `architecture`
and, where embedding and decoder may share a matrix, `tied` (`true` or `false`). Two files of one
network are equal byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from isslim.compress.training.network import NetworkType, TrainableNetwork
from isslim.store.files import atomic_file
from isslim.types.network_spec import FORMAT, NetworkSpec


@dataclass(frozen=True)
class FileNames:
    """Names of the two files of a network in its folder."""

    weights: str
    spec: str


COMPRESSED = FileNames("compressed.safetensors", "compressed.json")
"""In a bundle."""
TRAINED = FileNames("model.safetensors", "config.json")
"""In the folder of a training run."""
_METADATA = "__metadata__"
MAX_NAMED = 12
"""Tensors that a refusal lists."""


class WeightsRefused(ValueError):
    """A folder holds no network that can be loaded: the message says what is missing or wrong."""


def spec_of(network: TrainableNetwork) -> NetworkSpec:
    """The architecture and the sizes of a network; lists that are empty are left away."""
    sizes = {name: size for name, size in asdict(network.spec).items() if size != ()}
    return NetworkSpec(isslim=FORMAT, architecture=network.architecture, spec=sizes)


def save_network(folder: Path, network: TrainableNetwork, names: FileNames = COMPRESSED) -> None:
    """Writes both files, each whole or not at all; the weights last.

    Args:
        folder: has to exist.
        network: the network.
        names: of the files.
    """
    spec = spec_of(network)
    header = {"format": "pt", "isslim": str(FORMAT), "architecture": spec.architecture}
    if spec.tied is not None:
        header["tied"] = str(spec.tied).lower()
    weights = {name: torch.from_numpy(array) for name, array in network.arrays().items()}
    with atomic_file(folder / names.spec) as temporary:
        temporary.write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
    save_tensors(folder / names.weights, weights, header)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes a file of safetensors, whole or not at all, with the metadata in the given order.

    The library writes it in another order in every call, and a bundle's id is made of its content.

    Args:
        path: the file.
        tensors: by name.
        metadata: of the header.
    """
    content = save(dict(tensors), dict(metadata))
    end = 8 + int.from_bytes(content[:8], "little")
    entries = {
        name: entry for name, entry in json.loads(content[8:end]).items() if name != _METADATA
    }
    head = json.dumps({_METADATA: dict(metadata), **entries}, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)  # the numbers behind it begin at a multiple of 8
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.write(memoryview(content)[end:])


def read_network(
    folder: Path,
    build: Callable[[NetworkSpec], NetworkType],
    names: FileNames = COMPRESSED,
) -> NetworkType:
    """The network that was saved, in evaluation mode.

    Args:
        folder: with both files.
        build: makes a network of an architecture and sizes; raises `ValueError` where it cannot.
        names: of the files.

    Raises:
        WeightsRefused: when a file is missing or damaged, the architecture is not known, or the
            weights do not fit the sizes.
    """
    spec = _read_spec(folder / names.spec)
    found = _read_tensors(folder / names.weights, spec)
    try:
        # On no device: sizes that the weights do not have take no memory.
        with torch.device("meta"):
            expected = build(spec).tensors()
    except (ValueError, TypeError, RuntimeError) as error:
        raise WeightsRefused(f"{folder / names.spec} describes no network: {error}") from error
    faults = [f"'{name}' is missing" for name in expected if name not in found]
    faults += [f"'{name}' is not part of it" for name in found if name not in expected]
    faults += [
        f"'{name}' is {tuple(found[name].shape)}, and {tuple(tensor.shape)} is expected"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if faults:
        more = f"; and {len(faults) - MAX_NAMED} more" if len(faults) > MAX_NAMED else ""
        raise WeightsRefused(
            f"{names.weights} does not fit {names.spec}, which describes the architecture "
            f"'{spec.architecture}': {'; '.join(faults[:MAX_NAMED])}{more}. Take both files from "
            "one model"
        )
    arrays = {name: tensor.to(torch.float32).numpy() for name, tensor in found.items()}
    try:
        return build(spec).filled(arrays)
    except ValueError as error:
        raise WeightsRefused(f"{names.weights} is damaged: {error}") from error


def _read_spec(path: Path) -> NetworkSpec:
    try:
        return NetworkSpec.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise WeightsRefused(f"{path} is missing") from error
    except ValidationError as error:
        issues = [
            f"{'.'.join(map(str, issue['loc'])) or 'content'}: {issue['msg']}"
            for issue in error.errors()
        ]
        raise WeightsRefused(
            f"{path} is not the description of a network: {'; '.join(issues)}"
        ) from error


def _read_tensors(path: Path, spec: NetworkSpec) -> dict[str, Tensor]:
    """The tensors by name, from a file whose header names the architecture of the spec, or none."""
    if not path.is_file():
        raise WeightsRefused(f"{path} is missing")
    try:
        with safe_open(path, framework="pt") as file:
            written = (file.metadata() or {}).get("architecture", spec.architecture)
            names = file.keys()  # the file is no dictionary: it cannot be iterated
            found = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise WeightsRefused(f"{path} is damaged or truncated: {error}") from error
    if written != spec.architecture:
        raise WeightsRefused(
            f"{path} holds the weights of the architecture '{written}', and the JSON beside it "
            f"describes '{spec.architecture}'. Take both files from one model"
        )
    return found

"""What a caller gives, as the files that readers of uploads read.

Values become files in the working folder, so that a model is read in one way, whether it comes by
HTTP or from a program; files of the caller are read where they are.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from onnx import ModelProto
from torch import Tensor, nn

from isslim.compress.errors import ArgumentsRefused
from isslim.compress.kinds.registry import UploadedFiles
from isslim.compress.library.calls import calls_of, check_calls, graph_runs, without_targets
from isslim.compress.library.folders import files_in, with_external_data
from isslim.compress.library.own_module import OwnModule
from isslim.compress.library.texts import text_file, vocabulary_file
from isslim.compress.modules.export import export_module
from isslim.compress.onnx.normalise.onnx_reader import is_graph
from isslim.runtime.graphs.recorded_inputs import write_runs
from isslim.types.recipe import Recipe

EXPECTED = (
    "a torch.nn.Module, a path of a file or folder, an onnx.ModelProto, or a mapping of arrays by "
    "name is expected"
)


DATA: Final = {"data": "calibration", "held_out": "held_out", "train": "train"}
"""Fields of an upload by the arguments that they come from."""


@dataclass(frozen=True)
class Given:
    """The arguments of `isslim.compress` that hold a model and its data; see there."""

    model: Any
    data: Any = None
    held_out: Any = None
    train: Any = None
    vocabulary: Any = None
    config: Any = None
    vectors: Any = None
    characters: Any = None

    @property
    def is_language(self) -> bool:
        """Whether it is given as a language model is: with a vocabulary, or with texts."""
        texts = (self.data, self.held_out, self.train)
        return self.vocabulary is not None or any(isinstance(each, str) for each in texts)


@dataclass(frozen=True)
class Prepared:
    """Files to read.

    Attributes:
        files: of the model and its data.
        exported: the module that was exported, and what becomes of it.
        owner: a copy of a module whose weights were taken as those of a language model.
    """

    files: UploadedFiles
    exported: OwnModule | None = None
    owner: nn.Module | None = None


def prepare(given: Given, recipe: Recipe, folder: Path) -> Prepared:
    """Writes what was given as files.

    Args:
        given: by the caller.
        recipe: its `unit` says what a token is.
        folder: for files.

    Raises:
        CompressError: when something is not understood; a module is refused in its own words.
    """
    model = given.model
    if isinstance(model, nn.Module):
        if given.vocabulary is None and given.config is None and given.is_language:
            raise ArgumentsRefused(
                f"a text is given with a {type(model).__name__}: a language model needs its "
                "`vocabulary` too; of any other module `data` is a list of calls, each the only "
                "argument, a tuple of arguments, or a mapping of them by name"
            )
        if not given.is_language:
            return _module(model, given, folder)
    if isinstance(model, ModelProto):
        return _graph({"model": _saved_graph(model, folder)}, given, folder)
    if isinstance(model, nn.Module):
        files = {"model": _saved_weights(model.state_dict(), type(model).__name__, folder)}
    elif isinstance(model, Mapping):
        files = {"model": _saved_weights(model, "the mapping", folder)}
    elif isinstance(model, str | PathLike):
        path = Path(model)
        files = files_in(path) if path.is_dir() else with_external_data(_existing(path, "model"))
        if is_graph(files["model"]):
            return _graph(files, given, folder)
    else:
        raise ArgumentsRefused(f"`model` is a {type(model).__name__}: {EXPECTED}")
    owner = _copy(model) if isinstance(model, nn.Module) else None
    return Prepared(_checkpoint(files, given, recipe, folder), owner=owner)


def _module(module: nn.Module, given: Given, folder: Path) -> Prepared:
    """A module as a graph, with its calls as recorded inputs."""
    _refuse(given, "train", "vocabulary", "config", "vectors", "characters")
    name = type(module).__name__
    if given.data is None:
        raise ArgumentsRefused(
            f"{name} is exported by running it: give `data`, a list of calls of its forward (each "
            "the only argument, a tuple of arguments, or a mapping of them by name)"
        )
    calls, of_calls = without_targets(calls_of(given.data, "data"))
    more, of_more = without_targets(
        [] if given.held_out is None else calls_of(given.held_out, "held_out")
    )
    check_calls(module, calls, "data")
    check_calls(module, more, "held_out")
    exported = export_module(module, [*calls, *more], folder / "module.onnx")
    targets = [*of_calls, *of_more]
    labelled = [run | own for run, own in zip(exported.recorded, targets, strict=True)]
    runs = {"calibration": labelled[: len(calls)], "held_out": labelled[len(calls) :]}
    files = {"model": exported.path}
    for field, recorded in runs.items():
        if recorded:
            files[field] = folder / f"{field}.npz"
            write_runs(files[field], recorded)
    return Prepared(UploadedFiles(**files, name=f"{name}.onnx"), OwnModule(exported))


def _graph(files: dict[str, Path], given: Given, folder: Path) -> Prepared:
    """A graph with recorded inputs."""
    _refuse(given, "train", "vocabulary", "config", "vectors", "characters")
    for name, field in DATA.items():
        value = getattr(given, name)
        if isinstance(value, PathLike):
            files[field] = _existing(Path(value), name)
        elif value is not None:
            files[field] = folder / f"{field}.npz"
            write_runs(files[field], graph_runs(files["model"], value, name))
    return Prepared(UploadedFiles(**files, name=files["model"].name))


def _checkpoint(
    files: dict[str, Path], given: Given, recipe: Recipe, folder: Path
) -> UploadedFiles:
    """Weights of a language model or reader, with texts or questions."""
    if given.config is not None:
        files["config"] = _json_file(given.config, folder / "config.json", "config")
    for field in ("vocabulary", "characters"):
        value = getattr(given, field)
        if value is not None:
            files[field] = vocabulary_file(value, folder / f"{field}.json", field)
    if given.vectors is not None:
        files["vectors"] = _existing(Path(given.vectors), "vectors")
    tokens = None if isinstance(given.vocabulary, str | PathLike) else given.vocabulary
    for name, field in DATA.items():
        value = getattr(given, name)
        if isinstance(value, PathLike):
            files[field] = _existing(Path(value), name)
        elif isinstance(value, Mapping):
            files[field] = _json_file(value, folder / f"{field}.json", name)
        elif value is not None:
            files[field] = text_file(value, folder / f"{field}.txt", name, tokens, recipe)
    return UploadedFiles(**files, name=files["model"].name)


def _refuse(given: Given, *fields: str) -> None:
    strange = [name for name in fields if getattr(given, name) is not None]
    if strange:
        raise ArgumentsRefused(
            f"`{strange[0]}` says nothing about a graph or a module that is compressed as one: "
            "leave it out",
            [f"`{name}` says nothing here" for name in strange],
        )


def _copy(module: nn.Module) -> nn.Module | None:
    """A copy, so that later changes of the module do not matter; None where there can be none."""
    try:
        return copy.deepcopy(module).cpu()
    except Exception:  # whatever its parts raise: its weights are enough for all but its class
        return None


def _saved_graph(model: ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    try:
        onnx.save(model, path)
    except ValueError as error:  # more than a protobuf message holds
        raise ArgumentsRefused(
            f"the onnx.ModelProto cannot be written as one file: {error}; save it with external "
            "data and give its path"
        ) from error
    return path


def _saved_weights(given: Mapping[str, Any], what: str, folder: Path) -> Path:
    """A state dict as a checkpoint; tensors are copied to the CPU."""
    issues, weights = list[str](), {}
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, Tensor | np.ndarray | np.generic):
            issues.append(f"{name!r} is a {type(value).__name__}: an array by its name is expected")
        elif isinstance(value, Tensor) and value.is_meta:
            issues.append(
                f"'{name}' is on the device 'meta', which holds no numbers: load the weights first"
            )
        else:
            weights[name] = _on_cpu(value)
    if issues:
        raise ArgumentsRefused(f"the weights of {what} cannot be read: {issues[0]}", issues[:20])
    if not weights:
        raise ArgumentsRefused(f"{what} holds no weights: {EXPECTED}")
    path = folder / "model.pt"
    torch.save(weights, path)
    return path


def _on_cpu(value: Any) -> Tensor:
    tensor = value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    # Without a copy, a slice would be saved with all that it is a slice of.
    return tensor.cpu().contiguous()


def _existing(path: Path, name: str) -> Path:
    if not path.is_file():
        raise ArgumentsRefused(f"`{name}`: there is no file {path}")
    return path


def _json_file(value: Any, path: Path, name: str) -> Path:
    if isinstance(value, str | PathLike):
        return _existing(Path(value), name)
    try:
        path.write_text(json.dumps(value), encoding="utf-8")
    except (TypeError, ValueError) as error:
        raise ArgumentsRefused(f"`{name}` cannot be written as JSON: {error}") from error
    return path

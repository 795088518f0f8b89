"""Recorded inputs of a caller: calls of a module, and runs of a graph."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from isslim.compress.errors import ArgumentsRefused
from isslim.runtime.errors import GraphRefused, InputsRefused
from isslim.runtime.graphs.recorded_inputs import TARGET, GraphSession, NamedArrays, read_runs

_LIST = "a list of calls is expected, each the only argument, a tuple, or a mapping by name"


def calls_of(value: Any, name: str) -> list[Any]:
    """Calls of a module, arrays in them as tensors.

    Args:
        value: a sequence of calls, or the path of an npz of recorded inputs by name.
        name: of the argument, for errors.

    Raises:
        ArgumentsRefused: when it is neither.
    """
    if isinstance(value, str | PathLike):
        return [_tensors(run) for run in _recorded(Path(value), name)]
    return [_tensors(call) for call in _listed(value, name)]


def without_targets(calls: Sequence[Any]) -> tuple[list[Any], list[NamedArrays]]:
    """Calls without the targets among their arguments, and these as arrays.

    Args:
        calls: the result of `calls_of`; a target is `target:<output>` in a mapping.

    Raises:
        ArgumentsRefused: when a target cannot become an array.
    """
    found, targets = [], []
    for number, call in enumerate(calls):
        given = call if isinstance(call, Mapping) else {}
        names = [name for name in given if str(name).startswith(TARGET)]
        targets.append({name: _array(given[name], f"call {number}, {name},") for name in names})
        found.append(
            {name: each for name, each in given.items() if name not in names} if names else call
        )
    return found, targets


def graph_runs(path: Path, value: Any, name: str) -> list[NamedArrays]:
    """Runs of a graph.

    Args:
        path: of the graph; it names the inputs.
        value: a sequence of runs: the only input, a tuple in the graph's order, or a mapping.
        name: of the argument, for errors.

    Raises:
        ArgumentsRefused: when a run does not fit the graph.
    """
    runs = _listed(value, name)
    inputs = _inputs(path, runs)
    found = []
    for number, given in enumerate(runs):
        if isinstance(given, Mapping):
            own = dict(given)
        else:
            values = list(given) if isinstance(given, tuple | list) else [given]
            if len(values) != len(inputs):
                raise ArgumentsRefused(
                    f"`{name}[{number}]` holds {len(values)} inputs, the graph has {len(inputs)}: "
                    f"{', '.join(inputs)}"
                )
            own = dict(zip(inputs, values, strict=True))
        place = f"`{name}[{number}]`"
        found.append({key: _array(each, f"{place}, {key},") for key, each in own.items()})
    return found


def check_calls(module: nn.Module, calls: Sequence[Any], name: str) -> None:
    """Refuses calls that hold more than the arguments, as the batches of a DataLoader do.

    Other calls that do not fit are refused where they are bound.

    Args:
        module: that they are calls of.
        calls: the result of `calls_of`.
        name: of the argument, for errors.

    Raises:
        ArgumentsRefused: with what to give instead.
    """
    forward = inspect.signature(module.forward)
    for number, call in enumerate(calls):
        if not isinstance(call, tuple | list) or len(call) < 2 or _binds(forward, call):
            continue
        fit = next((n for n in range(len(call) - 1, 0, -1) if _binds(forward, call[:n])), None)
        if fit is not None:
            kept = "".join(f"b[{index}], " for index in range(fit)).rstrip()
            kept = kept if fit == 1 else kept.rstrip(",")
            raise ArgumentsRefused(
                f"`{name}[{number}]` holds {len(call)} arguments, and "
                f"{type(module).__name__}.forward({', '.join(forward.parameters)}) takes {fit}: "
                f"leave out what is not passed to it, such as targets: [({kept}) for b in {name}]"
            )


def _binds(forward: inspect.Signature, call: Sequence[Any]) -> bool:
    try:
        forward.bind(*call)
    except TypeError:
        return False
    return True


def _listed(value: Any, name: str) -> list[Any]:
    if isinstance(value, str):
        raise ArgumentsRefused(f"`{name}` is a text: {_LIST}; a file is given as `Path(...)`")
    single = isinstance(value, Tensor | np.ndarray | Mapping | bytes | PackedSequence)
    if single or not isinstance(value, Iterable):
        shape = f" of the shape {list(value.shape)}" if hasattr(value, "shape") else ""
        raise ArgumentsRefused(f"`{name}` is a {type(value).__name__}{shape}: {_LIST}")
    found = list(value)
    if not found:
        raise ArgumentsRefused(f"`{name}` is empty: {_LIST}")
    return found


def _recorded(path: Path, name: str) -> list[NamedArrays]:
    try:
        return read_runs(path.read_bytes())
    except (OSError, InputsRefused) as error:
        raise ArgumentsRefused(f"`{name}`: {path} is no npz of recorded inputs: {error}") from error


def _tensors(value: Any) -> Any:
    """A call with tensors in the place of arrays, of any nesting."""
    if isinstance(value, np.ndarray | np.generic):
        return torch.from_numpy(np.array(value))
    if isinstance(value, Mapping):
        return {key: _tensors(each) for key, each in value.items()}
    if isinstance(value, PackedSequence) or not isinstance(value, tuple | list):
        return value
    parts = [_tensors(each) for each in value]
    if hasattr(value, "_fields"):
        return type(value)(*parts)
    return tuple(parts) if isinstance(value, tuple) else parts


def _array(value: Any, where: str) -> Any:
    """An array of numbers, truth values or texts.

    Args:
        value: an array, a tensor, or nested lists.
        where: it was given, for errors.

    Raises:
        ArgumentsRefused: when it is none.
    """
    instead = "such as `tensor.float()` or `numpy.array(values, numpy.float32)`"
    try:
        found = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    except (TypeError, ValueError) as error:  # nested lists of unequal lengths, bfloat16
        raise ArgumentsRefused(
            f"{where} cannot become an array ({error}): give one of one shape and a type that "
            f"NumPy has, {instead}"
        ) from error
    is_text = found.dtype == np.object_
    objects = [each for each in found.flat if not isinstance(each, str)] if is_text else []
    if objects:
        raise ArgumentsRefused(
            f"{where} holds {type(objects[0]).__name__} objects: give an array of numbers, truth "
            f"values or texts, {instead}"
        )
    return found


def _inputs(path: Path, runs: list[Any]) -> list[str]:
    """Names of the graph's inputs; not needed where every run names its own."""
    if all(isinstance(each, Mapping) for each in runs):
        return []
    try:
        return list(GraphSession(path).inputs)
    except GraphRefused as error:
        raise ArgumentsRefused(f"ONNX Runtime cannot open the graph: {error}") from error

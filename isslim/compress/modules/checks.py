"""What of a module is refused before it is exported, in the words of its own classes and names."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from isslim.compress.errors import ModuleRefused

_NAMED = 4
"""How many names of a kind a refusal lists."""
_CELLS = (nn.LSTMCell, nn.GRUCell, nn.RNNCell)


def refuse_unsupported(module: object) -> None:
    """Refuses modules that cannot be exported as they are; they are only looked at.

    Raises:
        ModuleRefused: with every reason.
    """
    if not isinstance(module, nn.Module):
        raise ModuleRefused(
            f"expected a torch.nn.Module, found {type(module).__name__}: pass the module itself"
        )
    if isinstance(module, torch.jit.ScriptModule):
        raise ModuleRefused(
            f"{type(module).__name__} is compiled by torch.jit: pass the nn.Module that it was "
            "compiled from"
        )
    if isinstance(getattr(module, "_orig_mod", None), nn.Module):
        raise ModuleRefused(
            f"{type(module._orig_mod).__name__} is compiled by torch.compile: pass the module that "
            "it was compiled from (`module._orig_mod`)"
        )
    issues = [
        issue
        for check in (_quantized, _layers, _lazy, _training, _places, _kinds, _derived, _sharing)
        for issue in check(module)
    ]
    if issues:
        raise ModuleRefused(
            f"{type(module).__name__} cannot be compressed as it is: {issues[0]}", issues
        )


def path_of(module: nn.Module, name: str) -> str:
    """A part of a module as its user would write it, such as `Tagger.encoder`.

    Args:
        module: the whole.
        name: of the part, as in `named_modules`; empty for the whole.
    """
    return f"{type(module).__name__}.{name}" if name else type(module).__name__


def shared_parameters(module: nn.Module) -> list[list[str]]:
    """Names of each parameter that several modules own, in the order of the module.

    A module that is registered under two names owns its parameters once.
    """
    owners: dict[int, dict[int, str]] = defaultdict(dict)
    for prefix, part in module.named_modules():
        for name, parameter in part.named_parameters(recurse=False, remove_duplicate=False):
            full = f"{prefix}.{name}" if prefix else name
            owners[id(parameter)].setdefault(id(part), full)
    return [list(names.values()) for names in owners.values() if len(names) > 1]


def _layers(module: nn.Module) -> list[str]:
    layers = {name: part for name, part in module.named_modules() if isinstance(part, nn.RNNBase)}
    projected = [name for name, part in layers.items() if part.proj_size]
    if projected:
        return [
            f"{_are(module, projected)} an nn.LSTM with "
            f"proj_size={layers[projected[0]].proj_size}, which ONNX's LSTM does not have: only "
            "layers without a projection can be compressed"
        ]
    if layers:
        return []
    if _quantized(module):
        return []  # what it was is a layer
    cells = [name for name, part in module.named_modules() if isinstance(part, _CELLS)]
    if cells:
        return [
            f"it holds no nn.LSTM, nn.GRU or nn.RNN; {path_of(module, cells[0])} is a cell that "
            "forward calls step by step, whose steps an exported graph would repeat: use the layer"
        ]
    return ["it holds no nn.LSTM, nn.GRU or nn.RNN, whose units could be removed"]


def _lazy(module: nn.Module) -> list[str]:
    found = [
        name
        for name, part in module.named_modules()
        if any(is_lazy(each) for each in (*part._parameters.values(), *part._buffers.values()))
    ]
    if not found:
        return []
    return [f"{_are(module, found)} without weights yet: run the module once, and train it"]


def _training(module: nn.Module) -> list[str]:
    inside = tuple(f"{name}." for name in _quantized_parts(module))
    found = [
        name
        for name, part in module.named_modules()
        if part.training and not name.startswith(inside)
    ]
    if not found:
        return []
    whole = "the module is" if not found[0] else _are(module, found)
    return [
        f"{whole} in training mode, in which dropout and batch normalisation compute something "
        "else: call `module.eval()`"
    ]


def _places(module: nn.Module) -> list[str]:
    found: dict[str, list[str]] = defaultdict(list)
    for name, tensor in _tensors(module):
        if tensor.device.type != "cpu":
            found[str(tensor.device)].append(name)
    return [
        f"{_are(module, names)} on the device '{device}', which holds no numbers: load "
        "the weights first"
        if device == "meta"
        else f"{_are(module, names)} on the device '{device}': pass a copy on the CPU, "
        "such as `copy.deepcopy(module).cpu()`"
        for device, names in found.items()
    ]


def _quantized(module: nn.Module) -> list[str]:
    quantized = _quantized_parts(module)
    if not quantized:
        return []
    return [
        f"{_are(module, quantized)} quantized already: pass the module from before quantization"
    ]


def _quantized_parts(module: nn.Module) -> list[str]:
    quantized = [
        name
        for name, part in module.named_modules()
        if "quantized" in type(part).__module__.split(".")
    ]
    # Their parts hold what is packed, and say nothing more.
    inside = tuple(f"{name}." for name in quantized)
    return [name for name in quantized if not name.startswith(inside)]


def _kinds(module: nn.Module) -> list[str]:
    wrong: dict[torch.dtype, list[str]] = defaultdict(list)
    for name, parameter in module.named_parameters():
        if parameter.dtype != torch.float32 and not is_lazy(parameter):
            wrong[parameter.dtype].append(name)
    return [
        f"{_are(module, names)} {dtype}, where float32 is expected: pass "
        "`copy.deepcopy(module).float()`"
        for dtype, names in wrong.items()
    ]


def _derived(module: nn.Module) -> list[str]:
    issues = []
    parametrized = [name for name, part in module.named_modules() if is_parametrized(part)]
    if parametrized:
        issues.append(
            f"{_are(module, parametrized)} parametrised, so that weights are computed "
            "from others: call `torch.nn.utils.parametrize.remove_parametrizations` first"
        )
    hooked = {
        name: type(hook).__name__
        for name, part in module.named_modules()
        for hook in part._forward_pre_hooks.values()
        if type(hook).__module__.startswith("torch.nn.utils")
    }
    for name, kind in hooked.items():
        issues.append(
            f"{path_of(module, name)} computes a weight before every call ({kind}): make it a "
            "plain parameter first (`torch.nn.utils.remove_weight_norm`, `remove_spectral_norm`, "
            "`prune.remove`)"
        )
    return issues


def _sharing(module: nn.Module) -> list[str]:
    """Parameters of several modules, but for a matrix of an embedding and a linear layer."""
    parts = dict(module.named_modules())
    issues = []
    for names in shared_parameters(module):
        owners = [parts[name.rpartition(".")[0]] for name in names]
        kinds = {nn.Embedding if isinstance(each, nn.Embedding) else type(each) for each in owners}
        tied = len(names) == 2 and nn.Embedding in kinds
        if not tied or not any(isinstance(each, nn.Linear) for each in owners):
            issues.append(
                f"{' and '.join(path_of(module, name) for name in names)} are one parameter; only "
                "an nn.Embedding and the nn.Linear tied to it may share one: give each its own "
                "copy, or use one module twice"
            )
    return issues


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _listed(module: nn.Module, names: list[str]) -> str:
    """A few of the names, and how many more there are."""
    shown = ", ".join(path_of(module, name) for name in names[:_NAMED])
    more = len(names) - _NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _are(module: nn.Module, names: list[str]) -> str:
    return f"{_listed(module, names)} {'is' if len(names) == 1 else 'are'}"

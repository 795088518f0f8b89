"""Calls of a module, with the class, layer and call named where one cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from isslim.compress.errors import ModuleRefused
from isslim.compress.modules.calls import Signature, flat_outputs
from isslim.compress.modules.checks import path_of
from isslim.compress.modules.states import PassedStates, observed_states

Outputs = list[tuple[str, Tensor]]


def run_calls(
    module: nn.Module, signature: Signature, calls: Sequence[tuple[Tensor, ...]]
) -> tuple[list[Outputs], PassedStates]:
    """The outputs of every call, and which arguments and outputs are states of layers.

    Args:
        module: a copy, for forward may keep something of its inputs.
        signature: how it is called.
        calls: the tensors of each call.

    Raises:
        ModuleRefused: when a call fails, draws random numbers, or runs in another precision.
    """
    results = []
    states = PassedStates({}, {}, {})
    for number, tensors in enumerate(calls):
        _refuse_empty(signature, tensors, number)
        # A copy, which forward may write to.
        given = [tensor.clone() for tensor in tensors]
        with observed_states(module) as observed, _watched(module, number):
            results.append(_run(module, signature, given, number))
        if number == 0:
            inputs = dict(zip(signature.names, given, strict=True))
            states = observed.passed(module, inputs, results[0])
            again = _run(module, signature, [tensor.clone() for tensor in tensors], number)
            if not _equal(results[0], again):
                raise ModuleRefused(
                    f"{type(module).__name__}.forward gives other outputs when it is called again "
                    "with inputs[0]: it draws random numbers or keeps a state; give it noise and "
                    "states as arguments"
                )
        names = [name for name, _ in results[-1]]
        if names != [name for name, _ in results[0]]:
            raise ModuleRefused(
                f"{type(module).__name__}.forward returns {len(names)} tensors for "
                f"inputs[{number}] and {len(results[0])} for inputs[0]"
            )
    return results, states


def _refuse_empty(signature: Signature, tensors: Sequence[Tensor], number: int) -> None:
    for name, tensor in zip(signature.names, tensors, strict=True):
        if not tensor.numel():
            raise ModuleRefused(
                f"inputs[{number}]: '{name}' is empty, its shape is {tuple(tensor.shape)}: leave "
                "this call out, for there is nothing to compare"
            )


@contextmanager
def _watched(module: nn.Module, number: int) -> Iterator[None]:
    """Refuses ids that a table does not have, and layers that run under autocast, by name."""
    handles = []
    for name, part in module.named_modules():

        def before(part: nn.Module, args: tuple[Any, ...], name: str = name) -> None:
            path = path_of(module, name)
            if torch.is_autocast_enabled("cpu"):
                raise ModuleRefused(
                    f"{path} runs under torch.autocast, in another precision than the exported "
                    "graph's float32: leave autocast out of forward and of what calls "
                    "isslim.compress"
                )
            if isinstance(part, nn.Embedding) and args and isinstance(args[0], Tensor):
                _refuse_strange_ids(path, part, args[0], number)

        handles.append(part.register_forward_pre_hook(before))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _refuse_strange_ids(path: str, table: nn.Embedding, ids: Tensor, number: int) -> None:
    strange = ids[(ids < 0) | (ids >= table.num_embeddings)]
    if strange.numel():
        raise ModuleRefused(
            f"inputs[{number}]: {path} is called with the id {int(strange[0])}, and has the ids 0 "
            f"to {table.num_embeddings - 1}"
        )


def _run(
    module: nn.Module, signature: Signature, tensors: Sequence[Tensor], number: int
) -> Outputs:
    try:
        with torch.no_grad():
            made = signature.call(module, tensors)
    except ModuleRefused:
        raise
    except Exception as error:  # whatever the user's own code raises
        raise ModuleRefused(
            f"{type(module).__name__} cannot be run on inputs[{number}]: "
            f"{type(error).__name__}: {error}"
        ) from error
    return flat_outputs(module, made)


def _equal(some: Outputs, others: Outputs) -> bool:
    """Whether outputs are the same, NaN being equal to itself."""
    return [name for name, _ in some] == [name for name, _ in others] and all(
        np.array_equal(one.numpy(), other.numpy(), equal_nan=one.is_floating_point())
        for (_, one), (_, other) in zip(some, others, strict=True)
    )

"""Calls of a module: arguments of any nesting as named tensors and back, outputs as a flat list."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from isslim.compress.errors import ModuleRefused
from isslim.runtime.graphs.recorded_inputs import NamedArrays

_PLAIN = (bool, int, float, str, type(None))
"""Types of arguments that are part of the exported graph rather than inputs of it."""


@dataclass(frozen=True)
class Slot:
    """The place of a tensor in arguments or outputs.

    Attributes:
        name: of the graph's input or output.
    """

    name: str


@dataclass(frozen=True)
class Signature:
    """How a module is called: the same for all recorded inputs.

    Attributes:
        template: the arguments by name, with slots in the places of tensors.
        names: of the slots, in order.
    """

    template: Mapping[str, Any]
    names: tuple[str, ...]

    def call(self, module: nn.Module, tensors: Sequence[Tensor]) -> Any:
        """Calls a module.

        Args:
            module: of the class that the signature was read from.
            tensors: one for each slot.
        """
        by_name = dict(zip(self.names, tensors, strict=True))
        bound = inspect.signature(module.forward).bind_partial()
        for name, value in self.template.items():
            bound.arguments[name] = _filled(value, by_name)
        return module(*bound.args, **bound.kwargs)


def read_calls(
    module: nn.Module, inputs: Sequence[Any]
) -> tuple[Signature, list[tuple[Tensor, ...]]]:
    """The signature of recorded inputs, and the tensors of each.

    Args:
        module: whose forward they are for.
        inputs: one call each: the only argument, a tuple or list of positional arguments, or a
            mapping of arguments by name.

    Raises:
        ModuleRefused: when they do not fit forward, or differ in more than their tensors.
    """
    if not len(inputs):
        raise ModuleRefused("no inputs were given: record a few calls of the module")
    # In the graph parameters have names too.
    taken = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    signature: Signature | None = None
    calls: list[tuple[Tensor, ...]] = []
    for number, given in enumerate(inputs):
        where = f"inputs[{number}]"
        arguments = _bound(module, given, where)
        found: list[tuple[str, Tensor]] = []
        template = {
            name: _template(value, f"{name}_" if name in taken else name, where, found)
            for name, value in arguments.items()
        }
        own = Signature(template, tuple(name for name, _ in found))
        tensors = tuple(tensor for _, tensor in found)
        if signature is None:
            signature, calls = own, [tensors]
            continue
        if own != signature:
            raise ModuleRefused(
                f"{where} is not built as inputs[0] is: found {_describe(own)}, expected "
                f"{_describe(signature)}; arguments that are no tensors are part of the graph and "
                "must be the same in all inputs"
            )
        _check_alike(signature.names, calls[0], tensors, where)
        calls.append(tensors)
    assert signature is not None
    if not signature.names:
        raise ModuleRefused("inputs[0] holds no tensor: the graph would have no input")
    return signature, calls


def as_arrays(names: Sequence[str], tensors: Sequence[Tensor]) -> NamedArrays:
    """Tensors as arrays of their own by name.

    Args:
        names: of the graph's inputs or outputs.
        tensors: one for each.
    """
    return {
        name: np.array(tensor.detach().numpy()) for name, tensor in zip(names, tensors, strict=True)
    }


def is_finite(arrays: NamedArrays) -> bool:
    """Whether the inputs of a call hold no NaN and no infinite number."""
    return all(
        bool(np.isfinite(array).all()) for array in arrays.values() if array.dtype.kind == "f"
    )


def flat_outputs(module: nn.Module, made: Any) -> list[tuple[str, Tensor]]:
    """What forward returned as named tensors: `output`, or `output_0`, `output_1_0` and so on.

    None among them is passed over.

    Args:
        module: for the words of a refusal.
        made: what it returned.

    Raises:
        ModuleRefused: when there is something else than tensors, tuples and lists in it.
    """
    found: list[tuple[str, Tensor]] = []
    _flatten(module, made, "output", found)
    if not found:
        raise ModuleRefused(f"{type(module).__name__}.forward returns no tensor")
    return found


def free_sizes(calls: Sequence[tuple[Tensor, ...]]) -> list[dict[int, str]]:
    """Per slot the dimensions whose size differs between calls, with a name for each size.

    Dimensions that have the same sizes in every call have one name.
    """
    names: dict[tuple[int, ...], str] = {}
    found = []
    for tensors in zip(*calls, strict=True):
        free: dict[int, str] = {}
        for position in range(tensors[0].dim()):
            sizes = tuple(int(tensor.shape[position]) for tensor in tensors)
            if len(set(sizes)) > 1:
                free[position] = names.setdefault(sizes, f"size_{len(names)}")
        found.append(free)
    return found


def _bound(module: nn.Module, given: Any, where: str) -> dict[str, Any]:
    """The arguments of forward by name."""
    forward = inspect.signature(module.forward)
    try:
        if isinstance(given, Mapping):
            bound = forward.bind(**given)
        elif isinstance(given, tuple | list) and not isinstance(given, PackedSequence):
            bound = forward.bind(*given)
        else:
            bound = forward.bind(given)
    except TypeError as error:
        names = ", ".join(forward.parameters)
        raise ModuleRefused(
            f"{where} does not fit {type(module).__name__}.forward({names}): {error}; a tuple or "
            "list gives its arguments in order, a mapping by name"
        ) from error
    return dict(bound.arguments)


def _template(value: Any, name: str, where: str, found: list[tuple[str, Tensor]]) -> Any:
    """A value with slots for tensors, which are added to `found`."""
    if isinstance(value, Tensor):
        if value.device.type != "cpu":
            raise ModuleRefused(f"{where}: '{name}' is on the device '{value.device}': `.cpu()`")
        found.append((name, value))
        return Slot(name)
    if isinstance(value, PackedSequence):
        raise ModuleRefused(
            f"{where}: '{name}' is a PackedSequence, which no graph can take: let forward take the "
            "padded tensor and its lengths, and call `pack_padded_sequence` itself"
        )
    if isinstance(value, Mapping):
        return {key: _template(each, f"{name}_{key}", where, found) for key, each in value.items()}
    if isinstance(value, tuple | list):
        parts = [
            _template(each, f"{name}_{index}", where, found) for index, each in enumerate(value)
        ]
        return _like(value, parts)
    if isinstance(value, _PLAIN):
        return value
    raise ModuleRefused(
        f"{where}: '{name}' is a {type(value).__name__}; tensors, numbers, texts, None, and "
        "tuples, lists and mappings of these are understood"
    )


def _filled(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, Slot):
        return tensors[value.name]
    if isinstance(value, Mapping):
        return {key: _filled(each, tensors) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return _like(value, [_filled(each, tensors) for each in value])
    return value


def _like(value: tuple[Any, ...] | list[Any], parts: list[Any]) -> Any:
    """A sequence of the type of another; a named tuple takes its entries one by one."""
    if hasattr(value, "_fields"):
        return type(value)(*parts)
    return tuple(parts) if isinstance(value, tuple) else parts


def _check_alike(
    names: Sequence[str], first: Sequence[Tensor], own: Sequence[Tensor], where: str
) -> None:
    """Refuses tensors of other dtypes or numbers of dimensions than in the first call."""
    for name, one, other in zip(names, first, own, strict=True):
        if one.dtype != other.dtype or one.dim() != other.dim():
            raise ModuleRefused(
                f"{where}: '{name}' is a {other.dtype} of {other.dim()} dimensions, in inputs[0] a "
                f"{one.dtype} of {one.dim()}"
            )


def _describe(signature: Signature) -> str:
    return "(" + ", ".join(_words(name, each) for name, each in signature.template.items()) + ")"


def _words(name: str, value: Any) -> str:
    if isinstance(value, Slot):
        return name
    if isinstance(value, Mapping | tuple | list):
        return f"{name}: {', '.join(_leaves(value)) or 'nothing'}"
    return f"{name}={value!r}"


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, Slot):
        yield value.name
    elif isinstance(value, Mapping | tuple | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(each)
    else:
        yield repr(value)


def _flatten(module: nn.Module, made: Any, name: str, found: list[tuple[str, Tensor]]) -> None:
    if isinstance(made, Tensor):
        found.append((name, made))
    elif made is None:
        pass
    elif isinstance(made, tuple | list) and not isinstance(made, PackedSequence):
        for index, each in enumerate(made):
            _flatten(module, each, f"{name}_{index}", found)
    else:
        kind = type(made).__name__
        if isinstance(made, Mapping):
            kind += f" with the keys {', '.join(map(repr, made))}"
        raise ModuleRefused(
            f"{type(module).__name__}.forward returns {_place(name)}{kind}; a graph returns "
            "tensors: wrap the module in one whose forward returns a tensor, or a tuple or list of "
            "tensors"
        )


def _place(name: str) -> str:
    """Where among the outputs, as a clause."""
    path = name.removeprefix("output").strip("_").replace("_", "][")
    return f"at [{path}] of its outputs " if path else ""

"""Which of a checkpoint's dictionaries of tensors is the model; and what lies beside it, by name.

A training run stores optimizers, running averages, other models. One dictionary that holds
recurrent layers is taken; of several the config says which.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from isslim.compress.errors import UnreadableUpload
from isslim.compress.ingest.unpickling import Record, as_tensor

RECURRENT = re.compile(r"(weight_(ih|hh|hr)(_l\d+)?|highway\.depths\.)")
DEEPEST = 8
_MASKS = re.compile(r"(^|[/_])masks?$", re.IGNORECASE)
_TRAINING = re.compile(r"optim|grad|momentum|exp_avg|schedul|scaler", re.IGNORECASE)


@dataclass(frozen=True)
class State:
    """A dictionary of tensors in a checkpoint.

    Attributes:
        path: the names that lead to it, `/` between them; empty for the whole file.
        tensors: by name.
        beside: what else the file holds, by name.
    """

    path: str
    tensors: dict[str, Tensor]
    beside: tuple[str, ...] = ()

    @property
    def recurrent(self) -> bool:
        """Whether it has recurrent layers and is neither an optimizer's state nor pruning masks."""
        beside = _TRAINING.search(self.path) or _MASKS.search(self.path)
        return any(RECURRENT.search(name) for name in self.tensors) and not beside


def shown(name: str, tensor: Tensor) -> str:
    """A tensor for a message: its name and shape.

    Args:
        name: in the state dict.
        tensor: of any shape.
    """
    return f"{name} {'(nested)' if tensor.is_nested else tuple(tensor.shape)}"


def choose(content: object, asked: str | None) -> State:
    """The model's parameters.

    Args:
        content: of the file.
        asked: the config's `state`: the name of a dictionary, or what the names of one model's
            parameters begin with.

    Raises:
        UnreadableUpload: when there are no tensors, several models and no word on which, or not the
            one that is asked for.
    """
    states = list(_states(content, "", DEEPEST, set()))
    if not states:
        inside = content if isinstance(content, Mapping) else {}
        raise UnreadableUpload(
            "the file holds no parameter", [f"found: {', '.join(map(str, inside)) or 'nothing'}"]
        )
    if asked is not None:
        return _asked(states, asked.strip("/"))
    models = [state for state in states if state.recurrent]
    if not models:
        largest = max(
            states, key=lambda state: sum(tensor.dim() > 1 for tensor in state.tensors.values())
        )
        return _with_beside(largest, states)
    first, *others = models
    if different := [state for state in others if not _equal(first, state)]:
        names = [
            f"'{state.path or 'the file itself'}' ({len(state.tensors)} tensors)"
            for state in (first, *different)
        ]
        asked_for = [f'{{"state": "{state.path}"}}' for state in (first, *different) if state.path]
        raise UnreadableUpload(
            f"the checkpoint holds several models: {', '.join(names)}. Say in the config which one "
            "to take: "
            f"{' or '.join(asked_for)}"
        )
    _refuse_unmasked(first, states)
    return _with_beside(_merge_states(first, states), states)


def _refuse_unmasked(taken: State, states: list[State]) -> None:
    """Refuses a model whose pruning masks were not applied to its weights.

    Raises:
        UnreadableUpload: naming the weights.
    """
    disobeyed = [
        name
        for state in states
        if _MASKS.search(state.path)
        for name, mask in state.tensors.items()
        if (weight := taken.tensors.get(name)) is not None
        and weight.shape == mask.shape
        and bool((weight[mask == 0] != 0).any())
    ]
    if disobeyed:
        raise UnreadableUpload(
            "the file holds pruning masks beside the weights, which are not zero where the masks "
            f"are: {', '.join(disobeyed[:4])}. If the model multiplies by them, do so "
            "before saving: `weight.data.mul_(mask)`; if not, leave them out of the file"
        )


def _states(value: object, path: str, deepest: int, seen: set[int]) -> Iterator[State]:
    """Every dictionary, record or list that holds tensors itself, from the outside in."""
    if id(value) in seen or deepest < 0:
        return
    seen.add(id(value))
    children = _children(value)
    tensors = {
        name: tensor for name, each in children.items() if (tensor := as_tensor(each)) is not None
    }
    if tensors:
        yield State(path, tensors)
    for name, each in children.items():
        if name not in tensors:
            yield from _states(each, f"{path}/{name}" if path else name, deepest - 1, seen)


def _children(value: object) -> dict[str, Any]:
    if isinstance(value, Record):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(name): each for name, each in value.items()}
    if isinstance(value, list | tuple):
        held = {str(index): each for index, each in enumerate(value)}
        return {
            name: each for name, each in held.items() if not isinstance(each, str | int | float)
        }
    return {}


def _asked(states: list[State], asked: str) -> State:
    found = [state for state in states if state.path == asked or state.path.endswith(f"/{asked}")]
    if len(found) == 1:
        return _with_beside(_merge_states(found[0], states), states)
    for state in states:
        own = {
            name: tensor for name, tensor in state.tensors.items() if name.startswith(f"{asked}.")
        }
        if own and not found:
            taken = State(
                state.path, {name.removeprefix(f"{asked}."): tensor for name, tensor in own.items()}
            )
            return _with_beside(taken, states)
    notes = ", ".join(f"'{state.path}'" for state in states if state.path) or "only the file itself"
    raise UnreadableUpload(f"the config asks for the state '{asked}', and the file holds {notes}")


def _merge_states(state: State, states: list[State]) -> State:
    """Flattens one dictionary per module, `{"embedding": {...}, "rnn": {...}}`, into one."""
    if (
        any(
            tensor.dim() > 1 and not RECURRENT.search(name)
            for name, tensor in state.tensors.items()
        )
        or not state.path
    ):
        return state
    above = state.path.rpartition("/")[0]
    parts = [
        each for each in states if each.path.rpartition("/")[0] == above and each.path != above
    ]
    parts = [each for each in parts if not _TRAINING.search(each.path)]
    return State(
        above,
        {
            f"{part.path.rpartition('/')[2]}.{name}": tensor
            for part in parts
            for name, tensor in part.tensors.items()
        },
    )


def _with_beside(taken: State, states: list[State]) -> State:
    counts: dict[str, int] = {}
    single: list[str] = []
    held = {id(tensor) for tensor in taken.tensors.values()}
    for state in states:
        others = {name: tensor for name, tensor in state.tensors.items() if id(tensor) not in held}
        if state.path in ("", taken.path) or taken.path.startswith(f"{state.path}/"):
            single += [shown(name, tensor) for name, tensor in others.items()]
        elif others:
            own, path = taken.path.split("/") if taken.path else [], state.path.split("/")
            shared = next(
                (i for i, (a, b) in enumerate(zip(own, path, strict=False)) if a != b),
                min(len(own), len(path)),
            )
            label = "/".join(path[: shared + 1])
            counts[label] = counts.get(label, 0) + len(others)
    notes = [
        f"{label} ({count} {'tensor' if count == 1 else 'tensors'})"
        for label, count in counts.items()
    ]
    return replace(taken, beside=(*single, *notes))


def _equal(one: State, other: State) -> bool:
    return one.tensors.keys() == other.tensors.keys() and all(
        tensor.shape == other.tensors[name].shape and torch.equal(tensor, other.tensors[name])
        for name, tensor in one.tensors.items()
    )

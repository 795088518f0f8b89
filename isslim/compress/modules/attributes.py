"""Numbers of units that the user's own code keeps: `self.hidden_size`, `self.config.hidden`.

Whether such a number is one of units or only equals it, nothing but a run can tell: the cut tries
the module with the attribute at the new number and with the old one.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import re
import types
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any

from torch import nn

from isslim.compress.modules.checks import path_of

_UNITS = re.compile(r"hid|unit|state|rnn|lstm|gru|^h$", re.IGNORECASE)
"""What attributes are called that are meant as numbers of units."""
_MAX_COMBINED = 8
"""How many attributes are looked at in every combination."""
_MAX_SETTINGS = 32
"""How many settings of attributes are tried at most; each is a run of the recorded calls."""


@dataclass(frozen=True)
class SizeAttribute:
    """An attribute that holds a number of units that has changed.

    Attributes:
        path: as its author writes it, such as `Tagger.hidden_size`.
        owner: the name of the module that has it.
        keys: the attribute, and the key in it where it is a mapping or holds settings.
        before: the number that it holds.
        after: what it may be now, the likeliest first.
        likely: whether it is changed where the module runs either way.
    """

    path: str
    owner: str
    keys: tuple[str, ...]
    before: int
    after: tuple[int, ...]
    likely: bool


Setting = Mapping[SizeAttribute, int]


def size_attributes(module: nn.Module, small: nn.Module) -> list[SizeAttribute]:
    """Attributes of the user's own classes that hold a number of units that has changed.

    Args:
        module: at full size.
        small: made of it by `resize_module`.
    """
    found = []
    for name, keys, value in _numbers(module):
        after, kept = _sizes_now(module, small, name, value)
        if after:
            named = bool(_UNITS.search(keys[-1]))
            likely = len(after) == 1 and not kept and (named or value not in _layer_sizes(small))
            path = path_of(module, ".".join(filter(None, (name, *keys))))
            found.append(SizeAttribute(path, name, keys, value, after, likely))
    return found


def settings(attributes: list[SizeAttribute]) -> Iterator[Setting]:
    """Ways to set attributes, the likeliest first; {} leaves them as they are.

    Args:
        attributes: of one module.
    """
    likely = {each: each.after[0] for each in attributes if each.likely}
    chosen = itertools.product(*([each.before, *each.after] for each in attributes[:_MAX_COMBINED]))
    ways = [
        {one: value for one, value in zip(attributes, each, strict=False) if value != one.before}
        for each in chosen
    ]
    # As few as possible are otherwise than is likely; what nothing else fits, all together may.
    ways.sort(key=lambda way: sum(way.get(each) != likely.get(each) for each in attributes))
    together = {each: each.after[0] for each in attributes}
    first = [likely, {}] if likely else [{}]
    yield from first
    yield from [way for way in ways if way not in first][:_MAX_SETTINGS]
    yield together


def with_setting(small: nn.Module, setting: Setting) -> nn.Module:
    """A copy of a module with some attributes set.

    Args:
        small: the module.
        setting: new numbers.
    """
    own = copy.deepcopy(small)
    for attribute, value in setting.items():
        holder = _holder(own.get_submodule(attribute.owner), attribute.keys)
        holder[attribute.keys[-1]] = value
    return own


def with_likely(module: nn.Module, small: nn.Module) -> nn.Module:
    """A copy of a small module with those attributes set that are likely numbers of units.

    For a module that cannot be run to try them, for want of recorded calls.

    Args:
        module: at full size.
        small: made of it by `resize_module`.
    """
    return with_setting(small, next(settings(size_attributes(module, small))))


def size_notes(module: nn.Module, small: nn.Module) -> list[str]:
    """Which attributes of the user's own classes were changed, and which hold the old number.

    Args:
        module: at full size.
        small: the same module at small size.

    Returns:
        A line each.
    """
    lines = []
    for each in size_attributes(module, small):
        now = _holder(small.get_submodule(each.owner), each.keys)[each.keys[-1]]
        might = " or ".join(map(str, each.after))
        lines.append(
            f"{each.path} is {each.before} as before, where layers have {might} units now"
            if now == each.before
            else f"{each.path} is {now} now, and was {each.before}"
        )
    return lines


def changed_numbers(module: nn.Module, small: nn.Module) -> list[list[Any]]:
    """The attributes that were changed, as JSON takes them: owner, keys and number of each.

    Args:
        module: at full size.
        small: the same module at small size.
    """
    found = []
    for each in size_attributes(module, small):
        now = _holder(small.get_submodule(each.owner), each.keys)[each.keys[-1]]
        if now != each.before:
            found.append([each.owner, list(each.keys), now])
    return found


def set_numbers(module: nn.Module, numbers: Sequence[tuple[str, Sequence[str], int]]) -> None:
    """Sets attributes as `changed_numbers` gives them; in place.

    Args:
        module: of the class that they are of.
        numbers: owner, keys and number of each; only what the module has is set, for they may come
            from a file.
    """
    there = {(name, keys) for name, keys, _ in _numbers(module)}
    for owner, keys, value in numbers:
        if (owner, tuple(keys)) in there:
            _holder(module.get_submodule(owner), tuple(keys))[keys[-1]] = value


def layers_of_one_number(module: nn.Module) -> list[list[str]]:
    """Recurrent layers whose number of units is one attribute: code that uses it needs one number.

    Args:
        module: any.

    Returns:
        The names of two or more layers each.
    """
    found = []
    for name, keys, value in _numbers(module):
        if _UNITS.search(keys[-1]):
            layers = [each for each, part in _recurrent(module, name) if part.hidden_size == value]
            if len(layers) > 1:
                found.append(layers)
    return found


def _numbers(module: nn.Module) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """Whole numbers that the user's own classes keep, by module and key."""
    for name, part in module.named_modules():
        if type(part).__module__.startswith("torch.") or isinstance(part, nn.RNNBase):
            continue
        for attribute, value in vars(part).items():
            if type(value) is int:
                yield name, (attribute,), value
            for key, inner in (_entries(value) or {}).items():
                if type(inner) is int and isinstance(key, str) and not attribute.startswith("_"):
                    yield name, (attribute, key), inner


def _entries(value: Any) -> MutableMapping[str, Any] | None:
    """What an attribute holds, if it is settings of some kind."""
    if type(value) is dict:
        return value
    kinds = (argparse.Namespace, types.SimpleNamespace)
    if isinstance(value, kinds) or (is_dataclass(value) and not isinstance(value, type)):
        return getattr(value, "__dict__", None)
    return None


def _holder(part: nn.Module, keys: tuple[str, ...]) -> MutableMapping[str, Any]:
    """The mapping that holds the last of some keys."""
    own = vars(part)
    inner = _entries(own[keys[0]]) if len(keys) > 1 else own
    assert inner is not None
    return inner


def _sizes_now(
    module: nn.Module, small: nn.Module, owner: str, value: int
) -> tuple[tuple[int, ...], bool]:
    """What a number of units is now, of layers inside its owner first, and whether some keep it."""
    after: dict[int, None] = {}
    kept = False
    for inside in dict.fromkeys((owner, "")):
        for name, whole in _recurrent(module, inside):
            own = small.get_submodule(name)
            directions = 2 if whole.bidirectional else 1
            for times in dict.fromkeys((1, directions)):
                if times * whole.hidden_size == value:
                    now = times * int(own.hidden_size)  # type: ignore[arg-type]
                    kept |= now == value
                    if now != value:
                        after[now] = None
    return tuple(after), kept


def _recurrent(module: nn.Module, inside: str) -> Iterator[tuple[str, nn.RNNBase]]:
    """Recurrent layers of a module inside a part of it."""
    for name, part in module.named_modules():
        if isinstance(part, nn.RNNBase) and (not inside or name.startswith(f"{inside}.")):
            yield name, part


def _layer_sizes(module: nn.Module) -> set[int]:
    """All whole numbers that torch's own layers keep."""
    return {
        value
        for part in module.modules()
        if type(part).__module__.startswith("torch.")
        for value in vars(part).values()
        if type(value) is int
    }

"""All rules, by operator."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from isslim.compress.onnx.trace.rule import Rule
from isslim.compress.onnx.trace.rules import (
    convolution,
    elementwise,
    extending,
    joining,
    moving,
    nested,
    parts,
    products,
    recurrent,
    reducing,
    shapes,
)

_MODULES = (
    recurrent,
    elementwise,
    reducing,
    products,
    convolution,
    moving,
    parts,
    extending,
    joining,
    shapes,
    nested,
)


def rules_of(module: ModuleType) -> Iterator[Rule]:
    """The rules that a module defines, in their order there."""
    for each in vars(module).values():
        if isinstance(each, Rule):
            yield each


def _by_operator() -> dict[str, Rule]:
    found: dict[str, Rule] = {}
    for module in _MODULES:
        for each in rules_of(module):
            for operator in each.operators:
                if operator in found:
                    raise ValueError(f"two rules for the operator {operator}")
                found[operator] = each
    return found


RULES = _by_operator()
"""Per operator its rule."""

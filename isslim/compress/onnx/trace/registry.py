"""All rules, by operator.

A new rule is a function with `@rule(...)` in one of the modules below: it is found there. A new
module is named here once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


def by_operator(modules: Iterable[ModuleType]) -> dict[str, Rule]:
    """The rules of several modules, by operator.

    Raises:
        ValueError: for an operator with two rules.
    """
    found: dict[str, Rule] = {}
    for module in modules:
        for each in rules_of(module):
            for operator in each.operators:
                if operator in found:
                    raise ValueError(f"two rules for the operator {operator}")
                found[operator] = each
    return found


RULES = by_operator(_MODULES)
"""Per operator its rule."""

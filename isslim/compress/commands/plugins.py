"""Learners and criteria by name: built-in ones, and a user's own as `package.module:Name`.

A name runs the code that it names, so it is an option of a command that a person starts on their
own machine, and of nothing else: no recipe, upload or request can have one.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from isslim.compress.pruning.selection import (
    Criterion,
    Matrix,
    RemovalOrder,
    removal_order,
)
from isslim.compress.training.hooks import Learner
from isslim.compress.training.learners.gates import HardConcreteGates
from isslim.compress.training.learners.group_lasso import PaperGroupLasso
from isslim.compress.training.learners.proximal import ProximalGroupLasso

LEARNERS: Mapping[str, Any] = {
    "group_lasso": PaperGroupLasso,
    "proximal": ProximalGroupLasso,
    "l0": HardConcreteGates,
}
CRITERIA: Mapping[str, Criterion] = {"optimal_brain_surgeon": removal_order}
METHODS = tuple(name for name, value in vars(Learner).items() if callable(value) and name[0] != "_")
"""What a learner has."""
GIVEN = ("steps", "seed")
"""Arguments of a learner's class that a command fills in, where the class takes them."""


class PluginUnusable(ValueError):
    """A name leads to nothing, or to something else than what was asked for."""


def learner_named(name: str, options: Mapping[str, Any], *, steps: int, seed: int) -> Learner:
    """A learner, built from its class.

    Args:
        name: one of `LEARNERS`, or `package.module:Class`.
        options: arguments of the class by name.
        steps: of the training, given to a class that takes `steps` and is not given any.
        seed: likewise, of the run.

    Raises:
        PluginUnusable: when there is no such class, the class is no learner, or it refuses the
            options.
    """
    found = _named(name, "learner", LEARNERS)
    if not inspect.isclass(found):
        raise PluginUnusable(f"the learner '{name}' is {_kind(found)}; a class is expected")
    lacking = [each for each in METHODS if not callable(getattr(found, each, None))]
    if lacking:
        raise PluginUnusable(
            f"'{name}' is not a learner: it lacks {', '.join(lacking)}; the methods of a learner "
            "are those of isslim.compress.training.hooks.Learner"
        )
    wrong = [each for each in METHODS if not _takes(found, each)]
    if wrong:
        described = ", ".join(f"{each}{_arguments(getattr(Learner, each))}" for each in wrong)
        raise PluginUnusable(
            f"'{name}' is not a learner: methods of it take other arguments than {described}"
        )
    takes = inspect.signature(found).parameters
    given = {"steps": steps, "seed": seed}
    arguments = {each: given[each] for each in GIVEN if each in takes} | dict(options)
    try:
        inspect.signature(found).bind(**arguments)
    except TypeError as error:
        shown = ", ".join(str(each) for each in takes.values())
        raise PluginUnusable(
            f"the learner '{name}' with the options {dict(options)}: {error}; it takes {shown}"
        ) from error
    return cast(Learner, found(**arguments))


def criterion_named(name: str) -> Criterion:
    """A criterion of removal that checks what it returns.

    Args:
        name: one of `CRITERIA`, or `package.module:function`.

    Raises:
        PluginUnusable: when there is no such function, or it takes other arguments; and when the
            criterion is called, where what it returns is no order of removal.
    """
    found = _named(name, "criterion", CRITERIA)
    if not callable(found):
        raise PluginUnusable(f"the criterion '{name}' is {_kind(found)}; a function is expected")
    square = np.eye(1)
    try:
        inspect.signature(found).bind("axis", square, square, min_kept=1)
    except TypeError as error:
        raise PluginUnusable(
            f"'{name}' is not a criterion: {error}; it is called with (axis, covariance, energy, "
            "min_kept=...), as isslim.compress.pruning.selection.removal_order is"
        ) from error

    def checked(
        axis: str, covariance: Matrix, energy: Matrix, *, min_kept: int = 1
    ) -> RemovalOrder:
        order = found(axis, covariance, energy, min_kept=min_kept)
        wrong = _disorder(order, len(covariance), min_kept)
        if wrong:
            raise PluginUnusable(f"the criterion '{name}' returned for the axis '{axis}' {wrong}")
        return cast(RemovalOrder, order)

    return checked


def options_of(given: Sequence[str]) -> dict[str, Any]:
    """Options of a learner as a command gets them.

    Args:
        given: each `NAME=VALUE`; a value that is a Python literal is read as such, else as text.

    Raises:
        PluginUnusable: when one has no name.
    """
    options: dict[str, Any] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name.isidentifier():
            raise PluginUnusable(f"the learner's option '{each}': NAME=VALUE is expected")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[name] = value
    return options


def _named(name: str, what: str, known: Mapping[str, Any]) -> Any:
    """What a name means."""
    if name in known:
        return known[name]
    place, colon, attribute = name.partition(":")
    if not colon or not place or not attribute:
        raise PluginUnusable(
            f"there is no {what} '{name}'; there are {', '.join(known)}, and your own as "
            "package.module:Name"
        )
    try:
        module = importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            raise PluginUnusable(
                f"the {what} '{name}': there is no module '{error.name}'; it is looked for in the "
                "folder where the command runs, in PYTHONPATH and among the installed packages"
            ) from error
        raise PluginUnusable(
            f"the {what} '{name}': '{place}' imports '{error.name}', which is not installed"
        ) from error
    except Exception as error:
        raise PluginUnusable(
            f"the {what} '{name}': importing '{place}' raised {type(error).__name__}: {error}"
        ) from error
    if not hasattr(module, attribute):
        there = [each for each, value in vars(module).items() if _is_own(value, module.__name__)]
        raise PluginUnusable(
            f"the {what} '{name}': the module '{place}' has no '{attribute}'; it defines "
            f"{', '.join(there) or 'nothing'}"
        )
    return getattr(module, attribute)


def _is_own(value: Any, module: str) -> bool:
    return (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module


def _takes(found: type, method: str) -> bool:
    """Whether a method of a class can be called as the loop calls that of a learner."""
    arguments = [None] * len(inspect.signature(getattr(Learner, method)).parameters)
    try:
        inspect.signature(getattr(found, method)).bind(*arguments)
    except TypeError:
        return False
    return True


def _arguments(method: Any) -> str:
    names = [each for each in inspect.signature(method).parameters if each != "self"]
    return f"({', '.join(names)})"


def _disorder(order: Any, size: int, min_kept: int) -> str | None:
    """What is wrong with an order of removal, in words; None when nothing is."""
    if not isinstance(order, RemovalOrder):
        return f"{_kind(order)}; a RemovalOrder is expected"
    components, costs = np.asarray(order.components), np.asarray(order.costs)
    most = max(0, size - min_kept)
    if components.shape != costs.shape or components.ndim != 1 or len(components) > most:
        return (
            f"{components.shape} components and {costs.shape} costs; one cost for each of at most "
            f"{most} components is expected"
        )
    if len(np.unique(components)) < len(components) or not np.isin(components, range(size)).all():
        return f"components that are not distinct numbers from 0 to {size - 1}"
    if not np.isfinite(costs).all() or (np.diff(costs) < 0).any():
        return "costs that fall or are not finite; they never fall along the order of removal"
    return None


def _kind(value: Any) -> str:
    return f"of the type {type(value).__name__}"

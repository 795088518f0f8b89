"""Commands whose options are generated: typer reads a signature that is assembled here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any


def with_generated(
    command: Callable[..., None],
    replaced: str,
    options: Mapping[str, Any],
    collect: Callable[[dict[str, Any]], dict[str, Any]],
) -> Callable[..., None]:
    """A command with further options in place of one of its parameters.

    Args:
        command: takes what is collected.
        replaced: the parameter that no option belongs to.
        options: by name, annotated for typer; each is None if it is not given.
        collect: makes the command's arguments of the options' values.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [each for each in signature.parameters.values() if each.name != replaced]
    further = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in options.items()
    ]

    @wraps(command)
    def whole(*arguments: Any, **named: Any) -> None:
        given = {name: named.pop(name) for name in options}
        command(*arguments, **named, **collect(given))

    # Keyword parameters follow all others.
    ordered = sorted([*own, *further], key=lambda each: each.kind)
    # typer reads both, and neither holds the parameter that was replaced.
    whole.__signature__ = signature.replace(parameters=ordered)  # type: ignore[attr-defined]
    whole.__annotations__ = {each.name: each.annotation for each in ordered}
    return whole

"""The options of the files that may come with a model, for all commands that upload."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from isslim.types.kinds.uploads import UPLOAD_FIELDS


def _option(text: str) -> Any:
    return Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help=text)]


OPTIONS = {
    name: _option(field.option) for name, field in UPLOAD_FIELDS.items() if not field.required
}


def with_companions(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options to a command, which takes them as `**companions: Unpack[Companions]`."""
    signature = inspect.signature(command, eval_str=True)
    own = [
        each
        for each in signature.parameters.values()
        if each.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in OPTIONS.items()
    ]

    @wraps(command)
    def whole(*arguments: Any, **named: Any) -> None:
        command(*arguments, **named)

    # typer reads both, and neither holds `**companions`.
    whole.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    whole.__annotations__ = {each.name: each.annotation for each in (*own, *options)}
    return whole

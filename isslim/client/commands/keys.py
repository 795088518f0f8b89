"""`isslim keys`: makes keys of a service; nothing is asked of one."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from isslim.client.commands.answers import Answers
from isslim.client.commands.options import AsJson
from isslim.types.access import Scope, line_of, new_key
from isslim.types.names import NAME


def _holder(name: str) -> str:
    if re.fullmatch(NAME, name) is None:
        raise typer.BadParameter(
            f"'{name}' cannot be the name of a key: use at most 64 letters, digits, dots, "
            "underscores and hyphens, the first a letter or digit"
        )
    return name


def new(
    name: Annotated[str, typer.Argument(callback=_holder, help="of who will have the key")],
    scope: Annotated[
        list[Scope],
        typer.Option(
            help="what it is for; repeat for several. `compress` includes `read`, `admin` all"
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Makes a key, and the line of the file ISS_API_KEYS_FILE that lets it in.

    The key is printed this once, and kept nowhere: the line has its hash alone.
    """
    answers, key = Answers(as_json), new_key()
    line = line_of(name, scope, key)
    if answers.as_json:
        answers.give({"key": key, "line": line}, str)
    else:  # as it is, however narrow the terminal: both are to be copied
        typer.echo(f"key, for {name} alone:\n{key}\nline, for the file ISS_API_KEYS_FILE:\n{line}")

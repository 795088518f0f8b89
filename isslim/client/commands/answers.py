"""What a command prints: its answer on stdout, everything else on stderr.

An answer is readable text, or with `--json` the API's JSON and nothing else. Progress is shown on a
terminal only, so that a script finds stderr empty unless something is wrong.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import typer
from pydantic import TypeAdapter
from rich.console import RenderableType

from isslim.client.plain import PlainConsole

OUTPUT = "ISSLIM_OUTPUT"
"""Variable that asks every command for JSON."""
WIDTH = 140
"""Columns of text that goes to a file or a pipe."""
_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


class Answers:
    """Where one command prints.

    Args:
        as_json: whether `--json` was given; `ISSLIM_OUTPUT=json` asks for the same.

    Attributes:
        as_json: whether the answer is JSON.
        out: stdout, for text.
        error: stderr.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json or _json_by_environment()
        self.out = console(is_error=False)
        self.error = console(is_error=True)

    def give(self, answer: Any, shown: Callable[[], RenderableType]) -> None:
        """Prints the answer.

        Args:
            answer: models of the API, or lists and objects of JSON.
            shown: the same for people.
        """
        if self.as_json:
            typer.echo(_ANYTHING.dump_json(answer, indent=2).decode())
        else:
            self.out.print(shown())

    @property
    def shows_progress(self) -> bool:
        """Whether somebody watches."""
        return self.error.is_terminal


def console(*, is_error: bool) -> PlainConsole:
    """A console of one stream: as wide as its terminal, or wide enough for every table.

    Args:
        is_error: whether of stderr.
    """
    stream = sys.stderr if is_error else sys.stdout
    known = stream.isatty() or "COLUMNS" in os.environ
    return PlainConsole(stderr=is_error, width=None if known else WIDTH)


def _json_by_environment() -> bool:
    asked = os.environ.get(OUTPUT, "")
    if asked not in ("", "text", "json"):
        raise typer.BadParameter(f"the variable {OUTPUT} is '{asked}': expected json or text")
    return asked == "json"

"""The options of the files that may come with a model, for all commands that upload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from isslim.client.commands.generated import with_generated
from isslim.types.kinds.uploads import UPLOAD_FIELDS

PANEL = "Files"


def _option(text: str) -> Any:
    return Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help=text, rich_help_panel=PANEL),
    ]


OPTIONS = {
    name: _option(field.option) for name, field in UPLOAD_FIELDS.items() if not field.required
}


def with_companions(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options to a command, which takes them as `**companions: Unpack[Companions]`."""
    return with_generated(command, "companions", OPTIONS, lambda given: given)

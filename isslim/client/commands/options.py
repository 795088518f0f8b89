"""Arguments and options that several commands have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from isslim.client.forms import WrongSetting
from isslim.client.hub import is_hub_address
from isslim.client.transport import check_address
from isslim.settings.client import ClientSettings
from isslim.types.hiding import shown_address, shown_value


def _address(url: str) -> str:
    try:
        check_address(url)
    except WrongSetting as error:
        raise typer.BadParameter(str(error)) from error
    return url


def _name(name: str) -> str:
    # As a part of an address they would mean the list, or what is above it.
    if name.strip() in ("", ".", ".."):
        raise typer.BadParameter(f"'{name}' is no id or name")
    return name


URL = "ISS_URL"
"""Variable that holds the address of the service."""
Url = Annotated[str, typer.Option(envvar=URL, callback=_address, help="address of the service")]
HERE = ClientSettings().url
AsJson = Annotated[
    bool,
    typer.Option(
        "--json", help="the answer as JSON on stdout, nothing else; or ISSLIM_OUTPUT=json"
    ),
]
ModelFile = Annotated[
    Path,
    typer.Argument(
        exists=True, dir_okay=False, help="safetensors, a .pt of weights, or an .onnx graph"
    ),
]


def _source(text: str) -> Path | str:
    """A file that is there, or the address of a repository of the Hub."""
    if is_hub_address(text):
        return text
    path = Path(text)
    if not path.is_file():
        raise typer.BadParameter(
            f"'{shown_value(text)}' is no file; a model of the Hub is hf://user/repo"
        )
    return path


ModelSource = Annotated[
    Any,
    typer.Argument(
        parser=_source,
        metavar="MODEL",
        help="safetensors, a .pt of weights, or an .onnx graph; or hf://user/repo",
    ),
]
ModelName = Annotated[str, typer.Argument(callback=_name, help="id, alias or name of a model")]
AliasName = Annotated[str, typer.Argument(callback=_name, help="name of an alias")]
Note = Annotated[str, typer.Option(help="for the audit trail")]
JobName = Annotated[str, typer.Argument(callback=_name, help="id of a job")]
SweepName = Annotated[str, typer.Argument(callback=_name, help="id of a sweep")]
VariantNames = Annotated[
    list[str] | None,
    typer.Option(
        help="repeat to compare; none: the original and the recommended one, on a GPU in float32"
    ),
]
Device = Annotated[
    str, typer.Option(help="where the service runs it: cpu, or cuda where it has one")
]


def again(command: str, url: str) -> str:
    """A command line that the user may enter next, for the same service; without a password.

    Args:
        command: without the program's name.
        url: of the service.
    """
    known = url == (os.environ.get(URL) or HERE)
    return f"isslim {command}" if known else f"isslim {command} --url {shown_address(url)}"

"""`isslim backup` and `isslim restore`: a home as a file or a folder.

The server's parts do it, in a process of their own: the client knows neither database nor storage.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from isslim.client.commands import exits
from isslim.client.commands.answers import Answers
from isslim.client.commands.options import AsJson
from isslim.client.commands.serving import HOME, Home

Target = Annotated[Path, typer.Argument(help="a new .tar file, or a new folder")]
Source = Annotated[Path, typer.Argument(help="what `isslim backup` made")]


def backup(target: Target, home: Home = HOME, as_json: AsJson = False) -> None:
    """Copies jobs, models and uploads, while services and workers go on."""
    found = _done("back-up", target, home)
    text = f"{target}: {found['bundles']} models, {found['uploads']} uploads"
    if found["left_out"]:
        text += f"; left out as they are damaged: {', '.join(found['left_out'])}"
    Answers(as_json).give(found, lambda: text)


def restore(source: Source, home: Home = HOME, as_json: AsJson = False) -> None:
    """Makes a new home of a backup, every model of it verified."""
    found = _done("restore", source, home)
    text = f"{home}: {found['bundles']} models, {found['uploads']} uploads"
    Answers(as_json).give(found, lambda: text)


def _done(what: str, path: Path, home: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "isslim.service.backup", what, str(path)],
        env=os.environ | {"ISS_HOME": str(home)},
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        typer.echo(done.stderr.strip(), err=True)
        raise typer.Exit(exits.REFUSED)
    found: dict[str, Any] = json.loads(done.stdout)
    return found

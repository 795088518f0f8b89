"""`isslim demo`: the whole workflow in minutes, where every part is installed."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from isslim.client.commands import exits
from isslim.client.commands.doctor import PARTS


def demo(
    minutes: Annotated[
        float, typer.Option(min=0.01, help="of training the original, before it is compressed")
    ] = 3.0,
    folder: Annotated[
        Path, typer.Option(file_okay=False, help="takes the model, the service's home, the files")
    ] = Path("demo"),
) -> None:
    """Trains, compresses and serves a small model, here.

    The model learns the documentation inside Python. It is kept: a second run begins with the
    compression, with at most three minutes of distillation. In the folder are then the model, its
    files in `home`, and `summary.json`: the rise of perplexity, units before and after, and how
    many times as fast as int8 alone and as the original the small model is.
    """
    packages = dict.fromkeys(each for _, names in PARTS.values() for each in names)
    if missing := [each for each in packages if find_spec(each) is None]:
        typer.echo(
            f"the demo trains, compresses and serves, and needs {', '.join(missing)}: "
            "pip install 'isslim[service,worker,client]'",
            err=True,
        )
        raise typer.Exit(exits.REFUSED)
    words = ["--minutes", str(minutes), "--folder", str(folder)]
    # It replaces this process, so that a signal to the process reaches the demo.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "isslim.demo", *words])

"""`isslim pull`: a model's files in a folder of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from isslim.client.api import Client
from isslim.client.commands.answers import Answers
from isslim.client.commands.options import HERE, AsJson, ModelName, Url
from isslim.client.plain import visible
from isslim.client.pulling import Part, chosen_files
from isslim.client.pulling import pull as pull_files
from isslim.types.manifest import FileRecord, VariantName
from isslim.types.wording import file_size


def pull(
    model: ModelName,
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="folder for the files; none: named after the model"),
    ] = None,
    only: Annotated[
        Part | None,
        typer.Option(help="only the PyTorch weights, or the ONNX graphs, and how to read them"),
    ] = None,
    variant: Annotated[
        VariantName | None, typer.Option(help="only the files of one variant, and how to read them")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="replace files that are there already")
    ] = False,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Downloads a model's files, checked against their hashes.

    Either all of them arrive, or the folder stays as it was. With --json: the folder and the files.
    """
    answers = Answers(as_json)
    if only is not None and variant is not None:
        raise typer.BadParameter("name --only or --variant, not both")

    with Client(url) as client:
        detail = client.model(model)
        folder = Path(detail.manifest.name) if out is None else out
        files = chosen_files(detail.manifest, client.files(detail.id), only, variant)
        with answers.error.status("", spinner="line") as status:

            def arriving(file: FileRecord) -> None:
                status.update(f"{file.path} ({file_size(file.size_bytes)})")

            pull_files(client, detail.id, files, folder, replace=force, on_file=arriving)
    answers.give(
        {"model_id": detail.id, "folder": str(folder), "files": files},
        lambda: Group(*(Text(visible(str(folder / each.path))) for each in files)),
    )

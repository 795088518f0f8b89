"""`isslim push` and `isslim log`: models on the Hugging Face Hub and in MLflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from isslim.client.api import Client
from isslim.client.commands.answers import Answers
from isslim.client.commands.options import HERE, AsJson, ModelName, Url
from isslim.client.hub import PREFIX, push_folder, repository_of
from isslim.client.pulling import pull
from isslim.client.tracking import log_model
from isslim.types.schemas.models import ModelDetail


@contextmanager
def _bundle(client: Client, detail: ModelDetail) -> Iterator[Path]:
    """A model's whole bundle in a folder, checked, for the duration of the block.

    Args:
        client: of its service.
        detail: of the model.
    """
    with TemporaryDirectory(prefix="isslim-") as made:
        folder = Path(made) / detail.manifest.name
        pull(client, detail.id, client.files(detail.id), folder)
        yield folder


def push(
    model: ModelName,
    to: Annotated[str, typer.Argument(help="hf://user/repo; made if there is none")],
    private: Annotated[
        bool, typer.Option("--private", help="a repository that is made is private")
    ] = False,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Sends a model's bundle to the Hugging Face Hub, as one commit.

    Its card is the repository's README, with a head that the Hub reads. Needs `isslim[hub]`;
    HF_TOKEN, or `hf auth login`, says who pushes. With --json: the address of the commit.
    """
    answers, repository = Answers(as_json), repository_of(to)
    with Client(url) as client:
        detail = client.model(model)
        with _bundle(client, detail) as folder:
            commit = push_folder(folder, repository, private=private)
    answers.give(
        {"model_id": detail.id, "repository": f"{PREFIX}{repository}", "commit": commit},
        lambda: commit,
    )


def log(
    model: ModelName,
    mlflow: Annotated[
        str, typer.Option(help="address of MLflow, such as http://127.0.0.1:5000 or sqlite:///a.db")
    ],
    experiment: Annotated[str, typer.Option(help="in which the run is made")] = "isslim",
    alias: Annotated[str, typer.Option(help="of the registered version")] = "published",
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Logs a model in MLflow, and registers it there.

    Parameters are the recipe, metrics those of every variant, artifacts the bundle. Needs
    `isslim[mlflow]`. With --json: the run, and the registered model with its version.
    """
    answers = Answers(as_json)
    with Client(url) as client:
        detail = client.model(model)
        with _bundle(client, detail) as folder:
            logged = log_model(
                detail.manifest, detail.id, folder, mlflow, experiment=experiment, alias=alias
            )
    answers.give(
        {"model_id": detail.id, **asdict(logged)},
        lambda: f"run {logged.run_id}; {logged.model} version {logged.version}",
    )

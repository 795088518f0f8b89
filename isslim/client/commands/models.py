"""`isslim models`: the published models."""

from __future__ import annotations

import typer
from rich.markdown import Markdown

from isslim.client import show
from isslim.client.api import Client
from isslim.client.commands.answers import Answers
from isslim.client.commands.options import HERE, AsJson, ModelName, Url


def list_models(url: Url = HERE, as_json: AsJson = False) -> None:
    """Lists the models, newest first."""
    answers = Answers(as_json)
    with Client(url) as client:
        found = client.models()
    answers.give(found, lambda: show.models_table(found))


def card(model: ModelName, url: Url = HERE, as_json: AsJson = False) -> None:
    """Shows a model's card; Markdown where no terminal reads it."""
    answers = Answers(as_json)
    with Client(url) as client:
        found = client.card(model)
    if answers.as_json or answers.out.is_terminal:
        answers.give({"model": model, "card": found}, lambda: Markdown(found))
    else:
        typer.echo(found)


def delete(model: ModelName, url: Url = HERE, as_json: AsJson = False) -> None:
    """Deletes a model."""
    answers = Answers(as_json)
    with Client(url) as client:
        client.delete(model)
    answers.give({"deleted": model}, lambda: f"deleted: {model}")

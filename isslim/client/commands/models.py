"""`isslim models`: the published models."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.markdown import Markdown

from isslim.card.head import without_head
from isslim.client import show, show_models
from isslim.client.api import Client
from isslim.client.commands.answers import Answers
from isslim.client.commands.options import HERE, AsJson, ModelName, Url
from isslim.client.plain import visible


def list_models(url: Url = HERE, as_json: AsJson = False) -> None:
    """Lists the models, newest first."""
    answers = Answers(as_json)
    with Client(url) as client:
        found = client.models()
    answers.give(found, lambda: show.models_table(found))


def show_model(model: ModelName, url: Url = HERE, as_json: AsJson = False) -> None:
    """Compares a model's variants; with --json its manifest."""
    answers = Answers(as_json)
    with Client(url) as client:
        found = client.model(model)
    answers.give(found, lambda: show_models.detail(found))


def card(model: ModelName, url: Url = HERE, as_json: AsJson = False) -> None:
    """Shows a model's card; Markdown where no terminal reads it."""
    answers = Answers(as_json)
    with Client(url) as client:
        found = client.card(model)
    if answers.as_json or answers.out.is_terminal:
        answers.give(
            {"model": model, "card": found}, lambda: Markdown(visible(without_head(found)))
        )
    else:
        typer.echo(found)


def files(model: ModelName, url: Url = HERE, as_json: AsJson = False) -> None:
    """Lists a model's files with size and SHA-256."""
    answers = Answers(as_json)
    with Client(url) as client:
        found = client.files(model)
    answers.give(found, lambda: show_models.files_list(found, answers.out.width))


def report(model: ModelName, url: Url = HERE, as_json: AsJson = False) -> None:
    """Shows a model's verdict, and what was tried."""
    answers = Answers(as_json)
    with Client(url) as client:
        detail = client.model(model)
        found = client.report(detail.id)
    answers.give(found, lambda: show_models.report(found, detail.manifest))


def latency(
    model: ModelName,
    steps: Annotated[
        int | None,
        typer.Option(help="tokens of a text; none: 30, or for a graph as it was recorded"),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="texts at once; none: one, or for a graph as it was recorded"),
    ] = None,
    run: Annotated[
        Literal["median", "smallest", "largest"] | None,
        typer.Option(help="for a graph: which recorded run; none: the median one"),
    ] = None,
    threads: Annotated[int, typer.Option(help="of one run")] = 1,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; none: every device that the service has")
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="measure again, even if it was measured before")
    ] = False,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Compares the variants' speed on the service's host, now."""
    answers = Answers(as_json)
    with Client(url) as client:
        found = client.latency(
            model,
            steps=steps,
            batch=batch,
            run=run,
            threads=threads,
            device=device,
            refresh=refresh,
        )
        task = client.manifest(found.model_id).task
    answers.give(found, lambda: show_models.latency_table(found, task))


def delete(model: ModelName, url: Url = HERE, as_json: AsJson = False) -> None:
    """Deletes a model.

    Of several models of one name it is the one that the name means, as everywhere.
    With --json: id and name of what was deleted.
    """
    answers = Answers(as_json)
    with Client(url) as client:
        found = client.models()
        # A damaged model is in the list as well, and cannot be asked for. The first one of a name
        # comes last.
        named = [each for each in found if each.id == model] or [
            each for each in reversed(found) if each.name == model
        ]
        is_alias = any(each.alias == model for each in client.aliases())  # which is refused
        client.delete(named[0].id if named and not is_alias else model)
    deleted_id, name = (named[0].id, named[0].name) if named else (model, model)
    answers.give({"deleted": deleted_id, "name": name}, lambda: f"deleted: {name} ({deleted_id})")
    if left := [each.id for each in found if each.name == name and each.id != deleted_id]:
        typer.echo(visible(f"a model named '{name}' is still there: {left[-1]}"), err=True)

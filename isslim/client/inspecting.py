"""`isslim inspect`, and how an inspection looks in a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Unpack

import typer
from pydantic import ValidationError
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from isslim.client import show
from isslim.client.api import Client
from isslim.settings.client import ClientSettings
from isslim.types.inspection import Inspection
from isslim.types.kinds.registry import title_of
from isslim.types.kinds.uploads import Companions
from isslim.types.recipe import Check, Recipe
from isslim.types.wording import axis_name

console = show.terminal()
CheckPerplexity = Annotated[
    float | None,
    typer.Option(
        help="of a language model: the perplexity that you measured; it is refused where it has "
        "another"
    ),
]
MAX_LAYERS = 40
"""Most lines of layers and of reasons in a terminal; JSON holds all."""


def inspect(
    models: Annotated[
        list[Path],
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="safetensors, .pt of weights, or .onnx graphs; one or several",
        ),
    ],
    check_perplexity: CheckPerplexity = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="print JSON: one object, of several files a list")
    ] = False,
    url: Annotated[
        str, typer.Option(envvar="ISS_URL", help="address of the service")
    ] = ClientSettings().url,
    **companions: Unpack[Companions],
) -> None:
    """Shows what is understood of a model and its companions, before anything is compressed."""
    recipe = Recipe(check=measured(check_perplexity))
    with Client(url) as client:
        found = [client.inspect(model, recipe=recipe, **companions) for model in models]
    if as_json:
        plain = [each.model_dump(mode="json") for each in found]
        typer.echo(json.dumps(plain if len(plain) > 1 else plain[0], indent=2))
    else:
        for model, each in zip(models, found, strict=True):
            console.print(shown(each, str(model)))
    if not all(each.understood for each in found):
        raise typer.Exit(1)


def measured(perplexity: float | None) -> Check | None:
    """The perplexity that the sender measured, as a check of the recipe."""
    try:
        return None if perplexity is None else Check(perplexity=perplexity)
    except ValidationError as error:
        raise typer.BadParameter(
            str(error.errors()[0]["msg"]), param_hint="--check-perplexity"
        ) from error


def shown(found: Inspection, name: str) -> RenderableType:
    """An inspection as readable text.

    Args:
        found: the inspection.
        name: of the upload.
    """
    table = Table(
        title=f"{escape(name)}: what is understood", show_header=False, title_justify="left"
    )
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for field, lines in _rows(found):
        if lines := [line for line in lines if line]:
            table.add_row(field, escape("\n".join(lines)))
    parts: list[RenderableType] = [table]
    parts += [f"[yellow]warning:[/] {escape(warning)}" for warning in found.warnings]
    if found.problem is not None:
        parts.append(f"[red]{escape(found.problem.title)}:[/] {escape(found.problem.detail)}")
        parts += [f"  - {escape(issue)}" for issue in found.problem.issues]
    return Group(*parts)


def print_inspection(found: Inspection, console: Console) -> None:
    """Prints what a job has understood, above its progress; a refusal is shown as the job's end.

    Args:
        found: the inspection.
        console: to print on.
    """
    console.print(shown(found.model_copy(update={"problem": None}), "the upload"))


def _rows(found: Inspection) -> Iterator[tuple[str, list[str]]]:
    yield "kind", ["not known" if found.kind is None else title_of(found.kind)]
    yield "read as", [found.layout]
    layers = [
        f"{axis_name(layer.name)}: {layer.size:,}{'' if layer.may_shrink else ' (stays whole)'}"
        for layer in found.layers
    ]
    yield "components", _few(layers)
    if found.parameters is not None:
        work = (
            ""
            if found.mult_adds is None
            else f"; {found.mult_adds:,} multiply-adds a token or step"
        )
        yield "parameters", [f"{found.parameters:,}{work}"]
    yield "dropped", found.dropped
    yield "assumed", found.assumed
    yield "vocabulary", _vocabulary(found)
    yield (
        "texts",
        [
            f"{each.field.replace('_', '-')}: {each.tokens:,} tokens, {each.unknown:,} of them "
            f"unknown ({each.unknown_share:.2%})"
            for each in found.texts
        ],
    )
    yield "left alone", _few(found.left_alone)
    yield "calibrated on", [found.calibrated_on]
    yield (
        "evaluated on",
        [found.evaluated_on if found.not_evaluated is None else f"nothing: {found.not_evaluated}"],
    )
    yield (
        "your checks",
        [f"{each.name}: {each.found}, expected {each.expected}" for each in found.checks],
    )


def _vocabulary(found: Inspection) -> list[str]:
    if found.text is None:
        return []
    text, trip = found.text, found.round_trip
    special = {
        "start": text.start_token,
        "unknown": text.unknown_token,
        "line break": text.newline_token,
    }
    lines = [
        f"{text.vocabulary:,} {text.unit}s",
        ", ".join(
            f"{name}: {'none' if token is None else repr(token)}" for name, token in special.items()
        ),
    ]
    if trip is not None:
        lines.append(
            f"{trip.checked - trip.failed:,} of {trip.checked:,} tokens, given as text, are read "
            "as themselves"
        )
        lines += [f"not so: {', '.join(trip.examples)}"] if trip.examples else []
    return lines


def _few(lines: list[str]) -> list[str]:
    left = len(lines) - MAX_LAYERS
    return lines if left <= 0 else [*lines[:MAX_LAYERS], f"and {left} more"]

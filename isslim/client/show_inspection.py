"""How an inspection looks in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from isslim.types.inspection import Inspection
from isslim.types.kinds.registry import title_of
from isslim.types.wording import axis_name

MAX_LAYERS = 40
"""Most lines of layers and of reasons in a terminal; JSON holds all."""


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

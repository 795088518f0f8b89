"""The budget on the command line: an option for each limit, or `--budget loss=2%` for any of them.

Numbers may be written as people write them: 5% is 0.05, 3x is 3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, get_args

import typer
from pydantic import ValidationError

from isslim.client.commands.refusals import in_words
from isslim.types.recipe import Budget

LIMITS = tuple(name for name in Budget.model_fields if name != "confident")
QUANTITIES = ("quality", "size", "speed")
"""What a budget limits, whatever the kind of model; the API reads them as well."""
IN_POINTS = ("f1_fall",)
"""Limits in points of 100, where 1% could mean 1 or 0.01."""
SHARES = ("quality", "loss", "perplexity_rise", "output_change")
"""Limits that are parts of the original's value; of F1 the first two are points of 100."""
PANEL = "Budget: one limit, by default that of the kind of model"
_NUMBER = re.compile(r"([-+]?[\d.]+(?:e[-+]?\d+)?)\s*(%|x?)", re.IGNORECASE)


def number(text: str) -> float:
    """A number as people write it.

    Raises:
        BadParameter: when it is none.
    """
    found = _NUMBER.fullmatch(text.strip())
    try:
        value = float(found[1]) if found else None
    except ValueError:
        value = None
    if found is None or value is None:
        raise typer.BadParameter(f"'{text}': expected a number, such as 0.05, 5% or 3x")
    return value / 100 if found[2] == "%" else value


def points(text: str) -> float:
    """A number of points of 100.

    Raises:
        BadParameter: when it is none, or written as a percentage.
    """
    if text.strip().endswith("%"):
        raise typer.BadParameter(f"'{text}': expected points of 100, such as 1 for one point")
    return number(text)


def share(text: str) -> float:
    """A part of the original's value; of one that is probably a percentage it warns.

    Raises:
        BadParameter: when it is no number.
    """
    value = number(text)
    if value > 1 and not text.strip().endswith("%"):
        typer.echo(
            f"warning: a loss of {value:g} means {value * 100:g} % (of F1: {value:g} points); if "
            f"{value:g} % is meant, write {value:g}% or {value / 100:g}",
            err=True,
        )
    return value


def limit_of(text: str) -> tuple[str, float]:
    """`KIND=VALUE` as the kind of limit and its value.

    Raises:
        BadParameter: when it is written in another way.
    """
    kind, equals, value = text.partition("=")
    name = kind.strip().replace("-", "_")
    if not equals or name not in (*LIMITS, *QUANTITIES):
        kinds = ", ".join((*QUANTITIES, *LIMITS))
        raise typer.BadParameter(
            f"'{text}': expected KIND=VALUE, such as loss=2%; KIND is one of {kinds}"
        )
    return name, parser_of(name)(value)


BUDGET = Annotated[
    str | None,
    typer.Option(
        metavar="KIND=VALUE",
        rich_help_panel=PANEL,
        help="any of the limits below, such as loss=2%, size=40% or speed=3x",
    ),
]


def parser_of(name: str) -> Any:
    """What reads the value of a limit's option."""
    if name in IN_POINTS:
        return points
    return share if name in SHARES else number


def of_several(annotation: Any, said: str = "") -> Any:
    """The annotation of an option that may be repeated, from that of one that may not.

    Args:
        annotation: of the option.
        said: at the end of its help.
    """
    kind, option = get_args(annotation)
    (inner,) = (each for each in get_args(kind) if each is not type(None))
    repeated = typer.Option(
        metavar=option.metavar,
        parser=option.parser,
        rich_help_panel=option.rich_help_panel,
        help=f"{option.help}{said}",
    )
    return Annotated[list[inner] | None, repeated]  # type: ignore[valid-type]


def asked_for(given: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The limits of a command line, in the order of its options.

    Args:
        given: values of the options by name; a value or a list of them.
    """
    found: list[tuple[str, float]] = []
    for name in ("budget", *LIMITS):
        value = given.get(name)
        for each in value if isinstance(value, list) else [] if value is None else [value]:
            found.append(limit_of(each) if name == "budget" else (name, each))
    return found


def budgets_of(given: Mapping[str, Any]) -> list[Budget]:
    """A budget for each limit of a command line.

    Args:
        given: values of the options by name.

    Raises:
        BadParameter: when a value is out of range.
    """
    confident = given.get("confident")
    try:
        return [
            Budget.model_validate(
                {"limit": kind, "value": value, "confident": confident}
                if kind in QUANTITIES
                else {kind: value, "confident": confident}
            )
            for kind, value in asked_for(given)
        ]
    except ValidationError as error:
        raise typer.BadParameter(in_words(error, Budget)) from error


def one_budget(given: Mapping[str, Any]) -> Budget:
    """The budget of a command line; that of the kind of model if there is no limit.

    Args:
        given: values of the options by name.

    Raises:
        BadParameter: when there are several limits, or one out of range.
    """
    found = budgets_of(given)
    if len(found) > 1:
        kinds = ", ".join(f"{kind}={value:g}" for kind, value in asked_for(given))
        raise typer.BadParameter(f"name one budget, not {len(found)}: {kinds}")
    return found[0] if found else Budget(confident=given.get("confident"))

"""The options of a recipe, one for each of its fields, generated from `Recipe` itself.

A field that is added to the recipe is an option at once: its type gives the option's, its
description the help. Fields of the budget are options of their own (`--size-ratio`), and so are
those of other models in it, after the name of their field (`--check-perplexity`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from isslim.client.commands import budgets
from isslim.client.commands.generated import with_generated
from isslim.client.commands.refusals import description_of, flag_of, in_words
from isslim.types.kinds.registry import kinds
from isslim.types.recipe import Budget, Recipe, TimedShape

PANEL = "Recipe"
_SCALARS = (str, int, float, bool)
_USUAL = {
    limit: f"{kind.title}): {value:g}"
    for kind in kinds()
    for limit, value in kind.default_budget.limits.items()
}


@dataclass(frozen=True)
class RecipeOption:
    """One option.

    Attributes:
        path: of its field in the recipe.
        annotation: for typer.
        read: makes the field's value of the option's.
    """

    path: tuple[str, ...]
    annotation: Any
    read: Callable[[Any], Any]


def with_recipe(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options to a command, which takes a `recipe: Recipe`."""

    def collect(given: dict[str, Any]) -> dict[str, Any]:
        return {"recipe": recipe_of(given, budgets.one_budget(given))}

    # Of an option that is no list, the last would be taken without a word.
    return with_generated(command, "recipe", _annotations(), collect)


def with_several_budgets(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options to a command, which takes `asked: tuple[Recipe, list[Budget]]`.

    Every option of a limit may be repeated.
    """

    def collect(given: dict[str, Any]) -> dict[str, Any]:
        found = budgets.budgets_of(given)
        if not found:
            options = ", ".join(flag_of([kind]) for kind in budgets.LIMITS)
            raise typer.BadParameter(f"name at least one budget: --budget, {options}")
        return {"asked": (recipe_of(given, Budget()), found)}

    said = "; repeat for several budgets"
    return with_generated(command, "asked", _annotations(said), collect)


def _annotations(said: str = "") -> dict[str, Any]:
    """Of all options for typer; those of a limit take every value that is given.

    Args:
        said: of repeated limits, at the end of their help.
    """
    return {"budget": budgets.of_several(budgets.BUDGET, said)} | {
        name: budgets.of_several(each.annotation, said)
        if name in budgets.LIMITS
        else each.annotation
        for name, each in OPTIONS.items()
    }


def recipe_of(given: dict[str, Any], budget: Budget) -> Recipe:
    """The recipe of a command line.

    Args:
        given: values of the options by name; None and empty lists are those not given.
        budget: of the command line.

    Raises:
        BadParameter: when a value is refused; with all of them.
    """
    fields: dict[str, Any] = {"budget": budget}
    for name, option in OPTIONS.items():
        value = given.get(name)
        if value is None or value == [] or option.path[0] == "budget":
            continue
        inner = fields
        for step in option.path[:-1]:
            inner = inner.setdefault(step, {})
        inner[option.path[-1]] = option.read(value)
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise typer.BadParameter(in_words(error, Recipe)) from error


def _options(model: type[BaseModel], path: tuple[str, ...] = ()) -> dict[str, RecipeOption]:
    """An option for every field of a model, by the name of its parameter."""
    found: dict[str, RecipeOption] = {}
    for name, info in model.model_fields.items():
        inner = _without_none(info.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= _options(inner, (*path, name))
            continue
        whole = (*path, name)
        option = _option(whole, inner, info)
        found["_".join(each for each in whole if each != "budget")] = option
    return found


def _option(path: tuple[str, ...], kind: Any, info: FieldInfo) -> RecipeOption:
    panel = budgets.PANEL if path[0] == "budget" else PANEL
    text = description_of(Recipe, path)
    if path[0] == "budget" and path[-1] in budgets.LIMITS:
        if path[-1] in _USUAL:
            text = f"{text} [default ({_USUAL[path[-1]]}]"
        asked = typer.Option(
            help=text,
            metavar="NUMBER",
            rich_help_panel=panel,
            parser=budgets.parser_of(path[-1]),
        )
        return RecipeOption(path, Annotated[float | None, asked], _as_it_is)
    if info.default not in (None, []) and not info.is_required():
        text = f"{text} [default: {_shown(info.default)}]"
    read: Callable[[Any], Any] = _as_it_is
    metavar, flags = None, [flag_of(path)]
    if get_origin(kind) is list:
        text, flags = f"{text}; may be repeated", [flags[0].removesuffix("s"), *flags]
        (item,) = get_args(kind)
        if item is not str:
            read, kind = (
                (lambda values: [_item(each, item, flags[0]) for each in values]),
                list[str],
            )
            metavar = "STEPSxBATCH" if item is TimedShape else "JSON"
    elif kind is bool:
        flags = [f"{flags[0]}/--no-{flags[0].removeprefix('--')}"]
    elif kind not in _SCALARS and get_origin(kind) is not Literal:
        read, kind, metavar = (lambda value: _json(value, flags[0])), str, "JSON"
    asked = typer.Option(*flags, help=text, metavar=metavar, rich_help_panel=panel)
    return RecipeOption(path, Annotated[kind | None, asked], read)


def _as_it_is(value: Any) -> Any:
    return value


def _without_none(annotation: Any) -> Any:
    """The type of a field that may also be None, without that."""
    parts = [each for each in get_args(annotation) if each is not NoneType]
    optional = NoneType in get_args(annotation) and len(parts) == 1
    return _without_none(parts[0]) if optional else annotation


def _shown(default: Any) -> str:
    return ("yes" if default else "no") if isinstance(default, bool) else str(default)


def _item(text: str, kind: Any, flag: str) -> Any:
    """One value of an option that stands for a list."""
    if kind is not TimedShape:
        return _json(text, flag)
    steps, _, batch = text.lower().partition("x")
    if not steps.isdecimal() or not (batch or "1").isdecimal():
        raise typer.BadParameter(f"'{text}': expected STEPSxBATCH, such as 30x1", param_hint=flag)
    return {"steps": int(steps), "batch": int(batch) if batch else None}


def _json(text: str, flag: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"'{text}': expected JSON ({error})", param_hint=flag) from error


OPTIONS = _options(Recipe)
"""By the name of the command's parameter."""

"""A recipe from keyword arguments; what is wrong with them is reported all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from isslim.compress.errors import ArgumentsRefused
from isslim.compress.inspection.effects import overruled
from isslim.types.kinds.description import KindDescription
from isslim.types.recipe import Budget, Recipe, with_current_names

BUDGETS = (
    'a number (the largest loss, such as 0.02), `{"limit": "size", "value": 0.4}` with "quality", '
    '"size" or "speed", or a `Budget`'
)


@dataclass(frozen=True)
class Asked:
    """The options of a call.

    Attributes:
        recipe: with all of them.
        given: names of those that the caller gave a value.
    """

    recipe: Recipe
    given: frozenset[str]


def asked_for(
    recipe: Recipe | Mapping[str, Any] | None,
    budget: Budget | float | Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> Asked:
    """The options that a caller asks for.

    Args:
        recipe: options as a value or mapping; None: the defaults.
        budget: a number limits the loss of quality; None: that of the recipe.
        options: fields of a recipe by name, with precedence over `recipe`; None: not given.

    Raises:
        ArgumentsRefused: with everything that is wrong.
    """
    try:
        given = with_current_names({name: it for name, it in options.items() if it is not None})
        values = {**with_current_names(_of_recipe(recipe)), **given}
    except ValueError as twice:
        raise ArgumentsRefused(str(twice), [str(twice)]) from twice
    strange = sorted(values.keys() - Recipe.model_fields.keys())
    issues = [_unknown(name) for name in strange]
    values = {name: value for name, value in values.items() if name not in strange}
    if budget is not None:
        values["budget"] = _limit(budget)
    try:
        found = Recipe.model_validate(values)
    except ValidationError as error:
        issues += [_wrong(issue) for issue in error.errors()]
    if issues:
        raise ArgumentsRefused(f"the options are not understood: {issues[0]}", issues)
    # The recipe of another model's manifest names all of its fields.
    fields = Recipe.model_fields
    changed = {
        name for name in found.model_fields_set if getattr(found, name) != fields[name].default
    }
    return Asked(found, frozenset(given.keys() | changed))


def refuse_unused(asked: Asked, kind: KindDescription) -> None:
    """Refuses options that would have no effect: their caller expects one.

    Args:
        asked: the options.
        kind: of the model.

    Raises:
        ArgumentsRefused: naming all.
    """
    unused = sorted(asked.given & kind.unused_options)
    issues = [
        f"`{name}` has no effect on a model of the kind '{kind.title}': leave it out"
        for name in unused
    ]
    issues += overruled(asked.recipe, asked.given - set(unused))
    if issues:
        raise ArgumentsRefused(issues[0], issues)


def _of_recipe(recipe: Any) -> dict[str, Any]:
    if recipe is None:
        return {}
    if isinstance(recipe, Recipe):
        return recipe.model_dump(exclude_unset=True)
    if isinstance(recipe, Mapping):
        return {str(name): value for name, value in recipe.items()}
    raise ArgumentsRefused(
        f"`recipe` is a {type(recipe).__name__}: an `isslim.Recipe`, or a mapping of its fields is "
        "expected"
    )


def _limit(budget: object) -> object:
    if isinstance(budget, int | float) and not isinstance(budget, bool):
        return {"loss": budget}
    return dict(budget) if isinstance(budget, Mapping) else budget


def _unknown(name: str) -> str:
    close = get_close_matches(name, Recipe.model_fields, 1)
    hint = f"did you mean `{close[0]}`?" if close else f"there is: {', '.join(Recipe.model_fields)}"
    return f"there is no option `{name}`; {hint}"


def _wrong(issue: Any) -> str:
    place, message = ".".join(map(str, issue["loc"])), issue["msg"].removeprefix("Value error, ")
    found = f"{issue['input']!r:.80}"
    if place == "budget" and issue["type"].startswith("model_"):
        return f"`budget` is {found}: {BUDGETS} is expected"
    if place.startswith("budget.") and issue["type"] == "extra_forbidden":
        return f"`budget` has no field {issue['loc'][1]!r}{_meant(issue)}: {BUDGETS} is expected"
    if issue["type"] == "string_pattern_mismatch":
        return f"`{place}` is {found}: {Recipe.model_fields[place].description}"
    return f"`{place}`: {message} (found {found})" if place else message


def _meant(issue: Any) -> str:
    """A correction of a budget's unknown field, where one is likely."""
    name, value = issue["loc"][1], issue["input"]
    if name in ("quality", "size", "speed"):
        return f' (write `{{"limit": "{name}", "value": {value}}}`)'
    close = get_close_matches(str(name), Budget.model_fields, 1)
    return f" (did you mean `{close[0]}`?)" if close else ""

"""A recipe from keyword arguments; what is wrong with them is reported all at once."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from isslim.compress.errors import ArgumentsRefused
from isslim.types.recipe import Budget, Recipe


def recipe_of(
    recipe: Recipe | None,
    budget: Budget | float | Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> Recipe:
    """The recipe that a caller asks for.

    Args:
        recipe: options as a value; None: the defaults.
        budget: a number limits the loss of quality; None: that of the recipe.
        options: fields of a recipe by name, with precedence over `recipe`; None: not given.

    Raises:
        ArgumentsRefused: with everything that is wrong.
    """
    given = {name: value for name, value in options.items() if value is not None}
    strange = sorted(given.keys() - Recipe.model_fields.keys())
    issues = [_unknown(name) for name in strange]
    values = {} if recipe is None else recipe.model_dump(exclude_unset=True)
    values |= {name: value for name, value in given.items() if name not in strange}
    if budget is not None:
        values["budget"] = _limit(budget)
    try:
        found = Recipe.model_validate(values)
    except ValidationError as error:
        issues += [_wrong(issue) for issue in error.errors()]
    if issues:
        raise ArgumentsRefused(f"the options are not understood: {issues[0]}", issues)
    return found


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
    found = f" (found {issue['input']!r:.80})" if place else ""
    return f"`{place}`: {message}{found}" if place else message

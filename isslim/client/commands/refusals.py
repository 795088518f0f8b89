"""What is wrong with a recipe, in words that name the options of the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from isslim.types.kinds.uploads import UPLOAD_FIELDS

_EXPECTED = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_long": "at most {max_length} of them",
    "too_short": "at least {min_length} of them",
}
_REFERENCE = re.compile(rf"`(?:Recipe\.(\w+)|({'|'.join(UPLOAD_FIELDS)}))`")
_WITHOUT = re.compile(r"\b(null|empty):")


def flag_of(path: Sequence[str | int]) -> str:
    """The option of a field.

    Args:
        path: of the field in the recipe.
    """
    names = [str(each) for each in path if each != "budget"]
    return f"--{'-'.join(names).replace('_', '-')}"


def description_of(model: type[BaseModel], path: Sequence[str | int]) -> str:
    """A field's description, as the help of its option.

    Args:
        model: that has the field.
        path: of the field in it.
    """
    fields, found = model.model_fields, ""
    for name in path:
        if name in fields:
            info: Any = fields[str(name)]
            found = info.description or ""
            inner = next((each for each in _types_in(info.annotation)), None)
            fields = {} if inner is None else inner.model_fields
    reworded = _REFERENCE.sub(lambda match: flag_of([match[1] or match[2]]), found)
    return _WITHOUT.sub("without it:", reworded)


def _types_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for each in getattr(annotation, "__args__", ()) for found in _types_in(each)]


def in_words(error: ValidationError, model: type[BaseModel]) -> str:
    """All issues, each with its option, the value and what is expected.

    Args:
        error: raised by the validation.
        model: that was validated.
    """
    return "; ".join(_issue(each, model) for each in error.errors())


def _issue(issue: Any, model: type[BaseModel]) -> str:
    if issue["type"] in _EXPECTED:
        expected = f"expected {_EXPECTED[issue['type']].format(**issue['ctx'])}"
    elif issue["type"] == "string_pattern_mismatch":
        # The pattern says nothing to most people; the description says the same in words.
        expected = f"expected: {description_of(model, issue['loc'])}"
    else:
        expected = issue["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    if not issue["loc"]:
        return expected
    value = issue["input"]
    said = f"'{value}'" if isinstance(value, str) else str(value)
    return f"{_place(issue['loc'])} is {said}: {expected}"


def _place(path: Sequence[str | int]) -> str:
    """The option, and in a value of a list what of it: `--shapes: steps`."""
    at = next((place for place, each in enumerate(path) if isinstance(each, int)), len(path))
    return ": ".join([flag_of(path[:at]), *map(str, path[at + 1 :])])

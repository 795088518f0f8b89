"""Documents of a later release: what is known is read, and the rest is named."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

Value = TypeVar("Value")
Other = TypeVar("Other")


def read_leniently(
    adapter: TypeAdapter[Value], text: str | bytes, otherwise: Other
) -> tuple[Value | Other, list[str]]:
    """What can be read of a JSON document, and what cannot.

    Args:
        adapter: of the values.
        text: the document.
        otherwise: the value where nothing can be read.

    Returns:
        The value without the fields that are not known here, and those as issues.
    """
    try:
        return adapter.validate_json(text), []
    except ValidationError as error:
        issues = issues_of(error)
        try:
            return _without_unknown(adapter, text, error), issues
        except ValueError:  # that of pydantic and that of JSON
            return otherwise, issues


def known_part(adapter: TypeAdapter[Value], text: str | bytes) -> Value:
    """A JSON document without the fields that are not known here.

    Args:
        adapter: of the value.
        text: the document.

    Raises:
        ValidationError: when anything else is wrong with it.
    """
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        if all(issue["type"] == "extra_forbidden" for issue in error.errors()):
            return _without_unknown(adapter, text, error)
        raise


def issues_of(error: ValidationError) -> list[str]:
    """What is wrong with a document, one line each."""
    return [
        f"{'.'.join(str(part) for part in issue['loc']) or 'record'}: {issue['msg']}"
        for issue in error.errors()
    ]


def _without_unknown(
    adapter: TypeAdapter[Value], text: str | bytes, error: ValidationError
) -> Value:
    content = json.loads(text)
    for issue in error.errors():
        if issue["type"] == "extra_forbidden":
            _remove(content, issue["loc"])
    return adapter.validate_json(json.dumps(content))


def _remove(content: Any, place: tuple[int | str, ...]) -> None:
    """Removes a field from nested lists and objects; the names of alternatives are skipped."""
    for part in place[:-1]:
        is_there = isinstance(part, int) if isinstance(content, list) else part in content
        content = content[part] if is_there else content
    if isinstance(content, dict):
        content.pop(place[-1], None)

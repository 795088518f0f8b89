"""Reads the settings of a process, and refuses wrong ones with a line for each.

A misspelt variable that passed would leave a default in force that somebody meant to change. So a
variable with our prefix that no process knows is refused, whatever process meets it.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, SettingsError

from isslim.settings.access import AccessSettings
from isslim.settings.client import ClientSettings
from isslim.settings.logs import LogSettings
from isslim.settings.recipes import RecipeSettings
from isslim.settings.service import ServiceSettings
from isslim.settings.timing import TimingSettings
from isslim.settings.training import TrainingSettings
from isslim.settings.worker import WorkerSettings
from isslim.store.settings import PREFIX, StoreSettings
from isslim.types.hiding import shown_value

GROUPS: tuple[type[BaseModel], ...] = (
    StoreSettings,
    TimingSettings,
    LogSettings,
    ServiceSettings,
    AccessSettings,
    RecipeSettings,
    WorkerSettings,
    ClientSettings,
    TrainingSettings,
)
"""The settings of every process; the page of settings has a section for each."""
BAD_SETTINGS = 2
"""Exit status of a process that refuses its settings."""
SECRET = frozenset(
    name
    for group in GROUPS
    for name, field in group.model_fields.items()
    if "SecretStr" in str(field.annotation)
)
"""Fields whose values are printed nowhere."""
_SHOWN = 80
"""Characters of a wrong value that an error message quotes."""
Settings = TypeVar("Settings", bound=BaseSettings)


class SettingsRefused(Exception):
    """The environment holds variables that are unknown or have invalid values.

    Attributes:
        issues: a line for each.
    """

    def __init__(self, issues: list[str]) -> None:
        super().__init__("\n".join(issues))
        self.issues = issues


def variable_of(field: str) -> str:
    """The variable that a field of a settings class is read from."""
    return f"{PREFIX}{field.upper()}"


def read(settings: type[Settings]) -> Settings:
    """The settings of a process, from its environment.

    Raises:
        SettingsRefused: when a variable is unknown or has a value that it cannot have; with all
            issues together.
    """
    issues = _unknown()
    try:
        found = settings()
    except ValidationError as error:
        raise SettingsRefused(issues + [_issue(each) for each in error.errors()]) from error
    except SettingsError as error:
        # Raised where a value that should be JSON is not; it names its field in prose only.
        raise SettingsRefused(issues + _no_json(settings)) from error
    if issues:
        raise SettingsRefused(issues)
    return found


def issues_with(*each: type[BaseSettings]) -> list[str]:
    """What processes of these settings would end with, every issue once.

    Args:
        each: their classes.
    """
    found: list[str] = []
    for settings in each:
        try:
            read(settings)
        except SettingsRefused as refused:
            found += refused.issues
    return list(dict.fromkeys(found))


def read_or_exit(settings: type[Settings], program: str) -> Settings:
    """The settings of a process, or its end with a line on standard error for each issue.

    Args:
        settings: which class of them.
        program: the name of the process, at the start of each line.
    """
    try:
        return read(settings)
    except SettingsRefused as error:
        sys.stderr.writelines(f"{program}: {issue}\n" for issue in error.issues)
        sys.exit(BAD_SETTINGS)


def _unknown() -> list[str]:
    known = {variable_of(field): field.upper() for group in GROUPS for field in group.model_fields}
    issues = []
    # Like the reading of settings, this does not care about upper and lower case.
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            asked = name.upper().removeprefix(PREFIX)
            near = difflib.get_close_matches(asked, known.values(), n=1)
            hint = f"did you mean {PREFIX}{near[0]}?" if near else _LISTED
            issues.append(f"{name} is no setting: {hint}")
    return issues


_LISTED = "`python -m isslim.settings` lists them all"


def _issue(error: Any) -> str:
    """A line for one error of pydantic's: the variable, its value, what is expected."""
    field, *inside = (str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ").partition(", unable to parse")[0]
    expected = message.replace("Input should be", "expected", 1)
    place = f"{'.'.join(inside)}: " if inside else ""
    return f"{variable_of(field)} is {_value(field)}: {place}{expected[:1].lower()}{expected[1:]}"


def _no_json(settings: type[BaseSettings]) -> list[str]:
    """A line for each field that expects JSON and was given something else."""
    issues = []
    for field, info in settings.model_fields.items():
        if isinstance(info.get_default(call_default_factory=True), list | dict):
            try:
                json.loads(_raw(field) or "{}")
            except ValueError as error:
                issues.append(f"{variable_of(field)} is {_value(field)}: expected JSON ({error})")
    return issues


def _raw(field: str) -> str | None:
    wanted = variable_of(field)
    return next((value for name, value in os.environ.items() if name.upper() == wanted), None)


def _value(field: str) -> str:
    """The value of a variable as it is quoted: without passwords, and no secret at all."""
    if field in SECRET:
        return "not shown"
    raw = shown_value(_raw(field) or "")
    return repr(raw if len(raw) <= _SHOWN else f"{raw[:_SHOWN]}...")

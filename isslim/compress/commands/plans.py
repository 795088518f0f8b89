"""The fields of a training plan as options of a command, one for each, and back."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any, TypeVar, get_args, get_type_hints

Plan = TypeVar("Plan")


def declare_plan(group: Any, plan: type[Any], **defaults: object) -> None:
    """Adds the options to a group of a parser.

    Args:
        group: of the parser.
        plan: a dataclass whose fields are numbers, flags or choices.
        defaults: in place of the fields' own.
    """
    types = get_type_hints(plan)
    for field in fields(plan):
        name, default = "--" + field.name.replace("_", "-"), defaults.get(field.name, field.default)
        if field.type == "bool":
            group.add_argument(name, action="store_true", default=default)
        elif str(field.type).startswith("Literal"):
            group.add_argument(name, choices=get_args(types[field.name]), default=default)
        else:
            kind = int if field.type == "int" else float
            group.add_argument(name, type=kind, default=default, help=f"default: {default}")


def plan_of(arguments: argparse.Namespace, plan: type[Plan]) -> Plan:
    """The plan that the options of a command describe.

    Args:
        arguments: as parsed, with an option for each field.
        plan: the plan's class.

    Raises:
        ValueError: when the plan refuses one.
    """
    return plan(**{field.name: getattr(arguments, field.name) for field in fields(plan)})  # type: ignore[arg-type]

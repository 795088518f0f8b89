"""The page of all settings, in Markdown, made of their classes."""

from __future__ import annotations

import inspect
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from isslim.settings.environment import GROUPS, variable_of
from isslim.store.remote import S3_VARIABLES
from isslim.types.units import DefaultText, Unit

_HEAD = """\
# Configuration

<!-- Printed by `python -m isslim.settings`: change the settings' classes, not this page. -->

Every process reads its settings from environment variables, once, when it starts. Service and
worker know each other's variables, so that one environment serves both. A variable that begins with
`ISS_` and is not on this page ends them with a line that names the nearest one that is; so does a
value that a variable cannot have.

(In Kubernetes, a Service called `iss` brings variables of such names into every container; give the
Service another name, or set `enableServiceLinks: false`.)
"""
_S3 = """\
## S3

Where `ISS_ARTIFACTS_URL` begins with `s3://`, these variables of AWS say how the bucket is reached;
service and workers need the same. What they do not give is asked of the machine's own role. A
server that keeps to the protocol, such as SeaweedFS or MinIO, needs the first two,
`AWS_ENDPOINT_URL`, and without TLS `AWS_ALLOW_HTTP`. (`gs://` and `az://` have the usual variables
of their providers, which begin with `GOOGLE_` and `AZURE_`.)
"""
_BINARY = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def page() -> str:
    """The page, a section for each group of settings."""
    return "\n".join([_HEAD, *(_section(group) for group in GROUPS), _s3_section()])


def _s3_section() -> str:
    rows = [f"| `{name}` | {meaning} |" for name, meaning in S3_VARIABLES.items()]
    return "\n".join([_S3, "| Variable | Meaning |", "|---|---|", *rows, ""])


def _section(group: type[BaseModel]) -> str:
    own = {
        name: field
        for name, field in group.model_fields.items()
        if name in group.__annotations__  # not those of the classes that it inherits from
    }
    rows = [_row(name, field) for name, field in own.items()]
    heading = group.__name__.removesuffix("Settings")
    return "\n".join(
        [
            f"## {heading}",
            "",
            inspect.getdoc(group) or "",
            "",
            "| Variable | Default | Unit | Meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _row(name: str, field: FieldInfo) -> str:
    unit = next((each.name for each in field.metadata if isinstance(each, Unit)), "")
    meaning = (field.description or "").replace("|", "\\|")
    return f"| `{variable_of(name)}` | {_default(field, unit)} | {unit} | {meaning} |"


def _default(field: FieldInfo, unit: str) -> str:
    words = next((each.text for each in field.metadata if isinstance(each, DefaultText)), None)
    value = field.get_default()
    if words is not None:
        return words
    if value in (None, "", {}):
        return "none"
    if unit == "bytes":
        size, name = next((size, name) for size, name in _BINARY if value % size == 0)
        return f"`{value}` ({value // size} {name})"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value.as_posix() if isinstance(value, Path) else value}`"

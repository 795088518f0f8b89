"""Logs on standard error, those of libraries included: JSON lines, or lines for people."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from isslim.store.settings import FROM_ENVIRONMENT
from isslim.store.tracing import trace_id
from isslim.types.hiding import hiding_values
from isslim.types.units import Unit

if TYPE_CHECKING:
    import structlog

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
Form = Literal["auto", "json", "text"]


class LogSettings(BaseSettings):
    """Logs of service and worker, on standard error."""

    model_config = FROM_ENVIRONMENT

    job_log_level: Annotated[Level, Unit("name")] = Field(
        default="INFO",
        description="`INFO` logs what happens to every job, of the service that queues it and of "
        "the worker that runs it; `WARNING` only problems",
    )
    log_format: Annotated[Form, Unit("name")] = Field(
        default="auto",
        description="`json`: JSON lines; `text`: lines for people; `auto`: lines for people on a "
        "terminal, else JSON",
    )


def configure(
    settings: LogSettings,
    levels: Mapping[str, str],
    facts: Callable[[], Mapping[str, str | None]] = dict,
) -> None:
    """Sends every record of the process through one formatter. Called once, at its start.

    Args:
        settings: of the process.
        levels: the lowest level printed, by logger; of all others it is `WARNING`.
        facts: called for each line; what it returns is added, but for what is None.
    """
    # Imported here: `isslim.compress(...)` in a program reads settings too, and brings no logs.
    import structlog

    def add_facts(
        logger: structlog.typing.WrappedLogger, method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        for name, value in {**facts(), "trace_id": trace_id()}.items():
            if value is not None:
                event.setdefault(name, value)
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        add_facts,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    is_text = settings.log_format == "text" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _without_secrets(hiding_values(os.environ)),
                readable if is_text else structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def _without_secrets(hide: Callable[[str], str]) -> structlog.typing.Processor:
    """Takes secrets out of records: libraries quote addresses and headers that they cannot read.

    Args:
        hide: what does that to a text.
    """

    def cleaned(
        logger: structlog.typing.WrappedLogger, method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        return {
            name: hide(value) if isinstance(value, str) else value for name, value in event.items()
        }

    return cleaned


_HIDDEN = ("event", "level", "logger", "timestamp", "exception")
"""Facts that are not named in a line for people: they have a place in it."""


def readable(logger: Any, method: str, event: structlog.typing.EventDict) -> str:
    """A line for people: when, where, what, and the facts; below it a traceback, if there is one.

    Control characters, which strangers may have sent, are escapes: a terminal would obey them.

    Args:
        logger: of structlog, which it does not need.
        method: of the logger.
        event: the record.
    """
    level = "" if event["level"] == "info" else f" {event['level']}:"
    facts = [
        f"{name}={_value(value)}"
        for name, value in event.items()
        if name not in _HIDDEN and value not in (None, "")
    ]
    what = _printable(str(event["event"]))
    line = " ".join([f"{time.strftime('%H:%M:%S')} {event['logger']}:{level} {what}", *facts])
    below = str(event.get("exception") or "").splitlines()
    return "\n".join([line, *map(_printable, below)])


def _value(value: object) -> str:
    text = str(value)
    return json.dumps(text) if " " in text or not text.isprintable() else text


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)

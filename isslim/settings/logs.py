"""Logs as JSON lines on standard error, those of libraries included."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import structlog
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from isslim.store.settings import PREFIX
from isslim.store.tracing import trace_id
from isslim.types.units import Unit

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class LogSettings(BaseSettings):
    """Logs of service and worker: JSON lines on standard error."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    job_log_level: Annotated[Level, Unit("name")] = Field(
        default="INFO",
        description="`INFO` logs what happens to every job, of the service that queues it and of "
        "the worker that runs it; `WARNING` only problems",
    )


def configure(
    levels: Mapping[str, str], facts: Callable[[], Mapping[str, str | None]] = dict
) -> None:
    """Sends every record of the process through one JSON formatter. Called once, at its start.

    Args:
        levels: the lowest level printed, by logger; of all others it is `WARNING`.
        facts: called for each line; what it returns is added, but for what is None.
    """

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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)

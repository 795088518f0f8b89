"""Logs as JSON lines on standard error, those of the server and of libraries included."""

from __future__ import annotations

import logging
import sys

import structlog

from isslim.service.request_id import request_id


def configure(level: str) -> None:
    """Sends every record of the process through one JSON formatter. Called once, by `__main__`.

    Args:
        level: the lowest level printed, such as `INFO`.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _add_request_id,
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
    for name in ("service", "uvicorn.error"):
        logging.getLogger(name).setLevel(level)
    logging.getLogger("service.audit").setLevel(logging.INFO)  # whatever else is printed


def _add_request_id(
    logger: structlog.typing.WrappedLogger, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Says which request a line is about."""
    if request_id() is not None:
        event["request_id"] = request_id()
    return event

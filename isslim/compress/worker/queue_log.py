"""The queue library's own log: lines like all others, and no traceback where a job is cancelled."""

from __future__ import annotations

import logging

from dbos import error

_CANCELS = (error.DBOSAwaitedWorkflowCancelledError, error.DBOSWorkflowCancelledError)


def take_queue_log() -> None:
    """Sends what the library logs through the worker's own handler; called once it is made."""
    logger = logging.getLogger("dbos")
    logger.handlers, logger.propagate = [], True
    logger.addFilter(_is_no_cancel)


def _is_no_cancel(record: logging.LogRecord) -> bool:
    """Whether a record is about something else than the cancel of a job, which has its line."""
    fault = record.exc_info[1] if record.exc_info else None
    return not isinstance(fault, _CANCELS)

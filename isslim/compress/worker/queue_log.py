"""The queue library's own log: lines like all others, and no traceback where a job is cancelled.

While the database does not answer, each of the library's threads says so several times a second;
the first of a kind says enough for a while.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

from dbos import error

REPEAT_SECONDS = 60.0
"""How long what is said of a database that does not answer is not said again."""
_NO_ANSWER = re.compile(
    r"(?:connection failed: |failed to resolve host|connection timeout|server closed the connection"
    r"|terminating connection).*"
)
"""What psycopg says of a server that is gone, starts or stops."""
_CANCELS = (error.DBOSAwaitedWorkflowCancelledError, error.DBOSWorkflowCancelledError)


def take_queue_log() -> None:
    """Sends what the library logs through the worker's own handler; called once it is made."""
    logger = logging.getLogger("dbos")
    logger.handlers, logger.propagate = [], True
    logger.addFilter(_is_no_cancel)
    logger.addFilter(OutageFilter())


def _is_no_cancel(record: logging.LogRecord) -> bool:
    """Whether a record is about something else than the cancel of a job, which has its line."""
    fault = record.exc_info[1] if record.exc_info else None
    return not isinstance(fault, _CANCELS)


class OutageFilter(logging.Filter):
    """Lets each complaint of a database that does not answer through once in a while, as one line.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is printed.

        Args:
            record: of the library; of a complaint that is printed only the first line stays, not
                the traceback that some have in their text.
        """
        text = record.getMessage()
        fault = _NO_ANSWER.search(text)
        if fault is None:
            return True
        kind, now = text.partition(":")[0], self._clock()
        if now - self._said.get(kind, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        self._said[kind] = now
        record.msg, record.args = f"{kind}: {fault[0]}", None
        return True

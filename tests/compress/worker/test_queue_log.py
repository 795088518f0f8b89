"""The queue library's log: of an outage one line of each kind, and all that is said of others."""

from __future__ import annotations

import logging

from isslim.compress.worker.queue_log import REPEAT_SECONDS, OutageFilter

SAID = 'connection failed: connection to server at "10.0.0.3", port 5432 failed: Connection refused'


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("dbos", logging.WARNING, "file", 1, text, None, None)


def test_each_complaint_of_an_outage_is_said_once_in_a_while_and_as_one_line() -> None:
    now = [0.0]
    passes = OutageFilter(lambda: now[0]).filter
    polling = (
        f"Exception polling schedules: Traceback (most recent call last):\n  File\nE: {SAID}\n"
    )
    first = record(polling)
    assert passes(first)
    assert first.getMessage() == f"Exception polling schedules: {SAID}"
    now[0] = REPEAT_SECONDS - 1
    assert not passes(record(polling))
    assert passes(
        record(f"Exception listing queues: (psycopg.OperationalError) {SAID}\n(Background")
    )
    now[0] = REPEAT_SECONDS
    assert passes(record(polling))


def test_what_is_no_outage_is_said_as_it_is_and_as_often() -> None:
    passes = OutageFilter(lambda: 0.0).filter
    for _ in range(2):
        other = record("Exception polling schedules: Traceback\nValueError: a schedule")
        assert passes(other)
        assert other.getMessage().endswith("a schedule")

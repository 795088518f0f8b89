"""Logs: JSON lines for programs, lines for people on a terminal, and nothing that one obeys."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from isslim.settings.logs import readable
from tests.terminal import Terminal

WRITES = """
import logging
from isslim.settings.logs import LogSettings, configure
configure(LogSettings(), {"worker.jobs": "INFO"}, lambda: {"request_id": None})
log = logging.getLogger("worker.jobs")
log.info("job stage", extra={"job_id": "ab12", "before": "", "model": "a\\x1b[2J b", "run": 1})
logging.getLogger("other").info("not printed")
try:
    raise ValueError("no \\x1b[31m\\nsecond")
except ValueError:
    log.exception("it failed\\rover")
"""


def written(terminal: bool, **variables: str) -> str:
    """What a process writes to its standard error, a terminal or a pipe."""
    command, environment = [sys.executable, "-c", WRITES], os.environ | variables
    if not terminal:
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return ran.stderr
    with Terminal() as screen:
        process = subprocess.Popen(command, env=environment, stderr=screen.writing)
        shown = screen.shown()
        assert process.wait(20) == 0
    return shown


@pytest.mark.parametrize(
    ("terminal", "variables", "is_json"),
    [
        (False, {}, True),
        (True, {}, False),
        (True, {"ISS_LOG_FORMAT": "json"}, True),
        (False, {"ISS_LOG_FORMAT": "text"}, False),
    ],
)
def test_people_get_lines_and_programs_json(
    terminal: bool, variables: dict[str, str], is_json: bool
) -> None:
    lines = written(terminal, **variables).splitlines()
    if is_json:
        first, second = (json.loads(line) for line in lines)
        assert (first["event"], first["job_id"], first["model"]) == (
            "job stage", "ab12", "a\x1b[2J b",
        )  # fmt: skip
        assert "ValueError: no" in second["exception"]
        return
    assert lines[0][8:] == ' worker.jobs: job stage job_id=ab12 model="a\\u001b[2J b" run=1'
    assert lines[1][8:] == " worker.jobs: error: it failed\\rover"
    assert lines[2] == "Traceback (most recent call last):"
    assert lines[-2:] == ["ValueError: no \\x1b[31m", "second"]


def test_a_line_has_no_control_characters() -> None:
    """Whatever is in it: names of facts come from the program, their values from strangers."""
    odd = "".join(map(chr, [*range(32), *range(0x7F, 0xA0), 0x2028, 0x202E, 0x2066]))
    event = {"level": "info", "logger": "x", "event": odd, "path": odd}
    assert readable(None, "info", event).isprintable()


TRACES = """
from isslim.settings.logs import LogSettings, configure
from isslim.store.tracing import begin_tracing, end_tracing, start_span
configure(LogSettings(), {})
begin_tracing("test")
start_span("work", None).end()
end_tracing()
"""


def test_secrets_of_a_collector_that_cannot_be_reached_are_in_no_log() -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "user:geheim@127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_HEADERS": "geheim-without-a-name",
    }
    ran = subprocess.run(
        [sys.executable, "-c", TRACES],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "geheim" not in ran.stderr
    told = {json.loads(line)["logger"] for line in ran.stderr.splitlines()}
    assert "opentelemetry.util.re" in told  # which quotes a header that it cannot read
    assert len(told) > 1  # and so does what sends quote the address

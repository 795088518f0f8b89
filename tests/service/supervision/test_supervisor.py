"""The supervisor with real processes that do little: how they start, end, and are replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@contextmanager
def supervised(target: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.service.supervision.targets", target, str(log)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def lines(log: Path, count: int, seconds: float = 30) -> list[str]:
    """The log once it has so many lines."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        found = log.read_text().splitlines() if log.exists() else []
        if len(found) >= count:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{found} after {seconds} s")


def test_first_process_that_does_not_start_ends_all(tmp_path: Path) -> None:
    with supervised("fails", tmp_path / "log") as process:
        assert process.wait(timeout=30) == 7
    assert lines(tmp_path / "log", 1) == ["0"]


def test_process_that_ended_is_replaced_at_once(tmp_path: Path) -> None:
    with supervised("ends-once", tmp_path / "log") as process:
        assert sorted(lines(tmp_path / "log", 3)) == ["0", "0", "1"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == signal.SIGTERM


@pytest.mark.slow
def test_process_that_does_not_go_on_is_killed_and_replaced(tmp_path: Path) -> None:
    with supervised("hangs-once", tmp_path / "log"):
        assert sorted(lines(tmp_path / "log", 3)) == ["0", "0", "1"]
        time.sleep(2.5)  # the others go on
        assert len(lines(tmp_path / "log", 3)) == 3


@pytest.mark.slow
def test_processes_are_not_blamed_for_a_supervisor_that_stood_still(tmp_path: Path) -> None:
    with supervised("hangs-once", tmp_path / "log") as process:
        lines(tmp_path / "log", 3)
        process.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        process.send_signal(signal.SIGCONT)
        time.sleep(1.5)
        assert len(lines(tmp_path / "log", 3)) == 3


@pytest.mark.slow
def test_process_that_keeps_failing_is_started_ever_more_rarely(tmp_path: Path) -> None:
    with supervised("fails-later", tmp_path / "log"):
        times = []
        for count in range(2, 6):  # the first of the one that lives, then the other's
            found = lines(tmp_path / "log", count)
            times.append(time.monotonic())
        assert found == ["0", "1", "1", "1", "1"]
        pauses = [later - earlier for earlier, later in pairwise(times)]
        assert pauses[1] > 1
        assert pauses[2] > 2


def test_what_one_process_says_the_other_hears(tmp_path: Path) -> None:
    with supervised("talks", tmp_path / "log"):
        assert "0 heard 1" in lines(tmp_path / "log", 3)


def test_process_that_does_not_end_is_killed(tmp_path: Path) -> None:
    with supervised("stubborn", tmp_path / "log") as process:
        lines(tmp_path / "log", 2)
        time.sleep(0.3)  # until the second one ignores the signal
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == signal.SIGTERM


def test_processes_end_with_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    with supervised("lives", tmp_path / "log") as process:
        lines(tmp_path / "log", 2)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) >= 2
        process.kill()
        process.wait()
        limit = time.monotonic() + 10
        while any(_lives(int(child)) for child in children):
            assert time.monotonic() < limit
            time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False

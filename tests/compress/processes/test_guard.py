"""The guard of a child as a real process: what it ends, what it leaves, and what it says of it."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from isslim.compress.processes import guard

AWAIT = "import time; time.sleep(60)"
TWO = """
import os, subprocess, sys
below = subprocess.Popen([sys.executable, "-S", "-c", {below!r}])
print(os.getpid(), below.pid, flush=True)
{then}
"""


class Guarded:
    """A program below a guard, which is told by a test how long it may go on."""

    def __init__(self, code: str, memory_bytes: int = 0) -> None:
        program = [sys.executable, "-S", "-c", code]
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, str(memory_bytes), *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()

    def hang_up(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def pids(self) -> list[int]:
        assert self.process.stdout is not None
        return [int(each) for each in self.process.stdout.readline().split()]

    def ended(self, seconds: float = 20.0) -> int:
        return self.process.wait(seconds)


@pytest.fixture
def started() -> Iterator[Callable[..., Guarded]]:
    made: list[Guarded] = []

    def start(code: str, memory_bytes: int = 0) -> Guarded:
        made.append(Guarded(code, memory_bytes))
        return made[-1]

    yield start
    for each in made:
        with each.process:  # closes its pipes
            each.process.kill()


def are_gone(pids: list[int], seconds: float = 5.0) -> bool:
    """Whether processes end within a time; a zombie has ended."""
    limit = time.monotonic() + seconds
    while any(map(_runs, pids)):
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("status", [0, 7, guard.LAPSED - 1])
def test_exit_status_and_output_are_the_childs(
    status: int, started: Callable[..., Guarded]
) -> None:
    code = f"import sys; print('out', flush=True); sys.stderr.write('err'); sys.exit({status})"
    child = started(code)
    found = child.ended()  # while its worker holds on
    output, errors = child.process.communicate()
    assert (found, output, errors) == (status, b"out\n", b"err")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_signal_that_ends_the_child_ends_the_guard(
    number: int, started: Callable[..., Guarded]
) -> None:
    child = started(f"import os; os.kill(os.getpid(), {int(number)})")
    assert child.ended() == -number


def test_program_that_is_not_there_is_said() -> None:
    command = [sys.executable, "-I", "-S", guard.__file__, "0", "/nonexistent/program"]
    found = subprocess.run(command, capture_output=True, timeout=20, check=False)
    assert found.returncode == 127
    assert b"/nonexistent/program: No such file" in found.stderr


def test_child_ends_when_its_time_is_over_with_all_that_it_started(
    started: Callable[..., Guarded],
) -> None:
    child = started(TWO.format(below=AWAIT, then=AWAIT))
    pids = child.pids()
    assert len(pids) == 2
    began = time.monotonic()
    for _ in range(4):  # each word gives it another half second, whatever was left of the last one
        child.say("0.5\n")
        time.sleep(0.2)
    assert child.ended() == guard.LAPSED
    assert 1.0 < time.monotonic() - began < 2.5
    assert are_gone(pids)


@pytest.mark.parametrize("then", [AWAIT, "while True: pass", "2 ** (1 << 40)"])
def test_child_ends_when_its_worker_is_gone_whatever_it_does(
    then: str, started: Callable[..., Guarded]
) -> None:
    """A power of that size is one instruction, during which no other thread is heard."""
    child = started(TWO.format(below=AWAIT, then=then))
    pids = child.pids()
    child.hang_up()
    assert child.ended() == guard.LAPSED
    assert are_gone(pids)


def test_child_that_is_stopped_ends_too(started: Callable[..., Guarded]) -> None:
    child = started(TWO.format(below=AWAIT, then=AWAIT))
    pids = child.pids()
    os.kill(pids[0], signal.SIGSTOP)
    child.say("0.3\n")
    assert child.ended() == guard.LAPSED
    assert are_gone(pids)


def test_words_that_come_in_pieces_count_once_they_are_whole(
    started: Callable[..., Guarded],
) -> None:
    child = started("import time; time.sleep(1.0)")
    child.say("0.")
    time.sleep(0.2)
    child.say("1\n30\n6")  # the last whole line counts; the piece behind it is none yet
    assert child.ended() == 0


def test_child_ends_with_its_guard(started: Callable[..., Guarded]) -> None:
    child = started(TWO.format(below="", then=AWAIT))
    pids = child.pids()
    child.process.kill()
    assert are_gone(pids)


def test_what_a_child_leaves_running_ends_with_it(started: Callable[..., Guarded]) -> None:
    child = started(TWO.format(below=AWAIT, then=""))
    pids = child.pids()
    assert child.ended() == 0
    assert are_gone(pids)


TAKE = "taken = bytearray({size} << 20)\nimport time; time.sleep({seconds})"


def test_memory_of_all_processes_counts_together(started: Callable[..., Guarded]) -> None:
    below, own = TAKE.format(size=40, seconds=60), TAKE.format(size=40, seconds=60)
    child = started(TWO.format(below=below, then=own), 60 << 20)
    pids = child.pids()
    assert child.ended() == guard.OVER_MEMORY
    assert are_gone(pids)


@pytest.mark.parametrize("limit", [0, 120 << 20])
def test_memory_within_the_limit_is_nobodys_business(
    limit: int, started: Callable[..., Guarded]
) -> None:
    """0 is no limit."""
    own = TAKE.format(size=40, seconds=0.5)
    assert started(TWO.format(below=own, then=own), limit).ended() == 0


def test_files_that_are_mapped_are_no_memory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(64 << 20))
    before = guard.memory_of(os.getpid())
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as read:
        assert sum(read[:: mmap.PAGESIZE]) == 0  # each page is there
        assert guard.memory_of(os.getpid()) - before < 16 << 20
    taken = bytearray(b"x" * (64 << 20))
    assert guard.memory_of(os.getpid()) - before > 48 << 20
    del taken


def test_process_that_has_ended_takes_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    assert guard.memory_of(ended.pid) == 0

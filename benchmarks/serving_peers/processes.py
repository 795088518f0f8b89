"""A server and its children as one: started, stopped for a while, measured, ended."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
END_SECONDS = 10.0


def family(pid: int) -> list[int]:
    """A process and all that descend from it (Linux)."""
    found = [pid]
    for each in found:
        for task in _tasks(each):
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def _tasks(pid: int) -> list[Path]:
    with suppress(OSError):
        return list(Path(f"/proc/{pid}/task").iterdir())
    return []


def memory_mb(pid: int) -> float:
    """Megabytes of a process and its descendants; a page that several share counts once."""
    total = 0
    for each in family(pid):
        with suppress(OSError):
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
            total += int(rollup.split("\nPss:")[1].split()[0])
    return total * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    """CPU time that a process and its descendants have taken."""
    ticks = 0
    for each in family(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def send(pid: int, number: signal.Signals) -> None:
    """Sends a signal to a process and its descendants.

    Args:
        pid: of the process.
        number: of the signal.
    """
    for each in family(pid):
        with suppress(ProcessLookupError):
            os.kill(each, number)


@contextmanager
def alone(pid: int) -> Iterator[None]:
    """A server that was stopped runs within the block, and is stopped again after it.

    An idle server is not always idle: one that looks for requests in a loop takes half of a
    processor, from whichever is measured.
    """
    send(pid, signal.SIGCONT)
    try:
        yield
    finally:
        send(pid, signal.SIGSTOP)


@contextmanager
def started(
    command: Sequence[str], variables: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A server as a group of processes of its own, which ends with the block.

    Args:
        command: its line.
        variables: of its environment, besides.
        log: takes what it prints.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        members = family(process.pid)  # some servers leave their children behind
        for number in (signal.SIGCONT, signal.SIGTERM):
            send(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=END_SECONDS)
        for each in members:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        process.wait()

"""Runs a function in a forked process with limits: memory, time, size of files, descriptors.

It has no network where the system can refuse it (`no_network`). Whatever becomes of the process - a
signal of a library, memory that is refused, a loop without end - its parent goes on and can tell.
Only on Linux; the process is forked, so that what is imported need not be imported again.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isslim.compress.ingest.limits import memory_for
from isslim.compress.processes.no_network import close_sockets, refuse_sockets

Send = Callable[[dict[str, Any]], None]
NICER = 5
"""How much lower the priority of such a process is: others answer requests meanwhile."""
MOST_SENT = 16 << 20
"""Bytes that a process may send."""
_TICK = 0.1
"""Seconds after which is looked at what a process does."""
_TAIL, _SEARCHED = 4000, 1 << 18
_DEATH_SIGNAL = 1
_NO_MEMORY = 3
"""Exit status when memory was refused."""


@dataclass(frozen=True)
class Limits:
    """What a process may take.

    Attributes:
        memory_bytes: beyond what is in use when it is forked.
        seconds: that it may run or wait for something. Those for which it could have run, and
            others did, are added: on a busy host the same work takes longer.
        most_seconds: on the clock, whatever others do.
        file_bytes: largest file that it may write.
        descriptors: that it may have open.
    """

    memory_bytes: int
    seconds: float
    most_seconds: float
    file_bytes: int
    descriptors: int = 512


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: its exit status; negative: the signal that ended it.
        out_of_time: whether its time was up.
        waited: seconds for which it could have run, and others did.
        out_of_memory: whether memory was refused to it.
        peak_bytes: most memory that it had at a time.
        sent: what it sent, in order.
        written: the end of what it wrote to standard error.
    """

    code: int
    out_of_time: bool = False
    waited: float = 0.0
    out_of_memory: bool = False
    peak_bytes: int = 0
    sent: list[dict[str, Any]] = field(default_factory=list)
    written: str = ""


def run_confined(do: Callable[[Send], object], limits: Limits, folder: Path) -> Ended:
    """Runs a function in a forked process and waits for its end.

    Args:
        do: is given a function that sends a JSON object to this process.
        limits: that hold for it.
        folder: its temporary files are created there.

    Returns:
        How it ended; it raises nothing that `do` does.
    """
    receiving, sending = os.pipe()
    with tempfile.TemporaryFile(dir=folder) as errors:
        gc.collect()  # less that a fork copies
        with warnings.catch_warnings():
            # Only this thread goes on in the fork; the watchdog's holds no lock.
            warnings.simplefilter("ignore", DeprecationWarning)
            process = os.fork()
        if process == 0:
            os.close(receiving)
            os.dup2(errors.fileno(), 2)
            _confined(do, limits, folder, sending)
        os.close(sending)
        clock = _Clock(process)
        content, is_whole = _received(receiving, clock, limits)
        if not is_whole:
            os.kill(process, signal.SIGKILL)
        _, status, used = os.wait4(process, 0)
        written = _tail(errors.fileno())
    code = os.waitstatus_to_exitcode(status)
    # Libraries end the process when an allocation fails: those of C++, and those of Rust.
    told = any(words in written for words in ("bad_alloc", "memory allocation of"))
    too_much = len(content) > MOST_SENT
    return Ended(
        code,
        out_of_time=(not is_whole and not too_much) or code == -signal.SIGXCPU,
        waited=clock.passed - clock.own,
        out_of_memory=too_much or code == _NO_MEMORY or (code < 0 and told),
        peak_bytes=used.ru_maxrss * 1024,
        sent=_lines(content),
        written=written[-_TAIL:],
    )


def _confined(do: Callable[[Send], object], limits: Limits, folder: Path, sending: int) -> None:
    """The forked process, which never returns."""
    code = 1
    try:
        _limit(limits, folder)

        def send(line: dict[str, Any]) -> None:
            with os.fdopen(os.dup(sending), "wb") as file:
                file.write(json.dumps(line).encode() + b"\n")

        with memory_for(limits.memory_bytes):
            do(send)
        code = 0
    except MemoryError:
        code = _NO_MEMORY
    except BaseException:
        with suppress(Exception):
            os.write(2, traceback.format_exc().encode(errors="replace")[-_TAIL:])
    finally:
        os._exit(code)  # nothing of the parent's is ended twice


def _limit(limits: Limits, folder: Path) -> None:
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    close_sockets()
    refuse_sockets()
    tempfile.tempdir = str(folder)
    os.nice(NICER)
    cores = len(os.sched_getaffinity(0))
    for limit, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, int(limits.seconds * cores) + 1),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.descriptors),
    ):
        _, hard = resource.getrlimit(limit)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (allowed, allowed))


def _received(descriptor: int, clock: _Clock, limits: Limits) -> tuple[bytes, bool]:
    """All that a process sends until its end closes, and whether it did."""
    content = bytearray()
    try:
        while len(content) <= MOST_SENT:
            clock.read()
            if clock.own >= limits.seconds or clock.passed >= limits.most_seconds:
                break
            if select.select([descriptor], [], [], _TICK)[0]:
                chunk = os.read(descriptor, 1 << 16)
                if not chunk:
                    return bytes(content), True
                content += chunk
        return bytes(content), False
    finally:
        os.close(descriptor)


class _Clock:
    """Time since a process began, and how much of it was its own.

    Its own is what it ran or slept. While it could run, what it did not get was given to others.
    """

    def __init__(self, process: int) -> None:
        self._folder, self._began = Path(f"/proc/{process}"), time.monotonic()
        self.passed = self.own = self._ran = 0.0

    def read(self) -> None:
        """Brings `passed` and `own` up to date, in seconds."""
        passed = time.monotonic() - self._began
        share = passed - self.passed
        with suppress(OSError, IndexError, ValueError):
            ran = int((self._folder / "schedstat").read_text().split()[0]) / 1e9
            state = (self._folder / "stat").read_text().rpartition(")")[2].split()[0]
            if state == "R":
                share = min(share, ran - self._ran)
            self._ran = ran
        self.passed, self.own = passed, self.own + share


def _lines(content: bytes) -> list[dict[str, Any]]:
    """The objects that arrived whole."""
    if len(content) > MOST_SENT:
        return []
    lines, _, _ = content.rpartition(b"\n")
    found = []
    for line in lines.split(b"\n"):
        with suppress(ValueError):
            found.append(json.loads(line))
    return found


def _tail(descriptor: int) -> str:
    start = max(0, os.fstat(descriptor).st_size - _SEARCHED)
    return os.pread(descriptor, _SEARCHED, start).decode(errors="replace")


IS_POSSIBLE = sys.platform == "linux"

"""Limits around a child: its worker's lease, whether it is still wanted, time and memory."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from isslim.compress.processes import guard
from isslim.store.errors import Unavailable
from isslim.types.problem import Problem

LOOK_SECONDS, WANTED_SECONDS, STOP_SECONDS = 0.25, 0.5, 2.0
"""Between looks; between questions whether it is wanted; how long a guard may take to end."""


class Stop(Enum):
    """Why a child was ended, through no fault of its own."""

    LAPSED = "its worker was not heard for the time of a lease"
    UNWANTED = "it was cancelled, or is another worker's now"
    LEAVING = "its worker was told to stop"
    KILLED = "its process was killed"


@dataclass(frozen=True)
class Limits:
    """Limits of one child.

    Attributes:
        memory_bytes: of its processes together; 0: none.
        stage_seconds: for each stage of the pipeline.
        still_seconds: without any news.
    """

    memory_bytes: int = 0
    stage_seconds: float = float("inf")
    still_seconds: float = float("inf")


@dataclass(frozen=True)
class Ties:
    """What a child hangs on.

    Attributes:
        remaining: seconds for which it may go on without another word.
        is_wanted: whether its work is still wanted; in a thread, it may ask the database.
        is_leaving: whether its worker was told to stop.
    """

    remaining: Callable[[], float]
    is_wanted: Callable[[], bool]
    is_leaving: Callable[[], bool]


@dataclass
class Pulse:
    """What a child was last heard of.

    Attributes:
        stage: the present one.
        stage_since: when it began, in seconds of `time.monotonic`.
        heard: when there were news last.
    """

    stage: str
    stage_since: float
    heard: float

    @classmethod
    def begin(cls) -> Pulse:
        """Of a child that starts now."""
        moment = time.monotonic()
        return cls("", moment, moment)

    def news(self, stage: str) -> None:
        """Notes that there is progress.

        Args:
            stage: that it is in.
        """
        self.heard = time.monotonic()
        if stage != self.stage:
            self.stage, self.stage_since = stage, self.heard


def guarded(command: list[str], limits: Limits) -> list[str]:
    """A command as it is started: below a guard.

    Args:
        command: program and arguments.
        limits: of its memory.
    """
    program = Path(guard.__file__)
    return [sys.executable, "-I", "-S", str(program), str(limits.memory_bytes), *command]


async def oversee(
    child: asyncio.subprocess.Process, pulse: Pulse, limits: Limits, ties: Ties
) -> Stop | Problem:
    """Lets a child go on for as long as it may.

    Args:
        child: a guard.
        pulse: is updated by whoever listens to it.
        limits: of its time.
        ties: what it hangs on.

    Returns:
        Why it has to end.
    """
    asked = time.monotonic()
    while True:
        if ties.is_leaving():
            return Stop.LEAVING
        remaining = ties.remaining()
        if remaining <= 0:
            return Stop.LAPSED
        _say(child, f"{remaining:.3f}\n")
        if (problem := _too_long(pulse, limits)) is not None:
            return problem
        if time.monotonic() - asked >= WANTED_SECONDS:
            # Whether the database answers is the lease's business.
            with suppress(Unavailable):
                if not await asyncio.to_thread(ties.is_wanted):
                    return Stop.UNWANTED
            asked = time.monotonic()
        await asyncio.sleep(LOOK_SECONDS)


async def end(child: asyncio.subprocess.Process) -> None:
    """Ends a child and all that it started, and waits for it."""
    if child.returncode is not None:
        return
    if child.stdin is not None:
        child.stdin.close()  # its guard kills the whole group
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(child.wait()), STOP_SECONDS)
        return
    with suppress(ProcessLookupError):
        child.kill()  # and the kernel kills what is below it
    await child.wait()


def fault_of(code: int, limits: Limits, stage: str) -> Stop | Problem | None:
    """What a guard's exit status says besides the child's own.

    Args:
        code: the exit status.
        limits: of the child.
        stage: that it was in.
    """
    if code == guard.LAPSED:
        return Stop.LAPSED
    if code == guard.OVER_MEMORY:
        return Problem(
            kind="out-of-memory",
            title="The job takes too much memory",
            detail=f"its processes took more than {limits.memory_bytes:,} bytes in stage "
            f"'{stage or 'start'}', and were ended: send less calibration data or a smaller model; "
            "the operator can raise ISS_JOB_MEMORY_BYTES",
        )
    return None


def _too_long(pulse: Pulse, limits: Limits) -> Problem | None:
    moment, stage = time.monotonic(), pulse.stage or "start"
    if moment - pulse.stage_since > limits.stage_seconds:
        return Problem(
            kind="stage-too-long",
            title="A stage takes too long",
            detail=f"stage '{stage}' was ended after {limits.stage_seconds:g} seconds: ask for "
            "fewer minutes or epochs, or send less data; the operator can raise ISS_STAGE_SECONDS",
        )
    if moment - pulse.heard > limits.still_seconds:
        return Problem(
            kind="no-progress",
            title="The job stands still",
            detail=f"nothing was heard of it for {limits.still_seconds:g} seconds in stage "
            f"'{stage}', and it was ended: it may be stopped, or be caught in a loop; the operator "
            "can raise ISS_STILL_SECONDS",
        )
    return None


def _say(child: asyncio.subprocess.Process, line: str) -> None:
    with suppress(OSError, RuntimeError):  # it has just ended
        if child.stdin is not None and child.stdin.transport.get_write_buffer_size() < 1 << 16:
            child.stdin.write(line.encode())

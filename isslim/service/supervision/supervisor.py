"""Keeps several service processes alive behind one port, and restarts or stops them in order."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from math import inf
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from uvicorn.config import STARTUP_FAILURE

from isslim.service.siblings import BEAT, READY

TICK_SECONDS = 0.2
"""How often signals and due times are looked at; what processes send or how they end is at once."""
START_SECONDS = 120.0
"""After which a process that is not ready is given up."""
STOP_ROOM_SECONDS = 4.0
"""After which, beyond the time that requests have to end, a process that should end is killed."""
STEADY_SECONDS, MAX_PAUSE_SECONDS = 60.0, 30.0
"""How long a process has to live for its end to be the first of its place again, and the longest
pause before a replacement."""
_LOG = logging.getLogger("service.processes")
_CONTEXT = multiprocessing.get_context("spawn")
Target = Callable[[int, Connection], object]
"""What a process runs: it takes its place, from 0, and its connection to the supervisor."""


class _State(Enum):
    STARTING, SERVING, ENDING = auto(), auto(), auto()


@dataclass(eq=False)
class _Process:
    """A process.

    Attributes:
        place: which of the service's it is, from 0; during a restart two have the same.
        process: it.
        connection: to it.
        began: when, by `time.monotonic`.
        until: when it is killed, unless it has become ready, shown that it lives, or ended by then.
    """

    place: int
    process: SpawnProcess
    connection: Connection
    began: float
    until: float
    state: _State = _State.STARTING


@dataclass
class _Place:
    """How often in a row its processes ended unasked, and when the next one may start."""

    ends: int = 0
    due: float = 0.0


@dataclass
class Supervisor:
    """Starts the processes, replaces those that end, and stops them.

    The first one starts alone: what keeps it from starting would keep all others from it as well,
    and ends the service.

    Attributes:
        target: what each runs; it can be pickled.
        count: of processes.
        stop_seconds: how long each has to end its requests.
        hang_seconds: after which one that serves and does not say that it lives is killed.
        stopping: called once all are to end, perhaps several times.
        gone: called with the id of a process that has ended.
    """

    target: Target
    count: int
    stop_seconds: float
    hang_seconds: float
    stopping: Callable[[], object]
    gone: Callable[[int], object]
    _processes: list[_Process] = field(default_factory=list)
    _to_restart: deque[int] = field(default_factory=deque)
    _stopped_by: int = 0
    _failure: int = 0
    _has_served: bool = False

    def __post_init__(self) -> None:
        self._watched = time.monotonic()
        self._places = [_Place() for _ in range(self.count)]

    def run(self) -> int:
        """Until SIGTERM, SIGINT or a first process that does not start; SIGHUP restarts all.

        Returns:
            The signal, or 0 and less: less the status of the process that did not start.
        """
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(each, self._signalled)
        while self._processes or not self._is_stopping():
            if self._is_stopping():
                self.stopping()
                for process in self._processes:
                    self._end(process)
            else:
                self._restart_next()
                self._fill_places()
            self._watch()
        return self._stopped_by or -self._failure

    def _signalled(self, sent: int, frame: FrameType | None) -> None:
        if sent == signal.SIGHUP:
            self._to_restart = deque(range(self.count))
        else:
            self._stopped_by = sent

    def _is_stopping(self) -> bool:
        return bool(self._stopped_by or self._failure)

    def _start(self, place: int) -> None:
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=self.target, args=(place, theirs))
        process.start()
        theirs.close()
        now = time.monotonic()
        self._processes.append(_Process(place, process, ours, now, now + START_SECONDS))

    def _end(self, process: _Process) -> None:
        if process.state is not _State.ENDING:
            process.state = _State.ENDING
            process.until = time.monotonic() + self.stop_seconds + STOP_ROOM_SECONDS
            process.process.terminate()

    def _in_place(self, place: int) -> Iterator[_Process]:
        for process in self._processes:
            if process.place == place and process.state is not _State.ENDING:
                yield process

    def _restart_next(self) -> None:
        """Starts a replacement, one at a time: the one before is ready, and the old one ended."""
        if self._to_restart and all(each.state is _State.SERVING for each in self._processes):
            self._start(self._to_restart.popleft())

    def _fill_places(self) -> None:
        for index, place in enumerate(self._places):
            is_empty = not any(self._in_place(index))
            if is_empty and time.monotonic() >= place.due and (self._has_served or index == 0):
                self._start(index)

    def _watch(self) -> None:
        """Waits for a moment for what processes send, and for their ends."""
        wait(
            [each.connection for each in self._processes]
            + [each.process.sentinel for each in self._processes],
            TICK_SECONDS,
        )
        self._forgive_own_absence()
        for process in list(self._processes):
            self._receive(process)
            if process.process.exitcode is not None:
                self._note_end(process, process.process.exitcode)
            elif time.monotonic() > process.until:
                task = _TASKS[process.state].format(seconds=self.hang_seconds)
                _LOG.error("a process of the service does not %s: killed", task)
                process.until = inf
                process.process.kill()

    def _forgive_own_absence(self) -> None:
        """Grants all processes the time anew in which this one, or the machine, stood still."""
        now = time.monotonic()
        if now - self._watched > self.hang_seconds / 2:
            for process in self._processes:
                process.until += now - self._watched
        self._watched = now

    def _receive(self, process: _Process) -> None:
        with suppress(EOFError, OSError):  # it has ended
            while process.connection.poll():
                message = process.connection.recv()
                if message == (READY,):
                    self._note_ready(process)
                    continue
                if message == (BEAT,):
                    if process.state is _State.SERVING:
                        process.until = time.monotonic() + self.hang_seconds
                    continue
                for other in self._processes:
                    if other is not process:
                        with suppress(OSError):
                            other.connection.send(message)

    def _note_ready(self, process: _Process) -> None:
        if process.state is not _State.STARTING:
            return
        for old in list(self._in_place(process.place)):
            if old is not process:
                self._end(old)
        process.state, self._has_served = _State.SERVING, True
        process.until = time.monotonic() + self.hang_seconds
        _LOG.info("process %d serves", process.process.pid)

    def _note_end(self, process: _Process, status: int) -> None:
        self._processes.remove(process)
        process.connection.close()
        self.gone(process.process.pid or 0)
        if process.state is _State.ENDING or self._is_stopping():
            return
        if not self._has_served:
            self._failure = status if status > 0 else STARTUP_FAILURE
        elif any(self._in_place(process.place)):
            _LOG.error("a new process ended with status %d: no more are restarted", status)
            self._to_restart.clear()
        else:
            place, now = self._places[process.place], time.monotonic()
            place.ends = 1 if now - process.began > STEADY_SECONDS else place.ends + 1
            pause = min(MAX_PAUSE_SECONDS, 2.0 ** (place.ends - 2)) if place.ends > 1 else 0.0
            place.due = now + pause
            _LOG.error(
                "a process of the service ended with status %d; replaced in %g s", status, pause
            )


_TASKS = {
    _State.STARTING: "become ready",
    _State.SERVING: "go on, for {seconds:g} s",
    _State.ENDING: "end",
}

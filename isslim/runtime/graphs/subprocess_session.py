"""Runs a graph in a process of its own.

A published graph is untrusted: on a caller's inputs it may exhaust the memory or never end, and
ONNX Runtime ends the whole process where an LSTM or GRU is left without steps. The service must
survive this, so the graph runs in a child process under a memory limit; when that process ends, or
is ended because a run takes too long, the next run starts a new one. It never outlives its parent.
"""

from __future__ import annotations

import copy
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from isslim.runtime.errors import DeviceUnavailable, GraphRefused, InputsRefused, RunStopped
from isslim.runtime.graphs.recorded_inputs import GraphInterface, GraphSession, NamedArrays
from isslim.runtime.opening import devices
from isslim.runtime.run_control import RunControl

ENDED = (
    "the graph's process ended on these inputs: they leave an operator nothing to work on, or "
    "take too much memory"
)
OPEN_SECONDS = 300.0
"""Time limit for a process to open its graph."""
END_SECONDS = 1.0
"""Time that a process has to exit before it is killed."""
Outputs = tuple[dict[str, NDArray[Any]], float]


class SubprocessGraphSession(GraphInterface):
    """Runs a graph in a child process, started when needed; any thread may request a run.

    Args:
        path: the graph's file.
        threads: how many threads one run may use, 1 or more.
        device: one of `devices()`.
        memory_bytes: what the process may allocate beyond its size once the graph is open.

    Raises:
        DeviceUnavailable: when ONNX Runtime does not offer the device.
        GraphRefused: when the file is no graph.
    """

    def __init__(self, path: Path, *, threads: int, device: str, memory_bytes: int) -> None:
        if device not in devices():
            raise DeviceUnavailable(device, devices())
        self.path = path
        self._child = _GraphProcess(path, [str(path), str(threads), device, str(memory_bytes)])
        self._control: RunControl | None = None
        self.inputs, self.outputs = self._child.signature

    def bound(self, control: RunControl) -> Self:
        """The same process as a session whose runs `control` can stop, by ending the process."""
        session = copy.copy(self)
        session._control = control
        return session

    def run(self, inputs: NamedArrays, names: Sequence[str]) -> Outputs:
        """Runs the graph once.

        Args:
            inputs: as `checked` gives them.
            names: of the requested outputs.

        Returns:
            Outputs by name, and the milliseconds that ONNX Runtime took.

        Raises:
            InputsRefused: when the graph cannot be run on them.
            RunStopped: when the control ended the run, or the session was closed meanwhile.
        """
        return self._child.run(inputs, names, self._control)

    def close(self) -> None:
        """Ends the process and its current run; a later run starts a new process."""
        self._child.close()


class _GraphProcess:
    """The process, and the socket to it. It is ended when this object is no longer referenced.

    Args:
        path: the graph's file.
        arguments: command-line arguments of the process.

    Attributes:
        process: None when none is running.
        signature: the graph's inputs and outputs, see `GraphInterface`.
    """

    def __init__(self, path: Path, arguments: list[str]) -> None:
        self._path, self._arguments = path, arguments
        self._turn = threading.Lock()
        self._closing = False
        self.process: subprocess.Popen[bytes] | None = None
        self._connection, self.signature = self._start()

    def run(self, inputs: NamedArrays, names: Sequence[str], control: RunControl | None) -> Outputs:
        """One run, when it is its turn; see `SubprocessGraphSession.run`."""
        stoppable = nullcontext() if control is None else control.on_stop(self._kill)
        with self._turn, stoppable:
            self._closing = False
            if self.process is not None and self.process.poll() is not None:
                self._end()  # it ended between two runs: these inputs are not to blame
            try:
                if self.process is None:
                    self._connection, _ = self._start()
                self._connection.send((inputs, list(names)))
                outputs, milliseconds, issues = self._connection.recv()
            except (EOFError, OSError, GraphRefused) as gone:
                self._end()
                if self._closing or (control is not None and control.stopped):
                    raise RunStopped from gone
                if isinstance(gone, GraphRefused):
                    raise
                raise InputsRefused([ENDED]) from gone
        if issues:
            raise InputsRefused(issues)
        return outputs, milliseconds

    def close(self) -> None:
        """Ends the process, and with it its current run."""
        if not self._turn.acquire(blocking=False):
            self._closing = True
            self._kill()
            self._turn.acquire()
        try:
            self._end()
        finally:
            self._turn.release()

    def __del__(self) -> None:
        if self.process is not None:
            self._end()

    def _start(self) -> tuple[Connection, tuple[Any, Any]]:
        ours, theirs = Pipe()
        module = "isslim.runtime.graphs.subprocess_session"
        command = [sys.executable, "-P", "-m", module, str(theirs.fileno()), *self._arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
        )
        self._connection = ours
        theirs.close()
        try:
            if ours.poll(OPEN_SECONDS):
                ports, issues = ours.recv()
            else:
                ports, issues = None, [f"it was not open after {OPEN_SECONDS:g} s"]
        except EOFError:
            ports, issues = None, ["its process ended before it was open"]
        if issues:
            self._end()
            raise GraphRefused(self._path, issues)
        return ours, ports

    def _kill(self) -> None:
        """Kills the process; the thread that waits for its answer finds the socket closed."""
        process = self.process
        if process is not None:
            process.kill()

    def _end(self) -> None:
        self._connection.close()  # the process notices this, whatever it is doing, and exits
        if self.process is not None:
            try:
                self.process.wait(timeout=END_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None


def _serve(
    connection: Connection, path: Path, threads: int, device: str, memory_bytes: int
) -> None:
    """The process: opens the graph, and serves runs until its parent closes the socket."""
    try:
        graph = GraphSession(path, threads=threads, device=device)
    except GraphRefused as refused:
        connection.send((None, refused.issues))
        return
    connection.send(((graph.inputs, graph.outputs), []))
    _limit(memory_bytes)
    while True:
        try:
            inputs, names = connection.recv()
        except EOFError:
            return
        began = time.perf_counter()
        try:
            outputs = graph.run(inputs, names)
        except InputsRefused as refused:
            connection.send(({}, 0.0, refused.issues))
        else:
            connection.send((outputs, 1e3 * (time.perf_counter() - began), []))


def _leave_with_parent(connection: Connection) -> None:
    """Ends this process, even during a run, as soon as the other end of the socket closes.

    Only the parent process holds that end, so the system closes it however the parent ends.
    (A signal at the parent's death would come too early: Linux sends it when the thread that
    started this process ends.)
    """
    poller = select.poll()
    poller.register(connection.fileno(), 0)  # a hang-up of the other end is always reported

    def watch() -> None:
        while not poller.poll():
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _limit(memory_bytes: int) -> None:
    """Limits the address space, so that a run that needs more is refused memory."""
    status = Path("/proc/self/statm")
    if not status.exists():
        return  # only Linux reports the current size; elsewhere runs have no limit
    held = int(status.read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = held + memory_bytes
    resource.setrlimit(
        resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
    )


def main() -> None:
    """The process; its arguments: its socket's number, the graph's file, threads, device, bytes."""
    # Ctrl-C reaches all processes of a terminal: the service ends first, and this one after it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    number, path, threads, device, memory_bytes = sys.argv[1:]
    connection = Connection(int(number))
    _leave_with_parent(connection)
    _serve(connection, Path(path), int(threads), device, int(memory_bytes))


if __name__ == "__main__":
    main()

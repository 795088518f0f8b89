"""A graph that is run in a process of its own.

A published graph is anyone's: what a caller's inputs make of it may take all memory, and ONNX
Runtime ends the whole process where an LSTM or GRU is left without steps. The service must live on,
so the graph runs beside it, under a limit on memory; when that process ends, the run is refused and
the next one starts a new process.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from isslim.runtime.errors import DeviceUnavailable, GraphRefused, InputsRefused
from isslim.runtime.graphs.recorded_inputs import GraphInterface, GraphSession, NamedArrays
from isslim.runtime.opening import devices

ENDED = "the graph's process ended on these inputs: they leave an operator nothing to work on, or take too much memory"


class SubprocessGraphSession(GraphInterface):
    """Runs one after the other, asked for by any thread, in a process that is started when it is needed.

    Args:
        path: the graph's file.
        threads: how many threads one run may use, 1 or more.
        device: one of `devices()`.
        memory_bytes: what the process may take beyond what it has when the graph is open.

    Raises:
        DeviceUnavailable: when ONNX Runtime does not offer the device.
        GraphRefused: when the file is no graph.
    """

    def __init__(self, path: Path, *, threads: int, device: str, memory_bytes: int) -> None:
        if device not in devices():
            raise DeviceUnavailable(device, devices())
        self.path = path
        self._arguments = [str(path), str(threads), device, str(memory_bytes)]
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection, (self.inputs, self.outputs) = self._started()

    def run(
        self, inputs: NamedArrays, names: Sequence[str]
    ) -> tuple[dict[str, NDArray[Any]], float]:
        """Runs the graph once.

        Args:
            inputs: as `checked` gives them.
            names: of the outputs that are wanted.

        Returns:
            Outputs by name, and the milliseconds that ONNX Runtime took.

        Raises:
            InputsRefused: when the graph cannot be run on them.
        """
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                self._end()  # it went between two runs: these inputs are not to blame
            if self._process is None:
                self._connection, _ = self._started()
            try:
                self._connection.send((inputs, list(names)))
                outputs, milliseconds, issues = self._connection.recv()
            except (EOFError, OSError) as gone:
                self._end()
                raise InputsRefused([ENDED]) from gone
        if issues:
            raise InputsRefused(issues)
        return outputs, milliseconds

    def close(self) -> None:
        """Ends the process; a later run starts another."""
        with self._lock:
            self._end()

    def __del__(self) -> None:
        if getattr(self, "_process", None) is not None:
            self._end()

    def _started(self) -> tuple[Connection, tuple[Any, Any]]:
        ours, theirs = Pipe()
        command = [
            sys.executable,
            "-P",
            "-m",
            "isslim.runtime.graphs.subprocess_session",
            str(theirs.fileno()),
            *self._arguments,
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
        )
        theirs.close()
        try:
            ports, issues = ours.recv()
        except EOFError:
            ports, issues = None, ["its process ended before it was open"]
        if issues:
            self._connection = ours
            self._end()
            raise GraphRefused(self.path, issues)
        return ours, ports

    def _end(self) -> None:
        self._connection.close()  # a process that waits to be asked sees that, and leaves
        if self._process is not None:
            try:
                self._process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None


def _serve(
    connection: Connection, path: Path, threads: int, device: str, memory_bytes: int
) -> None:
    """The process: opens the graph, and runs it until nobody asks any more."""
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


def _limit(memory_bytes: int) -> None:
    """Holds the address space to what there is and some more: ONNX Runtime then says of a run that it cannot be had."""
    status = Path("/proc/self/statm")
    if not status.exists():
        return  # only Linux tells; elsewhere a run may take what there is
    held = int(status.read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = held + memory_bytes
    resource.setrlimit(
        resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
    )


if __name__ == "__main__":
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all: the service ends first, and this one after it
    number, graph_path, count, chosen, allowed = sys.argv[1:]
    _serve(Connection(int(number)), Path(graph_path), int(count), chosen, int(allowed))

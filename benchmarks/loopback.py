"""A real service process on the loopback interface, and the plainest client there is.

What a richer client adds on its own side (a third of a millisecond and more for headers as objects)
is not the service's time.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from isslim.client.api import Client
from isslim.demo.ports import free_port

Asked = TypeVar("Asked")
OK = b"HTTP/1.1 200"
RECEIVED_AT_ONCE = 1 << 16


@contextmanager
def serving(
    home: Path, variables: dict[str, str] | None = None, source: Path | None = None
) -> Iterator[tuple[str, int]]:
    """A service over a home, ready to answer: its address and process id.

    Args:
        home: with the models.
        variables: of its environment, besides.
        source: checkout of the version that is started; None: what is imported here.
    """
    port = free_port()
    environment = os.environ | {"ISS_HOME": str(home), "ISS_PORT": str(port)}
    environment |= variables or {}
    if source is not None:
        environment["PYTHONPATH"] = str(source)
    command = [sys.executable, "-m", "isslim.service"]
    process = subprocess.Popen(command, env=environment, cwd=source)
    try:
        url = f"http://127.0.0.1:{port}"
        with Client(url) as client:
            while not client.ready():
                if process.poll() is not None:
                    raise RuntimeError(
                        f"the service ended with status {process.returncode} before it was ready"
                    )
                time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


def paired(
    ask: Callable[[], Asked], run: Callable[[], object], rounds: int, warm_up: int
) -> tuple[dict[str, float], list[Asked]]:
    """Requests and the runtime's own runs of the same, taken in turn.

    Returns:
        Medians in milliseconds: `http_ms`, `runtime_ms`, and `overhead_ms` of the differences of
        neighbours in time, so that the machine's drift is in both; and what the requests answered.
    """
    over_http, direct, answers = list[float](), list[float](), list[Asked]()
    for index in range(rounds + warm_up):
        started = time.perf_counter()
        answered = ask()
        middle = time.perf_counter()
        run()
        if index >= warm_up:
            over_http.append(1e3 * (middle - started))
            direct.append(1e3 * (time.perf_counter() - middle))
            answers.append(answered)
    added = [one - two for one, two in zip(over_http, direct, strict=True)]
    medians = map(statistics.median, (over_http, direct, added))
    return dict(zip(("http_ms", "runtime_ms", "overhead_ms"), medians, strict=True)), answers


class PlainClient:
    """One connection that is kept open (HTTP/1.1, RFC 9112); bodies are JSON.

    Args:
        url: such as `http://127.0.0.1:8000`.
        headers: of every request, besides.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        address = urlsplit(url)
        sent = {"host": address.netloc, "content-type": "application/json"} | dict(headers or {})
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        self._socket = socket.create_connection((address.hostname, address.port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> PlainClient:
        return self

    def __exit__(self, *_: Any) -> None:
        self._socket.close()

    def post(self, path: str, body: str) -> tuple[dict[str, str], bytes]:
        """Sends a body and waits for the whole answer.

        Returns:
            Its headers, names in lower case, and its body.

        Raises:
            RuntimeError: when the status is not 200, with what was answered.
            ConnectionError: when the connection ends before the answer does.
        """
        self._send(path, body)
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._more()
        status, *lines = received[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = end + 4 + int(headers["content-length"])
        while len(received) < length:
            received += self._more()
        if not received.startswith(OK):
            raise RuntimeError(
                f"{path} answered {status}: {received[end + 4 :].decode(errors='replace')}"
            )
        return headers, received[end + 4 :]

    def stream(self, path: str, body: str) -> bytes:
        """Sends a body and waits for the end of an answer that comes in chunks.

        Returns:
            All of it, with its head and the lengths of its chunks.

        Raises:
            RuntimeError: when the status is not 200, with what was answered.
            ConnectionError: when the connection ends before the answer does.
        """
        self._send(path, body)
        received = self._more()
        if not received.startswith(OK):
            raise RuntimeError(f"{path} answered {received.decode(errors='replace')}")
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += self._more()
        return received

    def _send(self, path: str, body: str) -> None:
        content = body.encode()
        head = f"POST {path} HTTP/1.1\r\n{self._headers}"
        self._socket.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)

    def _more(self) -> bytes:
        part = self._socket.recv(RECEIVED_AT_ONCE)
        if not part:
            raise ConnectionError("the service closed the connection before its answer ended")
        return part

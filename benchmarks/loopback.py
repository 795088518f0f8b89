"""A real service process on the loopback interface, and the plainest client there is.

What a richer client adds on its own side (a third of a millisecond and more for headers as objects) is not the service's time.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from client.api import Client
from examples.demo import free_port

OK = b"HTTP/1.1 200"
RECEIVED_AT_ONCE = 1 << 16


@contextmanager
def serving(home: Path) -> Iterator[tuple[str, int]]:
    """A service process over a home, ready to answer: its address and process id."""
    port = free_port()
    environment = os.environ | {"ISS_HOME": str(home), "ISS_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", "service"], env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        with Client(url) as client:
            while not client.ready():
                if process.poll() is not None:
                    raise RuntimeError(f"the service ended with status {process.returncode} before it was ready")
                time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


class PlainClient:
    """One connection that is kept open (HTTP/1.1, RFC 9112); bodies are JSON.

    Args:
        url: such as `http://127.0.0.1:8000`.
    """

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host = address.netloc
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
        content = body.encode()
        head = f"POST {path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/json\r\n"
        self._socket.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
        received, end = b"", -1
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._more()
        status, *lines = received[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = end + 4 + int(headers["content-length"])
        while len(received) < length:
            received += self._more()
        if not received.startswith(OK):
            raise RuntimeError(f"{path} answered {status}: {received[end + 4 :].decode(errors='replace')}")
        return headers, received[end + 4 :]

    def _more(self) -> bytes:
        part = self._socket.recv(RECEIVED_AT_ONCE)
        if not part:
            raise ConnectionError("the service closed the connection before its answer ended")
        return part

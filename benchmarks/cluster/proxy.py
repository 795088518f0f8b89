"""A TCP proxy on loopback that refuses, delays or cuts connections, as a bad network does."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Self

PIECE_BYTES = 1 << 16


class Proxy:
    """Passes connections on to a port, from the beginning of the block to its end.

    Attributes:
        port: on 127.0.0.1.
        delay: seconds by which each piece from the server is held up.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.delay = 0.0

    def __enter__(self) -> Self:
        self._listen(0)
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()

    def refuse(self) -> None:
        """Cuts all connections, and refuses others, until `accept`."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()

    def accept(self) -> None:
        """Takes connections again, at the same port."""
        if self._listener is None:
            self._listen(self.port)

    def cut(self) -> None:
        """Ends all connections that there are."""
        with self._lock:
            ended, self._open = self._open, set()
        for each in ended:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _listen(self, port: int) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        self.port: int = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._take, args=(listener,), daemon=True).start()

    def _take(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            for source, target, delayed in ((client, server, False), (server, client, True)):
                threading.Thread(
                    target=self._pass_on, args=(source, target, delayed), daemon=True
                ).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, delayed: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                if delayed and self.delay:
                    time.sleep(self.delay)
                target.sendall(piece)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        with self._lock:
            self._open -= {source, target}

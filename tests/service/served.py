"""Service and worker as processes of their own, on the loopback interface."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isslim.client.api import Client
from isslim.demo.ports import free_port


def wait_for(client: Client) -> None:
    limit = time.monotonic() + 60
    while not client.ready():
        assert time.monotonic() < limit
        time.sleep(0.1)


class served:  # noqa: N801
    """A service process; with `LIMIT`, no file of it may grow beyond so many bytes.

    Attributes:
        process: it.
        url: its address.
        log: what it writes to standard error.
    """

    def __init__(self, home: Path, limits: dict[str, str], log: Path = Path(os.devnull)) -> None:
        self._port, self.log = free_port(), log
        self._environment = (
            os.environ | {"ISS_HOME": str(home), "ISS_PORT": str(self._port)} | limits
        )

    def __enter__(self) -> str:
        code = (
            "import os, resource, signal\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "limit = int(os.environ.get('LIMIT', '-1'))\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
            "from isslim.service.__main__ import main\n"
            "main()\n"
        )
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], env=self._environment, stderr=log
            )
        self.url = f"http://127.0.0.1:{self._port}"
        with Client(self.url) as client:
            wait_for(client)
        return self.url

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(timeout=20)


@contextmanager
def service_and_worker(home: Path, **environment: str) -> Iterator[str]:
    """Both over one home, with further variables; the service's address."""
    port = free_port()
    variables = {"ISS_HOME": str(home), "ISS_PORT": str(port), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, "-m", module], env=os.environ | variables | environment)
        for module in ("isslim.service", "isslim.compress.worker")
    ]
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            wait_for(client)
        yield f"http://127.0.0.1:{port}"
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=20)

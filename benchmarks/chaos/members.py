"""The processes that trouble is made for: each is started again whenever it has ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from uuid import uuid4

from benchmarks.chaos.child import FOLDER
from benchmarks.cluster.object_storage import BUCKET, ObjectStorage
from benchmarks.cluster.postgres import Postgres
from benchmarks.cluster.proxy import Proxy
from isslim.demo.ports import free_port
from isslim.store.settings import StoreSettings

CHILD = [sys.executable, "-c", "from benchmarks.chaos.child import main; raise SystemExit(main())"]
CLOCK = Path(__file__).with_name("clock.c")
"""What shows a process another time, where there is a compiler for it."""
STOP_SECONDS = 20.0


@dataclass
class Member:
    """A service or a worker.

    Attributes:
        module: which of both.
        home: its folder.
        environment: of its process.
        url: of a service.
        clock: a file with the offset of its clock in seconds; None: it has the host's.
        process: the one that runs now.
    """

    module: str
    home: Path
    environment: Mapping[str, str]
    url: str = ""
    clock: Path | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def keep_alive(self) -> None:
        """Starts it, unless it runs."""
        if self.process is None or self.process.poll() is not None:
            with (self.home.with_suffix(".log")).open("a") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", self.module],
                    env=self.environment,
                    stdout=log,
                    stderr=log,
                )

    def kill(self, how: signal.Signals) -> bool:
        """Sends a signal; False when there is no process."""
        if self.process is None or self.process.poll() is not None:
            return False
        self.process.send_signal(how)
        return True

    def descendants(self) -> list[int]:
        """The ids of the processes that it has started, and that these have."""
        found = list[int]()
        waiting = [] if self.process is None else [self.process.pid]
        while waiting:
            each = waiting.pop()
            with suppress(OSError):
                for task in Path(f"/proc/{each}/task").iterdir():
                    started = [int(pid) for pid in (task / "children").read_text().split()]
                    waiting += started
                    found += started
        return found

    def stop(self) -> None:
        """Ends it and waits for it."""
        if self.process is not None:
            self.kill(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables of this process for the duration of the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Cluster:
    """Services and workers over one database and one storage, for a block.

    Args:
        folder: an empty one.
        backend: `sqlite` (a service and two workers), or `postgres` (two and three, over S3).
        child: command of the workers' children; None: their own.

    Attributes:
        settings: of the store, as the first service sees it.
        services: processes that take requests.
        workers: processes that do jobs.
        postgres: the database, if it is one.
        storage: the network to S3, if that is used.
        folder: where children note what they do.
    """

    def __init__(self, folder: Path, backend: str, child: list[str] | None = CHILD) -> None:
        self.folder, self._backend, self._child = folder.resolve() / "noted", backend, child
        self.folder.mkdir(parents=True)
        self._homes = folder.resolve()
        self._stack = ExitStack()
        self.postgres: Postgres | None = None
        self.storage: Proxy | None = None

    def __enter__(self) -> Self:
        shared: dict[str, str] = {
            "ISS_STORAGE_SECONDS": "2",
            "OMP_NUM_THREADS": "1",
            FOLDER: str(self.folder),
        }
        if self._child is not None:
            shared["ISS_CHILD_COMMAND"] = json.dumps(self._child)
        if self._backend == "postgres":
            self.postgres = self._stack.enter_context(Postgres())
            server = self._stack.enter_context(ObjectStorage())
            self.storage = self._stack.enter_context(Proxy(server.port))
            shared |= server.variables(self.storage.port) | {
                "ISS_DATABASE_URL": self.postgres.new_database(),
                "ISS_ARTIFACTS_URL": f"s3://{BUCKET}/{uuid4().hex}",
            }
            # What this process looks at itself does not go through the troubled network.
            self._stack.enter_context(_environment(server.variables()))
        counts = (2, 3) if self._backend == "postgres" else (1, 2)
        self.services = [self._service(number, shared) for number in range(counts[0])]
        self.workers = [self._worker(number, shared) for number in range(counts[1])]
        self.settings = StoreSettings(
            home=self.services[0].home,
            database_url=shared.get("ISS_DATABASE_URL"),
            artifacts_url=shared.get("ISS_ARTIFACTS_URL"),
        )
        for each in self.members:
            self._stack.callback(each.stop)
        self.keep_alive()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def members(self) -> list[Member]:
        """All services and workers."""
        return [*self.services, *self.workers]

    def keep_alive(self) -> None:
        """Starts whatever has ended."""
        for each in self.members:
            each.keep_alive()

    def _home(self, name: str) -> Path:
        """With Postgres each process is on a machine of its own, else all share one home."""
        home = self._homes / (name if self._backend == "postgres" else "home")
        home.mkdir(exist_ok=True)
        return home

    def _service(self, number: int, shared: Mapping[str, str]) -> Member:
        home, port = self._home(f"service-{number}"), free_port()
        own = {"ISS_HOME": str(home), "ISS_PORT": str(port)}
        url = f"http://127.0.0.1:{port}"
        return Member("isslim.service", home, {**os.environ, **shared, **own}, url)

    def _worker(self, number: int, shared: Mapping[str, str]) -> Member:
        home = self._home(f"worker-{number}")
        own = {"ISS_HOME": str(home), "ISS_EXECUTOR_ID": f"worker-{number}"}
        clock, preloaded = None, self.folder / "clock.so"
        if number == 0 and shutil.which("cc") is not None:
            subprocess.run(["cc", "-shared", "-fPIC", "-o", preloaded, CLOCK], check=True)
            clock = self.folder / "clock"
            clock.write_text("0")
            own |= {"LD_PRELOAD": str(preloaded), "CHAOS_CLOCK": str(clock)}
        environment = {**os.environ, **shared, **own}
        return Member("isslim.compress.worker", home, environment, clock=clock)

"""A Postgres server of one's own: Debian's package, its cluster in a folder."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import psycopg

from isslim.demo.ports import free_port

START_SECONDS = 60.0


class NotInstalled(Exception):
    """A server's program is not on this machine."""


class Postgres:
    """A server, from the beginning of the block to its end.

    Attributes:
        port: on 127.0.0.1.
        address: to which the name of a database is added.
        data: its folder.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.address = f"postgresql://iss@127.0.0.1:{self.port}"
        self._programs = _programs()
        self._user = _user()

    def __enter__(self) -> Self:
        """Makes the cluster and starts the server.

        Raises:
            NotInstalled: when there is no server here, or no user that it may run as.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="iss-postgres-"))
        self.data = self._folder / "data"
        if self._user:
            shutil.chown(self._folder, "postgres")
        make = [*self._user, str(self._programs / "initdb"), "-D", str(self.data)]
        subprocess.run([*make, "-A", "trust", "-U", "iss"], check=True, stdout=subprocess.DEVNULL)
        try:
            self.start()
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        options = [
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            f"unix_socket_directories={self._folder}",
        ]
        command = [*self._user, str(self._programs / "postgres"), "-D", str(self.data)]
        self._process = subprocess.Popen(
            [*command, "-p", str(self.port), *options],
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        limit = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(f"{self.address}/postgres", connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > limit or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends the server and waits for it.

        Args:
            how: SIGINT ends connections and shuts down, SIGQUIT ends at once and recovers at its
                next start, SIGKILL is a crash.
        """
        os.killpg(self._process.pid, how)
        self._process.wait()
        # A crashed server's own processes end a moment later; its successor waits for none.
        while how is signal.SIGKILL and _group_lives(self._process.pid):
            time.sleep(0.01)

    def new_database(self) -> str:
        """The address of a new database."""
        name = f"t{time.monotonic_ns()}"
        with psycopg.connect(f"{self.address}/postgres", autocommit=True) as connection:
            connection.execute(f"create database {name}")
        return f"{self.address}/{name}"


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _programs() -> Path:
    found = shutil.which("initdb") or next(
        iter(sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")))), None
    )
    if found is None:
        raise NotInstalled("Postgres is not installed (Debian: apt-get install postgresql)")
    return Path(found).resolve().parent


def _user() -> list[str]:
    """What runs a command as a user that the server accepts: it refuses to run as root."""
    if os.geteuid() != 0:
        return []
    known = {entry.pw_name for entry in pwd.getpwall()}
    if shutil.which("runuser") is None or "postgres" not in known:
        raise NotInstalled("Postgres does not run as root, and there is no user for it")
    return ["runuser", "-u", "postgres", "--"]

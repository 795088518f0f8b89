"""What happens to processes, disks, networks, databases and clocks, in an order drawn by chance."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from random import Random

import psycopg

from benchmarks.chaos.members import Cluster

KILLS = ("worker", "worker", "worker", "child", "child", "service", "database")
"""What is killed, as often as it stands here."""
OTHERS = ("full disk", "read-only folder", "clock", "storage", "connections")
SHARE_OF_OTHERS = 0.2
FULL_BYTES = 50_000
"""Size beyond which no file may grow on a disk that is full."""
LONGEST_SECONDS = 1.0
"""How long a trouble lasts that is none of a moment."""


class Trouble:
    """Makes trouble for a cluster.

    Attributes:
        kills: how many signals have ended a process.
        counts: how often each kind of trouble was made.
        disk: whether there was a time when a job could not write.
    """

    def __init__(self, cluster: Cluster, random: Random) -> None:
        self._cluster, self._random = cluster, random
        self.kills, self.counts, self.disk = 0, Counter[str](), False

    def strike(self) -> None:
        """Makes one of them."""
        others = self._random.random() < SHARE_OF_OTHERS
        kind = self._random.choice(OTHERS if others else KILLS)
        made = {
            "worker": self._kill_worker,
            "child": self._kill_child,
            "service": self._kill_service,
            "database": self._kill_database,
            "full disk": self._fill_disk,
            "read-only folder": self._close_folder,
            "clock": self._set_clock,
            "storage": self._cut_storage,
            "connections": self._end_connections,
        }[kind]()
        if made:
            self.counts[kind] += 1
            self.kills += not others

    def _signal(self) -> signal.Signals:
        return self._random.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))

    def _last(self) -> None:
        time.sleep(self._random.uniform(0.1, LONGEST_SECONDS))

    def _kill_worker(self) -> bool:
        return self._random.choice(self._cluster.workers).kill(self._signal())

    def _kill_service(self) -> bool:
        return self._random.choice(self._cluster.services).kill(self._signal())

    def _kill_child(self) -> bool:
        children = [pid for each in self._cluster.workers for pid in each.descendants()]
        if not children:
            return False
        with suppress(ProcessLookupError):
            os.kill(self._random.choice(children), self._signal())
        return True

    def _kill_database(self) -> bool:
        if self._cluster.postgres is None:
            return self._lock_file()
        how = self._random.choice((signal.SIGKILL, signal.SIGQUIT, signal.SIGINT))
        self._cluster.postgres.stop(how)
        self._last()
        self._cluster.postgres.start()
        return True

    def _lock_file(self) -> bool:
        """An embedded database has no process: another one takes its lock, and is killed."""
        path = self._cluster.settings.home / "jobs.sqlite"
        if not path.exists():
            return False
        with closing(sqlite3.connect(path, timeout=5.0)) as connection:
            try:
                connection.execute("begin immediate")
            except sqlite3.OperationalError:
                return False
            self._last()
        return True

    def _fill_disk(self) -> bool:
        """For one worker and the children that it starts meanwhile."""
        worker = self._random.choice(self._cluster.workers)
        if worker.process is None:
            return False
        with suppress(ProcessLookupError):
            was = resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (FULL_BYTES, was[1]))
            self._last()
            resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, was)
            self.disk = True
            return True
        return False

    def _close_folder(self) -> bool:
        """The folder of a worker's jobs cannot be written."""
        folder = self._random.choice(self._cluster.workers).home / "work"
        if not folder.is_dir() or not _closed(folder, "+i", 0o555):
            return False
        self._last()
        _closed(folder, "-i", 0o755)
        self.disk = True
        return True

    def _set_clock(self) -> bool:
        """One worker is three hours ahead or behind for a while."""
        clock = next((each.clock for each in self._cluster.workers if each.clock), None)
        if clock is None:
            return False
        clock.write_text(self._random.choice(("10800", "-10800")))
        time.sleep(1.0)
        self._last()
        clock.write_text("0")
        return True

    def _cut_storage(self) -> bool:
        """Remote storage refuses, is slow, or loses its connections."""
        storage = self._cluster.storage
        if storage is None:
            return False
        how = self._random.choice(("refuse", "delay", "cut"))
        if how == "refuse":
            storage.refuse()
            self._last()
            storage.accept()
        elif how == "delay":
            storage.delay = self._random.uniform(0.2, 3.0)
            self._last()
            storage.delay = 0.0
        storage.cut()
        return True

    def _end_connections(self) -> bool:
        postgres = self._cluster.postgres
        if postgres is None:
            return False
        with psycopg.connect(f"{postgres.address}/postgres", autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where pid <> pg_backend_pid() and datname is not null"
            )
        return True


def _closed(folder: Path, flag: str, mode: int) -> bool:
    """Closes a folder to whoever writes, or opens it; False where that is not possible."""
    if os.geteuid() != 0:
        folder.chmod(mode)
        return True
    try:
        done = subprocess.run(["chattr", flag, folder], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0

"""A Postgres server of the tests' own, on loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from isslim.demo.ports import free_port


@contextmanager
def server() -> Iterator[str]:
    """Starts a server and ends it; the test is skipped where none is installed.

    Yields:
        Its address, to which the name of a database is added.
    """
    found = shutil.which("initdb") or next(
        iter(sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")))), None
    )
    if found is None:
        pytest.skip("Postgres is not installed")
    folder, port = Path(tempfile.mkdtemp(prefix="iss-postgres-")), free_port()
    user: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        if shutil.which("runuser") is None or "postgres" not in {
            entry.pw_name for entry in pwd.getpwall()
        }:
            pytest.skip("Postgres does not run as root, and there is no user for it")
        shutil.chown(folder, "postgres")
        user = ["runuser", "-u", "postgres", "--"]
    data = folder / "data"
    subprocess.run(
        [*user, found, "-D", data, "-A", "trust", "-U", "iss"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
    process = subprocess.Popen(
        [*user, Path(found).with_name("postgres"), "-D", data, "-p", str(port), *options],
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    address = f"postgresql://iss@127.0.0.1:{port}"
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        try:
            psycopg.connect(f"{address}/postgres").close()
            break
        except psycopg.OperationalError:
            time.sleep(0.1)
    try:
        yield address
    finally:
        os.killpg(process.pid, signal.SIGQUIT)
        process.wait()
        shutil.rmtree(folder)


def new_database(address: str) -> str:
    """The address of a new database of a server."""
    name = f"t{time.monotonic_ns()}"
    with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return f"{address}/{name}"

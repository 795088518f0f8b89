"""A Postgres server of the tests' own, on loopback."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import psycopg
import pytest

from benchmarks.cluster.postgres import NotInstalled, Postgres

Server = TypeVar("Server", bound=AbstractContextManager[object])


def or_skipped(make: Callable[[], Server]) -> Server:
    """A server that is not started yet; the test is skipped where its program is not installed.

    In CI nothing is skipped: it fails where the program is missing.
    """
    try:
        return make()
    except NotInstalled as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


@contextmanager
def server() -> Iterator[str]:
    """Starts a server and ends it; the test is skipped where none is installed.

    Yields:
        Its address, to which the name of a database is added.
    """
    with or_skipped(Postgres) as started:
        yield started.address


def new_database(address: str) -> str:
    """The address of a new database of a server."""
    name = f"t{time.monotonic_ns()}"
    with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return f"{address}/{name}"

"""Tests of the store run on both of what it can be kept in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from isslim.store.settings import StoreSettings
from tests.backends import Backend


@pytest.fixture
def settings(tmp_path: Path, backend: Backend) -> StoreSettings:
    """An empty home, database and storage."""
    return backend.settings(tmp_path / "home")


@dataclass(frozen=True)
class Telling:
    """A process that has told its token, and waits until it is ended."""

    process: subprocess.Popen[str]
    token: str


@pytest.fixture
def telling() -> Iterator[Telling]:
    """A process of this machine, with its token."""
    program = "from isslim.store.processes import process_token; print(process_token(), flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{program}; input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield Telling(process, process.stdout.readline().strip())
        process.kill()

"""Environments with the libraries of clients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_packaging import environment, ran

Install = Callable[..., Path]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Install:
    """The interpreter of a fresh environment with requirements; the same ones share it."""
    made: dict[tuple[str, ...], Path] = {}

    def install(*requirements: str) -> Path:
        if requirements not in made:
            python = environment(tmp_path_factory.mktemp("client"))
            ran(python, "-m", "pip", "install", "-q", *requirements, folder=python.parent)
            made[requirements] = python
        return made[requirements]

    return install

"""Environments with the libraries of clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Published
from tests.service.served import served
from tests.test_packaging import environment, ran

Install = Callable[..., Path]
OPENAI_CLIENTS = ("openai==3.57.0", "lm-eval[api]==0.4.13")


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


@pytest.fixture(scope="session")
def clients(installed: Install) -> Path:
    """The folder of programs of an environment with clients of the OpenAI API."""
    return installed(*OPENAI_CLIENTS).parent


@pytest.fixture(scope="module")
def url(published: Published) -> Iterator[str]:
    """The address of a service with the model `tiny`."""
    with served(published.settings.home, {"ISS_GENERATED_LIMIT": "1000000"}) as address:
        yield address

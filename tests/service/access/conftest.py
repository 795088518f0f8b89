"""A service that asks for keys, one of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.types.access import Scope, line_of, new_key
from tests.conftest import Published


@dataclass(frozen=True)
class Keys:
    """A file of keys, and the keys by the names in it, which are those of their scopes."""

    file: Path
    by_name: dict[str, str]

    def headers(self, name: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.by_name[name]}"}

    def allow(self, name: str, quotas: str) -> None:
        """Gives a key quotas of its own, such as `jobs=2 models=5`."""
        lines = self.file.read_text().splitlines()
        self.file.write_text(
            "\n".join(f"{line} {quotas}" if line.startswith(f"{name} ") else line for line in lines)
        )


def make_keys(folder: Path, **scopes: list[Scope]) -> Keys:
    """Writes a file with a key for each name."""
    keys = {name: new_key() for name in scopes}
    lines = [line_of(name, scopes[name], key) for name, key in keys.items()]
    file = folder / "keys.txt"
    file.write_text("# who may do what\n\n" + "\n".join(lines) + "\n")
    return Keys(file, keys)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    each = {scope.value: [scope] for scope in Scope}
    return make_keys(tmp_path_factory.mktemp("keys"), **each)


@pytest.fixture(scope="module")
def guarded(published: Published, keys: Keys) -> Iterator[TestClient]:
    settings = ServiceSettings(
        home=published.settings.home, api_keys_file=keys.file, metrics_open=False
    )
    with TestClient(create_app(settings), raise_server_exceptions=False) as made:
        yield made

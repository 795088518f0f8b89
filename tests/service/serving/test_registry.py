"""Models that are deleted, or damaged, between a request's load of them and its open."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from isslim.runtime.errors import RuntimeFault
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.service.main import create_app
from isslim.service.serving.admission import Ticket
from isslim.service.serving.registry import ModelRegistry
from isslim.settings.service import ServiceSettings
from isslim.store.errors import NotFound
from tests.conftest import Published


@pytest.fixture
def client(published: Published, tmp_path: Path) -> Iterator[TestClient]:
    shutil.copytree(published.settings.home, tmp_path / "home")
    with TestClient(create_app(ServiceSettings(home=tmp_path / "home"))) as made:
        yield made


@pytest.fixture
def registry(client: TestClient) -> ModelRegistry:
    found: ModelRegistry = client.app.state.context.models  # type: ignore[attr-defined]
    return found


def called(client: TestClient, function: Any, *arguments: Any) -> Any:
    """What a coroutine of the service's loop returns."""
    assert client.portal is not None
    return client.portal.call(function, *arguments)


@pytest.mark.parametrize("way", ["open", "open_processes"])
def test_model_deleted_after_it_was_loaded_is_not_found(
    way: str, client: TestClient, registry: ModelRegistry, published: Published
) -> None:
    ticket = Ticket()
    model = called(client, registry.load, "tiny", LoadedLanguageModel, ticket)
    assert client.delete(f"/models/{published.bundle_id}").status_code == 204
    with pytest.raises(NotFound, match=f"no model '{published.bundle_id}'"):
        called(client, getattr(registry, way), model, ["compressed"], "cpu", ticket)


def test_graph_that_is_gone_from_a_model_that_is_there_is_the_services_fault(
    client: TestClient, registry: ModelRegistry
) -> None:
    ticket = Ticket()
    model = called(client, registry.load, "tiny", LoadedLanguageModel, ticket)
    model.path("compressed").unlink()
    with pytest.raises(RuntimeFault):
        called(client, registry.open, model, ["compressed"], "cpu", ticket)

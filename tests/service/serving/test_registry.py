"""Models that are deleted, or damaged, between a request's load of them and its open."""

from __future__ import annotations

import asyncio
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
from tests.service.copies import publish_as


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


def test_request_follows_an_alias_that_is_moved_while_its_model_is_opened(
    client: TestClient, registry: ModelRegistry, published: Published, tmp_path: Path
) -> None:
    newer = publish_as("newer", published, tmp_path / "home")
    client.put("/aliases/prod", json={"model": published.bundle_id})
    ticket, opened = Ticket(), list[str]()

    async def load_and_open() -> dict[str, Any]:
        model = await registry.load("prod", LoadedLanguageModel, ticket)
        opened.append(model.id)
        if len(opened) == 1:
            await asyncio.to_thread(replaced)
        return await registry.open(model, ["compressed"], "cpu", ticket)

    def replaced() -> None:
        client.put("/aliases/prod", json={"model": newer})
        assert client.delete(f"/models/{published.bundle_id}").status_code == 204

    called(client, registry.followed, ticket, load_and_open)
    assert opened == [published.bundle_id, newer]
    assert ticket.model == newer


def test_what_was_counted_of_a_deleted_model_goes_with_it(
    client: TestClient, published: Published, tmp_path: Path
) -> None:
    kept = publish_as("kept", published, tmp_path / "home")
    for model in (kept, published.bundle_id):
        answer = client.post("/score", json={"model": model, "texts": ["the cat"]})
        assert answer.status_code == 200, answer.text
    assert published.bundle_id in client.get("/metrics").text
    client.delete(f"/models/{published.bundle_id}")
    text = client.get("/metrics").text
    assert published.bundle_id not in text
    assert f'model="kept",model_id="{kept}",protocol="isslim",variant="original"' in text

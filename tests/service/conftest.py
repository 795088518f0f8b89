"""The service in this process, with the small model; modules of other needs have their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from isslim.runtime.language.model import LoadedLanguageModel
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.store.bundles import BundleStore
from tests.conftest import Published


@pytest.fixture(scope="module")
def client(published: Published) -> Iterator[TestClient]:
    """A client of a service that writes at most 500 tokens."""
    app = create_app(ServiceSettings(home=published.settings.home, generated_limit=500))
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


@pytest.fixture(scope="module")
def model(published: Published) -> LoadedLanguageModel:
    """The model `tiny` by the runtime alone."""
    return LoadedLanguageModel(BundleStore(published.settings).open(published.bundle_id))

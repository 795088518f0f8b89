"""`POST /sweeps`: who may be promoted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from tests.service.test_routes import problem

BUDGETS = [{"budget": {"size_ratio": each}} for each in (0.5, 0.6, 0.7)]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(ServiceSettings(home=tmp_path))) as made:
        yield made


def begun(
    client: TestClient, options: dict[str, Any], *variations: dict[str, Any]
) -> httpx.Response:
    """A sweep with an alias in some of its variations; no worker takes its jobs."""
    each = [one | more for one, more in zip(BUDGETS, variations, strict=False)]
    return client.post(
        "/sweeps",
        files={"model": ("model.pt", b"weights"), "held_out": ("text", b"a text")},
        data={"options": json.dumps(options), "variations": json.dumps(each)},
    )


@pytest.mark.parametrize(
    ("options", "variations"),
    [
        ({"promote": "prod"}, [{}, {}]),
        ({"promote": "prod"}, [{}, {"promote": "prod"}, {"promote": "other"}]),
        ({}, [{"promote": "prod"}, {}, {"promote": "prod"}]),
    ],
)
def test_several_models_for_one_alias_are_refused(
    client: TestClient, options: dict[str, Any], variations: list[dict[str, Any]]
) -> None:
    found = problem(begun(client, options, *variations), 422, "invalid-request")
    assert "models of the sweep would be promoted to 'prod'" in str(found["detail"])
    assert client.get("/jobs").json() == []


@pytest.mark.parametrize(
    ("options", "variations"),
    [
        ({"promote": "prod"}, [{}]),
        ({}, [{"promote": "prod"}, {}]),
        ({"promote": "prod"}, [{"promote": "small"}, {}]),
    ],
)
def test_one_model_for_each_alias_is_not(
    client: TestClient, options: dict[str, Any], variations: list[dict[str, Any]]
) -> None:
    answer = begun(client, options, *variations)
    assert answer.status_code == 202, answer.text
    assert len(client.get("/jobs").json()) == len(variations)

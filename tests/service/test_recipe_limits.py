"""The operator's limits on epochs and minutes: what asks for more is refused, wherever it comes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from isslim.compress import trainable
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.types.recipe import Recipe
from tests.service.test_routes import problem

FILES = {"model": ("m.pt", b"some bytes")}
LONG = [
    ({"mode": "learn", "learn_epochs": 4.5}, "learn_epochs", "4.5", "4", "ISS_EPOCHS_LIMIT"),
    ({"mode": "learn"}, "learn_epochs", "6", "4", "ISS_EPOCHS_LIMIT"),  # the default
    ({"minutes": 2.5}, "minutes", "2.5", "2", "ISS_MINUTES_LIMIT"),
]
SHORT: list[dict[str, Any]] = [
    {},
    {"minutes": 2},
    {"mode": "learn", "learn_epochs": 4},
    # Without effect in the mode that is asked for.
    {"learn_epochs": 100},
    {"mode": "learn", "learn_epochs": 1, "minutes": 100},
]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    settings = ServiceSettings(home=tmp_path, epochs_limit=4, minutes_limit=2)
    with TestClient(create_app(settings)) as made:
        yield made


@pytest.mark.parametrize(("recipe", "name", "asked", "most", "variable"), LONG)
def test_recipe_that_asks_for_more_is_refused_wherever_it_comes(
    recipe: dict[str, Any], name: str, asked: str, most: str, variable: str, client: TestClient
) -> None:
    job = client.post("/compress", files=FILES).json()["id"]
    options, changed = {"options": json.dumps(recipe)}, json.dumps([{"minutes": 0}, recipe])
    for place, answer in (
        ("options", client.post("/compress", files=FILES, data=options)),
        ("options", client.post("/inspect", files=FILES, data=options)),
        ("variations/1", client.post("/sweeps", files=FILES, data={"variations": changed})),
        ("changes", client.post(f"/jobs/{job}/again", json={"changes": recipe})),
    ):
        found = problem(answer, 422, "recipe-too-long")
        detail = str(found["detail"])
        assert f"`{name}` is {asked}, " in detail
        assert f"ask for {most} or fewer" in detail
        assert variable in detail
        assert found["errors"] == [{"pointer": f"/{place}/{name}", "detail": detail}]
    assert [each["id"] for each in client.get("/jobs").json()] == [job]


@pytest.mark.parametrize("recipe", SHORT)
def test_recipe_within_the_limits_is_taken(recipe: dict[str, Any], client: TestClient) -> None:
    answer = client.post("/compress", files=FILES, data={"options": json.dumps(recipe)})
    assert answer.status_code == 202, answer.text


def test_usual_limits_refuse_no_recipe(tmp_path: Path) -> None:
    longest = [{"mode": "learn", "learn_epochs": 1000}, {"minutes": 24 * 60}]
    with TestClient(create_app(ServiceSettings(home=tmp_path))) as usual:
        for recipe in longest:
            answer = usual.post("/compress", files=FILES, data={"options": json.dumps(recipe)})
            assert answer.status_code == 202, answer.text


class _Distilled(trainable.Trainable[Any]):
    distils = True
    recipe = Recipe()


def test_recipe_without_minutes_takes_no_more_than_it_could_ask_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trainable, "MOST_MINUTES", 5.0)  # tests have none
    assert _Distilled().minutes == 5.0
    monkeypatch.setenv("ISS_MINUTES_LIMIT", "2.5")
    assert _Distilled().minutes == 2.5


@pytest.mark.parametrize(
    ("recipe", "pointer"),
    [
        ('{"threshold": NaN}', "threshold"),
        ('{"threshold": 1e400}', "threshold"),
        ('{"check": {"perplexity": Infinity}}', "check/perplexity"),
        ('{"published_tokens": 1000000000000000000000}', "published_tokens"),
        (json.dumps({"start_token": "a" * 1001}), "start_token"),
        (json.dumps({"outputs": ["a" * 1001]}), "outputs/0"),
        (json.dumps({"outputs": ["a"] * 1001}), "outputs"),
    ],
)
def test_recipe_that_could_not_be_stored_as_it_was_sent_is_refused(
    recipe: str, pointer: str, client: TestClient
) -> None:
    job = client.post("/compress", files=FILES).json()["id"]
    for place, answer in (
        ("options", client.post("/compress", files=FILES, data={"options": recipe})),
        (
            "changes",
            client.post(
                f"/jobs/{job}/again",
                content=f'{{"changes": {recipe}}}',
                headers={"content-type": "application/json"},
            ),
        ),
    ):
        found = problem(answer, 422, "invalid-request")
        assert [each["pointer"] for each in found["errors"]] == [f"/{place}/{pointer}"]  # type: ignore[attr-defined]
    assert [each["id"] for each in client.get("/jobs").json()] == [job]

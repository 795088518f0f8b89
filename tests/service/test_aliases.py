"""Aliases: what a name means is moved by promotion alone, in every replica, and can be undone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.store.bundles import BundleStore
from isslim.types.schemas.problems import ProblemDocument
from tests.conftest import Published
from tests.service.copies import publish_as
from tests.service.test_routes import problem


def publish_again(published: Published, home: Path, minutes: int, name: str = "tiny") -> str:
    """The published bundle under a name, made so many minutes later; its id."""
    bundle = BundleStore(published.settings).open(published.bundle_id)
    created = bundle.manifest.created_at + timedelta(minutes=minutes)
    return publish_as(name, published, home, created_at=created)


@pytest.fixture
def models(published: Published, tmp_path: Path) -> tuple[str, str]:
    """Two models of one name, the older one first."""
    return publish_again(published, tmp_path, 0), publish_again(published, tmp_path, 1)


@pytest.fixture
def client(models: tuple[str, str], tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(ServiceSettings(home=tmp_path))) as made:
        yield made


def ask(client: TestClient, model: str, **more: Any) -> dict[str, Any]:
    answer = client.post("/score", json={"model": model, "texts": ["the cat"]} | more)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    named = [f"{body['model_id']}:{each['variant']}" for each in body["variants"]]
    assert answer.headers["x-isslim-model"] == ", ".join(named)
    return body


def put(client: TestClient, alias: str, **body: Any) -> dict[str, Any]:
    answer = client.put(f"/aliases/{alias}", json=body, headers={"x-request-id": "deploy-17"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_newer_model_of_a_name_takes_over_by_promotion_alone(
    client: TestClient, models: tuple[str, str]
) -> None:
    old, new = models
    assert ask(client, "tiny")["model_id"] == old
    put(client, "tiny", model=new)
    assert ask(client, "tiny")["model_id"] == new
    assert len(ask(client, "tiny")["variants"]) == 2
    assert client.get("/models/tiny").json()["id"] == new
    # What it meant before was no alias's doing: there is no earlier one.
    problem(client.post("/aliases/tiny/rollback"), 409, "nothing-earlier")
    assert client.delete("/aliases/tiny").status_code == 204
    assert ask(client, "tiny")["model_id"] == old


def test_unknown_name_costs_the_database_the_same_however_many_models_there_are(
    client: TestClient, published: Published, tmp_path: Path
) -> None:
    statements = list[str]()
    engine = client.app.state.context.queue.records.engine  # type: ignore[attr-defined]

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)

    def asked() -> int:
        statements.clear()
        problem(client.get("/models/nope"), 404, "not-found")
        return len(statements)

    few = asked()
    for minutes in range(2, 5):
        publish_again(published, tmp_path, minutes)
    assert asked() == few


def test_model_is_not_said_to_be_deleted_while_its_storage_is_away(
    client: TestClient, models: tuple[str, str], tmp_path: Path
) -> None:
    put(client, "prod", model=models[0])
    put(client, "prod", model=models[1])
    storage, away = tmp_path / "artifacts", tmp_path / "away"
    storage.rename(away)
    asked = {"texts": ["the cat"]}
    for answer in (
        client.get("/models/prod"),
        client.post("/score", json={"model": "prod", **asked}),
        client.post("/score", json={"model": "tiny", **asked}),
        client.post("/aliases/prod/rollback"),
        client.delete(f"/models/{models[0]}"),
    ):
        assert "its folder" in str(problem(answer, 503, "storage-unavailable")["detail"])
    away.rename(storage)
    assert ask(client, "prod")["model_id"] == models[1]
    assert client.post("/aliases/prod/rollback").json()["model"] == models[0]


def test_newer_model_changes_no_answer_of_an_alias(
    client: TestClient, models: tuple[str, str], published: Published, tmp_path: Path
) -> None:
    put(client, "prod", model="tiny", variant="compressed")

    def scores() -> list[Any]:
        body = ask(client, "prod", per_token=True)
        return [body["model_id"], body["variants"][0]["variant"], body["variants"][0]["texts"]]

    before = scores()
    assert before[:2] == [models[0], "compressed"]
    publish_again(published, tmp_path, 2)
    publish_again(published, tmp_path, -1)
    time.sleep(0.2)
    assert scores() == before


def test_promotion_and_rollback_are_seen_by_the_next_request_and_on_record(
    client: TestClient, models: tuple[str, str]
) -> None:
    old, new = models
    put(client, "prod", model=old, variant="original", note="first")
    put(client, "prod", model=new, variant="compressed", note="better")
    answer = ask(client, "prod")
    assert (answer["model_id"], len(answer["variants"])) == (new, 1)
    rolled_back = client.post("/aliases/prod/rollback", params={"note": "worse"}).json()
    assert (rolled_back["model"], rolled_back["variant"]) == (old, "original")
    assert ask(client, "prod")["model_id"] == old
    assert ask(client, "prod", variants=["compressed"])["variants"][0]["variant"] == "compressed"
    shown = client.get("/aliases/prod").json()
    assert [(each["action"], each["note"]) for each in shown["history"]] == [
        ("rolled back", "worse"),
        ("set", "better"),
        ("set", "first"),
    ]
    assert shown["history"][1]["by"] == "deploy-17"
    assert shown["history"][1]["remote"] == "testclient"
    assert [each["alias"] for each in client.get("/aliases").json()] == ["prod"]


def test_replicas_agree_within_a_second_and_after_a_restart(
    client: TestClient, models: tuple[str, str], tmp_path: Path
) -> None:
    old, new = models
    put(client, "prod", model=old)
    with TestClient(create_app(ServiceSettings(home=tmp_path))) as other:
        assert ask(other, "prod")["model_id"] == old
        put(client, "prod", model=new)
        limit = time.monotonic() + 1
        while ask(other, "prod")["model_id"] != new:
            assert time.monotonic() < limit
    with TestClient(create_app(ServiceSettings(home=tmp_path))) as restarted:
        assert ask(restarted, "prod")["model_id"] == new


def test_model_that_an_alias_needs_is_not_deleted(
    client: TestClient, models: tuple[str, str]
) -> None:
    old, new = models
    put(client, "prod", model=old, shadow={"model": new})
    put(client, "next", model=new)
    for model, named in (("prod", "'prod'"), (new, "'next', 'prod'")):
        refused = ProblemDocument.model_validate(
            problem(client.delete(f"/models/{model}"), 409, "model-in-use")
        )
        assert named in refused.detail
    put(client, "prod", model=old)
    client.delete("/aliases/next")
    assert client.delete(f"/models/{new}").status_code == 204


def test_unknown_name_is_answered_with_every_model_once(
    client: TestClient, models: tuple[str, str]
) -> None:
    old, new = models
    put(client, "prod", model=old, variant="original", shadow={"model": new})
    put(client, "next", model=old)
    answer = client.get("/models/nope")
    detail = str(problem(answer, 404, "not-found")["detail"])
    listed = detail.partition("there is: ")[2]
    shown = [f"tiny ({old}; alias next, prod)", f"tiny ({new})"]
    assert listed in (", ".join(shown), ", ".join(reversed(shown)))


@pytest.mark.parametrize(
    ("alias", "body", "status", "kind", "said"),
    [
        ("0123456789abcdef", {"model": "tiny"}, 422, "invalid-request", "cannot be an alias"),
        ("a:b", {"model": "tiny"}, 422, "invalid-request", "cannot be an alias"),
        ("prod", {"model": "nope"}, 404, "not-found", "tiny ("),
        ("prod", {"model": "tiny", "variant": "int4"}, 422, "invalid-request", "variant"),
        ("prod", {"model": "tiny", "weight": 1}, 422, "invalid-request", "/body/weight"),
        ("prod", {}, 422, "invalid-request", "/body/model"),
        ("prod", {"model": "tiny", "canary": {"share": 1.5}}, 422, "invalid-request", "share"),
        ("prod", {"model": "tiny", "shadow": {"model": "no"}}, 404, "not-found", "'no'"),
        ("prod", {"model": "tiny", "shadow": {}}, 422, "invalid-request", "/body/shadow"),
    ],
)  # fmt: skip
def test_what_no_alias_can_point_at_is_refused_and_leaves_nothing(
    client: TestClient, alias: str, body: dict[str, Any], status: int, kind: str, said: str
) -> None:
    refused = problem(client.put(f"/aliases/{alias}", json=body), status, kind)
    assert said in str(refused)
    assert client.get("/aliases").json() == []


def test_unknown_alias_is_not_found(client: TestClient) -> None:
    for answer in (
        client.get("/aliases/nope"),
        client.delete("/aliases/no%00pe"),
        client.post("/aliases/nope/rollback"),
    ):
        problem(answer, 404, "not-found")


def test_alias_that_is_promoted_brings_its_variant(
    client: TestClient, models: tuple[str, str]
) -> None:
    put(client, "staging", model=models[1], variant="compressed")
    found = put(client, "prod", model="staging")
    assert (found["model"], found["variant"]) == (models[1], "compressed")
    put(client, "staging", model=models[0])
    assert ask(client, "prod")["model_id"] == models[1]


def test_every_way_to_ask_takes_an_alias(client: TestClient, models: tuple[str, str]) -> None:
    put(client, "prod", model=models[1], variant="compressed")
    named = f"{models[1]}:compressed"
    written = client.post("/generate", json={"model": "prod", "prompt": "the", "max_tokens": 2})
    assert written.headers["x-isslim-model"] == named
    tensors = client.get("/v2/models/prod").json()["inputs"]
    assert "tokens" in {each["name"] for each in tensors}
    for path in ("", "/report", "/card", "/files", "/latency?steps=2"):
        assert client.get(f"/models/prod{path}").status_code == 200
    asked = {"model": "prod", "question": "?", "context": "a"}
    problem(client.post("/qa", json=asked), 422, "wrong-task")


@pytest.mark.slow
def test_promotion_under_load_fails_no_request_and_mixes_no_answer(
    client: TestClient, models: tuple[str, str], published: Published, tmp_path: Path
) -> None:
    put(client, "prod", model=models[0], variant="original")
    expected = {
        f"{model}:{variant}": ask(client, model, variants=[variant])["variants"][0]["texts"]
        for model, variant in ((models[0], "original"), (models[1], "compressed"))
    }
    ended, seen = threading.Event(), set[str]()

    def load() -> None:
        while not ended.is_set():
            body = ask(client, "prod")
            name = f"{body['model_id']}:{body['variants'][0]['variant']}"
            assert body["variants"][0]["texts"] == expected[name]
            seen.add(name)

    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(load) for _ in range(4)]
        time.sleep(1)
        publish_again(published, tmp_path, 5)
        time.sleep(1)
        assert seen == {f"{models[0]}:original"}
        for _ in range(5):
            put(client, "prod", model=models[1], variant="compressed")
            assert ask(client, "prod")["model_id"] == models[1]
            assert client.post("/aliases/prod/rollback").status_code == 200
            assert ask(client, "prod")["model_id"] == models[0]
        ended.set()
        for each in running:
            each.result(30)
    assert seen == set(expected)

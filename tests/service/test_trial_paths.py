"""Trials by whatever path and protocol an alias is asked: compared, or at least not blind."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request, Response
from fastapi.testclient import TestClient

from isslim.demo.ports import free_port
from isslim.runtime.errors import RuntimeFault
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.service.context import AppContext, context_of
from isslim.service.live import EventSender, LiveResponse
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.store.bundles import BundleStore
from isslim.store.folders import seal
from isslim.store.integrity import MANIFEST
from isslim.store.settings import StoreSettings
from tests.conftest import Published
from tests.service.inference_protocol.asking import binary
from tests.service.inference_protocol.test_grpc import Caller, request_of
from tests.service.inference_protocol.test_language import feed, model
from tests.service.test_aliases import put
from tests.service.test_trials import trial, until

__all__ = ["model"]
RULE = {"change_below": 5, "requests": 1000}
OWN, OTHER = "compressed", "original"


@pytest.fixture(scope="module")
def broken(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a second model, none of whose graphs can be opened."""
    home = tmp_path_factory.mktemp("broken")
    shutil.copytree(published.settings.home, home, dirs_exist_ok=True)
    bundle, made = BundleStore(published.settings).open(published.bundle_id), home / "made"
    shutil.copytree(bundle.folder, made)
    (made / MANIFEST).unlink()
    for graph in made.glob("*.onnx"):
        graph.write_bytes(b"no graph")
    seal(made, bundle.manifest.model_copy(update={"name": "broken"}))
    BundleStore(StoreSettings(home=home)).publish(made)
    return home


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def client(broken: Path, port: int) -> Iterator[TestClient]:
    app = create_app(ServiceSettings(home=broken, grpc_port=port))
    app.add_route("/broken-off", broken_off, methods=["POST"])
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


@pytest.fixture(autouse=True)
def begun_anew(client: TestClient) -> Iterator[None]:
    """What one test has found of an alias is not there for the next one."""
    yield
    client.delete("/aliases/prod")


@pytest.fixture(scope="module")
def caller(client: TestClient, port: int) -> Iterator[Caller]:
    made = Caller(port)
    yield made
    made.channel.close()


async def broken_off(http: Request) -> Response:
    """A stream whose model fails behind its first event."""
    context = context_of(http)

    async def answer(events: EventSender) -> Response | None:
        async with context.admission.admit(http, 10, "TEST") as ticket:
            await context.models.load("prod", LoadedLanguageModel, ticket)
            await events.send(b"event: token\n\n")
            raise RuntimeFault("the graph failed")

    return LiveResponse(answer, lambda problem: problem.model_dump_json().encode())


GENERATE = {"model": "prod", "prompt": "the old man", "max_tokens": 6, "seed": 1}
COMPLETE = {"model": "prod", "prompt": "the old man", "max_tokens": 6, "seed": 1}
ASKED: dict[str, Callable[[TestClient, Any], Any]] = {
    "score": lambda client, _: client.post("/score", json={"model": "prod", "texts": ["the cat"]}),
    "generate": lambda client, _: client.post("/generate", json=GENERATE),
    "stream": lambda client, _: client.post("/generate", json={**GENERATE, "stream": True}),
    "completions": lambda client, _: client.post("/v1/completions", json=COMPLETE),
    "infer": lambda client, given: client.post("/v2/models/prod/infer", **binary(given)),
}


def healed(client: TestClient) -> None:
    """The canary has ended by its rule."""
    until(lambda: client.get("/aliases/prod").json()["canary"] is None)
    newest = client.get("/aliases/prod").json()["history"][0]
    assert newest["action"] == "rolled back"
    assert newest["note"].startswith("rule broken: 1 failed")


@pytest.mark.parametrize("path", ASKED)
def test_a_canary_that_fails_ends_whatever_the_path(
    path: str, client: TestClient, model: Any
) -> None:
    canary = {"model": "broken", "variant": OWN, "share": 1, "rule": RULE}
    put(client, "prod", model="tiny", variant=OWN, canary=canary)
    given = feed(model)
    assert ASKED[path](client, given).status_code == 500
    healed(client)
    answer = ASKED[path](client, given)
    assert answer.status_code == 200
    assert answer.headers["x-isslim-model"].endswith(f":{OWN}")


def test_a_canary_that_fails_over_grpc_ends(client: TestClient, caller: Caller, model: Any) -> None:
    canary = {"model": "broken", "variant": OWN, "share": 1, "rule": RULE}
    put(client, "prod", model="tiny", variant=OWN, canary=canary)
    asked = request_of(feed(model), model_name="prod", model_version="")
    caller.refused("INTERNAL", "ModelInfer", **asked)
    healed(client)
    assert caller.call("ModelInfer", **asked).model_version == OWN


def test_a_canary_that_breaks_off_its_stream_ends(client: TestClient) -> None:
    canary = {"variant": OTHER, "share": 1, "rule": RULE}
    put(client, "prod", model="tiny", variant=OWN, canary=canary)
    assert client.post("/broken-off").status_code == 200
    healed(client)


def test_requests_that_are_wrong_do_not_count(client: TestClient, model: Any) -> None:
    canary = {"variant": OTHER, "share": 1, "rule": RULE}
    put(client, "prod", model="tiny", variant=OWN, canary=canary)
    assert client.post("/generate", json={**GENERATE, "variants": ["nope"]}).status_code == 422
    assert client.post("/v2/models/prod/infer", **binary({})).status_code == 400
    assert client.post("/qa", json={"model": "prod", "question": "?", "context": "a"}).is_error
    assert trial(client)["failed"] == 0


@pytest.mark.parametrize(
    ("path", "asked", "prompt"),
    [
        ("/generate", GENERATE, "the old man"),
        ("/generate", {**GENERATE, "stream": True}, "the old man"),
        ("/v1/completions", COMPLETE, "the old man"),
        ("/v1/completions", {**COMPLETE, "stream": True}, "the old man"),
    ],
)
def test_what_was_written_is_compared_by_its_log_probabilities(
    path: str, asked: dict[str, Any], prompt: str, client: TestClient
) -> None:
    put(client, "prod", model="tiny", variant=OWN, shadow={"variant": OTHER, "share": 1})
    whole = client.post("/generate", json={**GENERATE, "model": "tiny", "variants": [OWN]}).json()
    text = prompt + whole["variants"][0]["text"]
    assert client.post(path, json=asked).status_code == 200
    context: AppContext = client.app.state.context  # type: ignore[attr-defined]
    until(lambda: context.trials.running == 0)
    body = {"model": "tiny", "texts": [text], "variants": [OWN, OTHER]}
    scored = client.post("/score", json=body).json()["variants"]
    own, other = (each["texts"][0]["log_prob"] / each["texts"][0]["counted"] for each in scored)
    found = trial(client)
    assert (found["requests"], found["failed"], found["dropped"]) == (1, 0, 0)
    assert found["difference"]["mean"] == pytest.approx(other - own, abs=1e-5)


def test_what_is_not_compared_is_not_counted_and_is_named(client: TestClient, model: Any) -> None:
    put(client, "prod", model="tiny", variant=OWN, canary={"variant": OTHER, "share": 1})
    state = client.post("/generate", json={**GENERATE, "return_state": True}).json()["state"]
    context: AppContext = client.app.state.context  # type: ignore[attr-defined]
    until(lambda: context.trials.running == 0)
    assert trial(client)["requests"] == 1
    on = {"model": "prod", "state": state, "max_tokens": 3}
    assert client.post("/generate", json=on).status_code == 200
    on = {"model": "prod", "state": state, "texts": ["the cat"]}
    assert client.post("/score", json=on).status_code == 200
    assert client.post("/v2/models/prod/infer", **binary(feed(model, OTHER))).status_code == 200
    until(lambda: context.trials.running == 0)
    assert trial(client)["requests"] == 1
    report = client.get("/aliases/prod/shadow").json()
    assert report["compared"] == ["/score", "/generate", "/v1/completions"]
    assert "only failures count" in report["lines"][1]


def test_senders_stay_with_the_canary_over_grpc_too(
    client: TestClient, caller: Caller, model: Any
) -> None:
    other = f"{OWN}-int8"  # of the same states
    put(client, "prod", model="tiny", variant=OWN, canary={"variant": other, "share": 0.5})
    asked = request_of(feed(model), model_name="prod", model_version="")
    request, seen = caller.types["ModelInferRequest"](**asked), set()
    for user in range(12):
        named = [("x-user", f"user-{user}")]
        body = {"model": "prod", "texts": ["the cat"]}
        http = client.post("/score", json=body, headers=dict(named)).headers["x-isslim-model"]
        answer = caller.method("ModelInfer")(request, metadata=named, timeout=30)
        assert http.endswith(f":{answer.model_version}")
        seen.add(answer.model_version)
    assert seen == {OWN, other}
    metrics = client.get("/metrics").text
    for by in ("alias", "canary"):
        label = f'isslim_canary_answer_seconds_count{{alias="prod",by="{by}",status="200"}}'
        assert label in metrics

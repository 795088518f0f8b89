"""Deadlines that requests ask for: refused where they are none, and kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi.testclient import TestClient

from isslim.service.main import create_app
from isslim.service.serving.admission import TIMEOUT_HEADER
from isslim.settings.service import ServiceSettings
from tests.conftest import Published
from tests.service.occupied import occupied
from tests.service.test_routes import problem

ASK = {"model": "tiny", "texts": ["the cat"]}


@pytest.fixture(scope="module")
def client(published: Published) -> Iterator[TestClient]:
    """A service of one run at a time, in whose queue one request may wait."""
    settings = ServiceSettings(home=published.settings.home, runs_at_once=1, waiting_limit=1)
    with TestClient(create_app(settings)) as made:
        yield made


@pytest.fixture
def busy(client: TestClient) -> Iterator[threading.Event]:
    """The only slot is taken until the event is set."""
    with occupied(client) as go:
        yield go


def ask(client: TestClient, path: str, milliseconds: str) -> httpx.Response:
    headers = {TIMEOUT_HEADER: milliseconds}
    if path.endswith("/latency"):
        return client.get(path, headers=headers)
    body = {"inputs": {}} if path.endswith("/run") else ASK
    body = {"model": "tiny", "question": "?", "context": "a"} if path == "/qa" else body
    return client.post(path, json=body, headers=headers)


PATHS = ["/score", "/qa", "/models/tiny/run", "/models/tiny/latency"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("given", ["", "0", "-5", "1.5", "soon", "1e3", "5, 6", "9" * 5000, "٣"])
def test_what_is_no_number_of_milliseconds_is_refused(
    path: str, given: str, client: TestClient
) -> None:
    headers = {TIMEOUT_HEADER.encode(): given.encode()}
    if path.endswith("/latency"):
        answer = client.get(path, headers=headers)
    else:
        answer = client.post(path, json={}, headers=headers)
    found = problem(answer, 422, "invalid-request")
    assert found["errors"][0]["pointer"] == f"/header/{TIMEOUT_HEADER}"
    assert len(answer.content) < 2000


def test_deadline_that_is_sent_twice_is_refused(client: TestClient) -> None:
    headers = [(TIMEOUT_HEADER, "1000"), (TIMEOUT_HEADER, "2000")]
    problem(client.post("/score", json=ASK, headers=headers), 422, "invalid-request")


def test_request_that_is_answered_in_time_is_not_affected(client: TestClient) -> None:
    for milliseconds in ("20000", "0020000", "999999999999"):
        assert ask(client, "/score", milliseconds).status_code == 200


def test_request_whose_time_is_over_before_its_turn_is_refused_and_never_run(
    client: TestClient, busy: threading.Event
) -> None:
    registry = client.app.state.context.metrics.registry  # type: ignore[attr-defined]

    def runs() -> float:
        return float(registry.get_sample_value("isslim_inference_shared_inputs_count"))

    before = runs()
    for path in ("/score", "/models/tiny/latency"):
        began = time.monotonic()
        found = problem(ask(client, path, "50"), 504, "deadline-exceeded")
        assert "0.05 s" in str(found["detail"])
        assert 0.05 <= time.monotonic() - began < 10
    busy.set()
    assert client.post("/score", json={**ASK, "variants": ["original"]}).status_code == 200
    assert runs() - before == 1


def test_further_requests_are_refused_with_when_to_come_again_where_too_many_wait(
    client: TestClient, busy: threading.Event
) -> None:
    registry = client.app.state.context.metrics.registry  # type: ignore[attr-defined]
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(ask, client, "/score", "20000") for _ in range(2)]
        while registry.get_sample_value("isslim_inference_pending") != 2:
            assert not busy.wait(0.002)
        answer = ask(client, "/score", "20000")
        problem(answer, 503, "overloaded")
        assert answer.headers["retry-after"] == "1"
        busy.set()
        assert [each.result(20).status_code for each in waiting] == [200, 200]

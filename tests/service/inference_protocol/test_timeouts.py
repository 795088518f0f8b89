"""The parameter `timeout` of a run: the earliest of a request's deadlines holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from isslim.demo.ports import free_port
from isslim.service.main import create_app
from isslim.service.serving.admission import TIMEOUT_HEADER
from isslim.settings.service import ServiceSettings
from tests.conftest import Published
from tests.service.inference_protocol.asking import binary
from tests.service.inference_protocol.test_grpc import Caller, grpc, request_of
from tests.service.inference_protocol.test_language import feed, model
from tests.service.occupied import occupied

__all__ = ["model"]
PATH = "/v2/models/tiny/versions/compressed/infer"
SHORT, LONG = 200_000, 20_000_000
"""Microseconds."""


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def client(published: Published, port: int) -> Iterator[TestClient]:
    """A service of one run at a time."""
    home = published.settings.home
    settings = ServiceSettings(home=home, runs_at_once=1, run_seconds=30, grpc_port=port)
    with TestClient(create_app(settings)) as made:
        yield made


@pytest.fixture
def caller(client: TestClient, port: int) -> Iterator[Caller]:
    made = Caller(port)
    yield made
    made.channel.close()


@pytest.fixture
def busy(client: TestClient) -> Iterator[threading.Event]:
    """The only slot is taken until the event is set."""
    with occupied(client) as go:
        yield go


def ask(client: TestClient, model: Any, headers: Any = None, **parameters: Any) -> httpx.Response:
    asked = binary(feed(model), parameters=parameters)
    asked["headers"].update(headers or {})
    return client.post(PATH, **asked)


def parameter(value: int | str) -> dict[str, int | str]:
    return {"int64_param" if isinstance(value, int) else "string_param": value}


@pytest.mark.parametrize(
    ("milliseconds", "microseconds", "said"),
    [(None, SHORT, "0.2 s"), ("20000", SHORT, "0.2 s"), ("200", LONG, "0.2 s")],
)
def test_the_earlier_deadline_holds(
    milliseconds: str | None,
    microseconds: int,
    said: str,
    client: TestClient,
    busy: threading.Event,
    model: Any,
) -> None:
    headers = {} if milliseconds is None else {TIMEOUT_HEADER: milliseconds}
    began = time.perf_counter()
    answer = ask(client, model, headers, timeout=microseconds)
    assert time.perf_counter() - began < 5
    assert answer.status_code == 504
    assert f"its turn had not come after {said}" in answer.json()["error"]


def test_in_time_nothing_changes(client: TestClient, model: Any) -> None:
    for microseconds in (0, LONG, 10**15):
        assert ask(client, model, timeout=microseconds, priority=1).status_code == 200


@pytest.mark.parametrize("value", [-1, 0.5, "soon", True, 10**16])
def test_what_is_no_time_is_refused(value: Any, client: TestClient, model: Any) -> None:
    answer = ask(client, model, timeout=value)
    assert answer.status_code == 400
    assert "parameter 'timeout': send a whole number" in answer.json()["error"]


def test_sequences_are_refused(client: TestClient, caller: Caller, model: Any) -> None:
    answer = ask(client, model, sequence_id=7, sequence_start=True)
    assert answer.status_code == 400
    assert "sequences are not offered" in answer.json()["error"]
    for value in (7, "a"):
        asked = request_of(feed(model), parameters={"sequence_id": parameter(value)})
        said = caller.refused("INVALID_ARGUMENT", "ModelInfer", **asked)
        assert "sequences are not offered" in said


def test_the_parameter_holds_over_grpc(caller: Caller, busy: threading.Event, model: Any) -> None:
    asked = request_of(feed(model), parameters={"timeout": parameter(SHORT)})
    said = caller.refused("DEADLINE_EXCEEDED", "ModelInfer", **asked)
    assert "its turn had not come after 0.2 s" in said
    asked = request_of(feed(model), parameters={"timeout": parameter("soon")})
    assert "microseconds" in caller.refused("INVALID_ARGUMENT", "ModelInfer", **asked)


def test_a_later_parameter_does_not_put_off_the_call_s_deadline(
    caller: Caller, busy: threading.Event, model: Any
) -> None:
    asked = request_of(feed(model), parameters={"timeout": parameter(LONG)})
    with pytest.raises(grpc.RpcError) as caught:
        caller.call("ModelInfer", timeout=0.2, **asked)
    assert caught.value.code().name == "DEADLINE_EXCEEDED"

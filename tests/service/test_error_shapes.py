"""Each protocol's own shape of every error, whatever refuses the request."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from fastapi.testclient import TestClient

from isslim.service.error_shapes import PROBLEM, shape_of
from isslim.service.main import create_app
from isslim.service.problems import RequestError
from isslim.settings.service import ServiceSettings
from tests.service.test_hostile import pieces
from tests.service.test_routes import problem

LIMIT = 100_000


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home = tmp_path_factory.mktemp("home")
    app = create_app(ServiceSettings(home=home, body_limit_bytes=LIMIT))

    @app.get("/v2/test/{case}")
    def refuse(case: str, number: int = 0) -> None:
        raise {"busy": RequestError("overloaded", "try again")}.get(case, ValueError("no"))

    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


def inference_error(answer: httpx.Response, status: int) -> str:
    """The text of an error of the Open Inference Protocol."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    body = answer.json()
    assert list(body) == ["error"]
    assert isinstance(body["error"], str)
    assert body["error"]
    return str(body["error"])


def test_beginnings_of_paths_are_whole() -> None:
    for path in ("/v2", "/v2/", "/v2/models"):
        assert shape_of(path) is not PROBLEM
    for path in ("/", "/v2x", "/models/v2", "/models/a/v2"):
        assert shape_of(path) is PROBLEM


def test_every_error_below_a_prefix_has_its_shape(client: TestClient) -> None:
    assert "GET /v2/nope: Not Found" in inference_error(client.get("/v2/nope"), 404)
    wrong_method = client.delete("/v2/test/busy")
    inference_error(wrong_method, 405)
    assert wrong_method.headers["allow"] == "GET"
    assert "/query/number" in inference_error(client.get("/v2/test/busy?number=x"), 400)
    inference_error(client.post("/v2/test/busy", content=b"x" * (LIMIT + 1)), 413)
    busy = client.get("/v2/test/busy")
    assert inference_error(busy, 503) == "try again"
    assert busy.headers["retry-after"] == "1"
    assert inference_error(client.get("/v2/test/fault"), 500).startswith("ValueError; ")


def test_body_without_a_length_is_refused_in_the_shape_of_its_path(client: TestClient) -> None:
    @client.app.post("/v2/test")  # type: ignore[attr-defined]
    def read(body: list[int]) -> None:
        pass

    inference_error(client.post("/v2/test", content=pieces(3)), 413)


def test_other_paths_have_problems(client: TestClient) -> None:
    problem(client.get("/nope"), 404, "http")
    problem(client.post("/score", content=b"x" * (LIMIT + 1)), 413, "too-large")

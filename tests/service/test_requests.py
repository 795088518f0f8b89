"""What holds for every request: its id, its compressed answer, and what it may not hold."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from tests.conftest import Published
from tests.service.served import served
from tests.service.test_routes import problem

ASK = {"model": "tiny", "texts": ["the cat sees the river"] * 20}


@pytest.fixture(scope="module")
def client(published: Published) -> Iterator[TestClient]:
    app = create_app(ServiceSettings(home=published.settings.home))

    @app.get("/fails")
    def fails() -> None:
        logging.getLogger("service").warning("about to fail")
        raise ValueError("no")

    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


def test_every_answer_names_its_request(client: TestClient) -> None:
    for sent, kept in (("abc-1.2:3", True), ("a b", False), ("x" * 129, False), ("", False)):
        for path, status in (("/health/live", 200), ("/jobs/nope", 404), ("/fails", 500)):
            answer = client.get(path, headers={"x-request-id": sent})
            assert answer.status_code == status
            found = answer.headers.get_list("x-request-id")
            assert len(found) == 1
            assert (found[0] == sent) is kept
            assert len(found[0]) == 32 or kept
            if status != 200:
                assert answer.json()["request_id"] == found[0]
    first, second = (client.get("/health/live").headers["x-request-id"] for _ in range(2))
    assert first != second


def test_log_lines_name_their_request(published: Published, tmp_path: Path) -> None:
    log = tmp_path / "log"
    service = served(published.settings.home, {"ISS_LOG_LEVEL": "INFO"}, log)
    with service as url:
        httpx.get(f"{url}/jobs/nope", headers={"x-request-id": "mine"})
        httpx.post(f"{url}/score", json=ASK, headers={"x-request-id": "score-1"})
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    named = {each["request_id"]: each["path"] for each in lines if each.get("event") == "request"}
    assert named == {"mine": "/jobs/nope", "score-1": "/score"}


def test_json_is_compressed_where_it_pays_and_files_are_not(client: TestClient) -> None:
    def encoding(path: str, accepted: str = "gzip") -> str | None:
        answer = client.get(path, headers={"accept-encoding": accepted})
        assert answer.status_code == 200
        return answer.headers.get("content-encoding")

    assert encoding("/models") == "gzip"
    assert encoding("/models/tiny/card") == "gzip"
    assert encoding("/models", "identity") is None
    assert encoding("/health/live") is None
    for path in ("compressed.onnx", "original.onnx"):
        assert encoding(f"/models/tiny/files/{path}") is None
    plain = client.get("/models/tiny", headers={"accept-encoding": "identity"})
    packed = client.get("/models/tiny", headers={"accept-encoding": "gzip"})
    assert plain.json() == packed.json()


def test_gzip_is_sent_to_those_who_accept_it_alone(client: TestClient) -> None:
    for header, accepted in (
        ("gzip", True),
        ("GZIP", True),
        ("*", True),
        ("br, gzip;q=0.5", True),
        ("br , x-gzip", True),
        ("gzip;q=0", False),
        ("gzip; Q=0.000", False),
        ("*, gzip;q=0", False),
        ("notgzip", False),
        ("gzip;q=2", False),
        ("gzip;level=9", False),
        ("*;q=0", False),
        ("", False),
    ):
        answer = client.get("/models/tiny", headers={"accept-encoding": header})
        assert answer.json()["id"]
        assert ("content-encoding" in answer.headers) is accepted, header
        assert answer.headers["vary"] == "Accept-Encoding"


def test_file_is_resumed_from_the_bytes_of_its_etag(client: TestClient) -> None:
    path, gzip = "/models/tiny/files/report.json", {"accept-encoding": "gzip"}
    first = client.get(path, headers=gzip)
    assert "content-encoding" not in first.headers
    resumed = {**gzip, "range": "bytes=100-", "if-range": first.headers["etag"]}
    rest = client.get(path, headers=resumed)
    assert rest.status_code == 206
    assert first.content[:100] + rest.content == first.content


def test_path_with_a_line_break_at_its_end_is_another_one(client: TestClient) -> None:
    for path in ("/models", "/models/tiny/report", "/models/tiny/files/compressed.onnx"):
        assert client.get(path).status_code == 200
        problem(client.get(f"{path}%0a"), 404, "http")


def test_events_are_not_held_back_by_compression(tmp_path: Path) -> None:
    with TestClient(create_app(ServiceSettings(home=tmp_path))) as client:
        job = client.post("/compress", files={"model": ("m.pt", b"xyz")}).json()
        client.delete(f"/jobs/{job['id']}")
        answer = client.get(f"/jobs/{job['id']}/events", headers={"accept-encoding": "gzip"})
    assert "event: job" in answer.text
    assert "content-encoding" not in answer.headers


def test_unknown_query_parameters_are_named_but_where_monitors_add_them(
    client: TestClient,
) -> None:
    found = problem(client.get("/models?page=1&sort=x"), 422, "invalid-request")
    assert "page, sort" in str(found["detail"])
    found = problem(client.get("/models/tiny/latency?step=1"), 422, "invalid-request")
    assert "steps" in str(found["detail"])
    problem(client.post("/score?model=tiny", json=ASK), 422, "invalid-request")
    for path in ("/health/live?t=1", "/metrics?t=1", "/docs?t=1"):
        assert client.get(path).status_code == 200


def test_query_parameter_that_is_sent_twice_is_refused_where_one_is_read(
    client: TestClient,
) -> None:
    found = problem(client.get("/models/tiny/latency?steps=3&steps=4"), 422, "invalid-request")
    assert "steps" in str(found["detail"])
    assert found["errors"] == [{"pointer": "/query/steps", "detail": "it is sent 2 times"}]


def test_field_that_is_sent_twice_is_refused(client: TestClient) -> None:
    model, words = ("m.pt", b"xyz"), ("w.txt", b"a\nb\n")
    twice = [("model", model), ("vocabulary", words), ("vocabulary", words)]
    found = problem(client.post("/compress", files=twice), 422, "invalid-request")
    assert "vocabulary (it is sent 2 times)" in str(found["detail"])


def test_options_that_are_refused_are_refused_in_words(client: TestClient) -> None:
    said = {
        '{"rank": false}': ("/options/rank", "there is no such field; `/docs` lists all"),
        '{"budget": {"size": 0.4}}': (
            "/options/budget/size",
            "there is no such field; `/docs` lists all",
        ),
        '{"minutes": 1, "finetune_minutes": 1}': (
            "/options",
            "`finetune_minutes` is the former name of `minutes`, and both are given: leave "
            "`finetune_minutes` out",
        ),
    }
    for options, (pointer, detail) in said.items():
        files = {"model": ("m.pt", b"xyz")}
        answer = client.post("/compress", files=files, data={"options": options})
        found = problem(answer, 422, "invalid-request")
        assert found["errors"] == [{"pointer": pointer, "detail": detail}]
        assert found["detail"] == f"options: {pointer}: {detail}"
    found = problem(client.post("/score", json={**ASK, "modle": "tiny"}), 422, "invalid-request")
    assert found["errors"] == [
        {"pointer": "/body/modle", "detail": "there is no such field; `/docs` lists all"}
    ]


def test_options_that_name_a_key_twice_are_refused(client: TestClient) -> None:
    twice = '{"name": "a", "budget": {"size": 0.5, "size": 0.6}}'
    files = {"model": ("m.pt", b"xyz")}
    answer = client.post("/compress", files=files, data={"options": twice})
    assert "size" in str(problem(answer, 422, "invalid-request")["detail"])

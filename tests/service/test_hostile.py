"""Requests that are wrong in unusual ways: always a problem document, never a traceback."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from isslim.client.api import Client
from isslim.demo.ports import free_port
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.shape import Shape
from isslim.service.main import create_app
from isslim.service.problems import RequestError
from isslim.service.serving.latency_cache import MAX_WAITING, LatencyCache
from isslim.service.siblings import Siblings
from isslim.settings.service import ServiceSettings
from isslim.store.bundles import BundleStore
from isslim.types.schemas.models import LatencyResponse
from tests.compress.worker.test_supervision import locked
from tests.conftest import Published, Trained
from tests.service.served import served, wait_for
from tests.service.test_routes import problem

ASK = {"model": "tiny", "texts": ["the cat"]}
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client(published: Published) -> Iterator[TestClient]:
    settings = ServiceSettings(
        home=published.settings.home, upload_limit_bytes=100_000, entries_limit=20
    )
    with TestClient(create_app(settings), raise_server_exceptions=False) as made:
        yield made


def pieces(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield b" " * 65536


def form(count: int) -> Iterator[bytes]:
    yield b'--b\r\nContent-Disposition: form-data; name="model"; filename="m.pt"\r\n\r\n'
    yield from pieces(count)
    yield b"\r\n--b--\r\n"


def test_body_without_a_length_is_refused_as_it_passes_its_limit(
    client: TestClient, published: Published
) -> None:
    problem(client.post("/score", content=pieces(200), headers=JSON), 413, "too-large")
    multipart = {"content-type": "multipart/form-data; boundary=b"}
    problem(client.post("/compress", content=form(40), headers=multipart), 413, "too-large")
    assert client.post("/score", json=ASK).status_code == 200


def test_endless_body_over_a_socket_is_refused(published: Published) -> None:
    with served(published.settings.home, {}) as url:
        problem(httpx.post(f"{url}/score", content=pieces(200), headers=JSON), 413, "too-large")
        assert httpx.post(f"{url}/score", json=ASK).status_code == 200


NAMED = 'Content-Disposition: form-data; name="model"; filename="m.pt"'
"""The header that every part of a form with a file needs."""


@pytest.mark.parametrize(
    ("boundary", "headers", "content", "told"),
    [
        ("b", f'{NAMED[:-5]}{"x" * 5000}.pt"', b"x", "more than 4,224 bytes, .* a shorter name"),
        ("b", "\r\n".join([NAMED, *(f"X-{n}: 1" for n in range(9))]), b"x", "than 8 headers"),
        ("b" * 300, NAMED, b"x", "boundary has more than 256 bytes"),
        ("", NAMED, b"x", "names no boundary"),
        ("b", "Content-Type: text/plain", b"x", "one of its parts has no name"),
        ("b", 'Content-Disposition: form-data; name="options"', b"x" * (1 << 20 | 1), "-F name=@"),
        ("b", f"{NAMED}\r\nno header", b"x", r"invalid character .* let a library write it"),
    ],
)
def test_form_that_cannot_be_read_is_said_in_words(
    published: Published, boundary: str, headers: str, content: bytes, told: str
) -> None:
    body = f"--{boundary}\r\n{headers}\r\n\r\n".encode() + content + f"\r\n--{boundary}--".encode()
    kind = "multipart/form-data" + (f"; boundary={boundary}" if boundary else "")
    with TestClient(create_app(ServiceSettings(home=published.settings.home))) as client:
        for path in ("/compress", "/inspect", "/sweeps"):
            answer = client.post(path, content=body, headers={"content-type": kind})
            detail = str(problem(answer, 400, "http")["detail"])
            assert re.search(f"POST {path}: the form cannot be read.*{told}", detail), detail


def test_text_in_the_place_of_a_file_is_refused_in_words(published: Published) -> None:
    with TestClient(create_app(ServiceSettings(home=published.settings.home))) as client:
        for field in ("model", "calibration"):
            sent = {"model": ("m.pt", b"x"), field: (None, "path/to/it")}
            detail = str(
                problem(client.post("/compress", files=sent), 422, "invalid-request")["detail"]
            )
            assert detail.startswith(f"/body/{field}: it is text, and has to be a file")


def test_form_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    """The framework drops its last part: a job would have begun without its options."""
    model = f"--b c\r\n{NAMED}\r\n\r\nx\r\n"
    field = 'Content-Disposition: form-data; name="'
    options = f'--b c\r\n{field}options"\r\n\r\n{{"name": "mine"}}'
    variations = f'--b c\r\n{field}variations"\r\n\r\n[{{}}]'
    kind = {"content-type": 'multipart/form-data; boundary="b c"'}
    with TestClient(create_app(ServiceSettings(home=tmp_path))) as client:
        for path, cut in (
            ("/compress", model + options),
            ("/inspect", f"{model}{options}\r\n--b c-"),
            ("/sweeps", model + variations),  # without which it is refused for that
        ):
            answer = client.post(path, content=cut.encode(), headers=kind)
            detail = str(problem(answer, 422, "invalid-request")["detail"])
            assert "the form is cut off: it has to end with --b c--" in detail
        whole = f"{model}{options}\r\n--b c--"
        for end in ("", "\r\n", "\r\nan epilogue, which means nothing\r\n"):
            answer = client.post("/compress", content=(whole + end).encode(), headers=kind)
            assert (answer.status_code, answer.json()["name"]) == (202, "mine")


LEFT = (
    ("POST", "/score", "application/json"),
    ("POST", "/generate", "application/json"),
    ("POST", "/v1/completions", "application/json"),
    ("POST", "/models/{model}/run", "application/json"),
    ("POST", "/v2/models/{model}/infer", "application/json"),
    ("PUT", "/aliases/{alias}", "application/json"),
    ("POST", "/jobs/{job_id}/again", "application/json"),
    ("POST", "/compress", "multipart/form-data; boundary=b"),
)


def last_audited(url: str) -> dict[str, int]:
    """The status of the newest entry of each path in a service's audit trail."""
    oldest_first = reversed(httpx.get(f"{url}/audit").json())
    return {each["path"]: each["status"] for each in oldest_first}


def test_sender_that_leaves_in_the_middle_of_a_body_is_no_fault(
    published: Published, tmp_path: Path
) -> None:
    with served(published.settings.home, {}, tmp_path / "log") as url:
        host, port = url.removeprefix("http://").split(":")
        for method, path, kind in LEFT:
            head = f"{method} {re.sub('{.*}', 'tiny', path)} HTTP/1.1\r\nhost: {host}\r\n"
            head += f"content-type: {kind}\r\ncontent-length: 9999\r\n\r\n"
            with socket.create_connection((host, int(port))) as sender:
                sender.sendall(head.encode() + (b"{" if "json" in kind else next(form(0))))
        limit = time.monotonic() + 20
        expected = {
            f'http_request_method="{method}",http_response_status_code="499",http_route="{path}"'
            for method, path, _ in LEFT
        }
        while not all(each in (metrics := httpx.get(f"{url}/metrics").text) for each in expected):
            assert time.monotonic() < limit, [each for each in expected if each not in metrics]
            time.sleep(0.1)
        assert 'http_response_status_code="500"' not in metrics
        # An entry of a sender who left is written after the request was counted.
        left = dict.fromkeys(("/compress", "/aliases/tiny", "/jobs/tiny/again"), 499)
        while not left.items() <= (entries := last_audited(url)).items():
            assert time.monotonic() < limit, entries
            time.sleep(0.1)
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_full_disk_while_an_upload_arrives_is_told_and_leaves_nothing(
    published: Published, tmp_path: Path
) -> None:
    # A limit on the size of files is a full disk that a test can have: writes fail with EFBIG.
    with served(tmp_path, {"LIMIT": "1500000"}) as url:
        for size in (1_400_000, 4_000_000):
            expected = 202 if size < 1_500_000 else 507
            answer = httpx.post(f"{url}/compress", files={"model": ("m.pt", os.urandom(size))})
            assert answer.status_code == expected, answer.text
        assert answer.json()["type"] == "out-of-space"
        assert httpx.get(f"{url}/health/ready").status_code == 200
        assert list((tmp_path / "arriving").iterdir()) == []
        assert len(list((tmp_path / "artifacts" / "uploads").iterdir())) == 1


def test_unknown_job_has_no_events(client: TestClient) -> None:
    problem(client.get("/jobs/nope/events"), 404, "not-found")


def test_values_that_no_text_or_token_can_have_are_refused(client: TestClient) -> None:
    problem(
        client.post("/score", json={"model": "tiny", "token_ids": [[2**70]]}),
        422,
        "invalid-request",
    )
    problem(
        client.post("/score", json={"model": "tiny", "token_ids": [[-1]]}),
        422,
        "token-out-of-range",
    )
    for body in (
        b'{"model": "tiny", "texts": ["the \\ud800 cat"]}',
        b'{"model": "\\ud800", "texts": ["the cat"]}',
        b'{"model": "tiny", "texts": ["the cat"], "\\ud800": 1}',
    ):
        problem(client.post("/score", content=body, headers=JSON), 422, "invalid-request")


def test_body_that_is_not_utf8_is_said_to_be(client: TestClient) -> None:
    text = '{"model": "tiny", "texts": ["the cat"]}'
    for content, place in (
        (text.encode("utf-16"), "byte 0 is 0xff"),
        (text.replace("c", "ç").encode("latin-1"), "byte 33 is 0xe7"),
    ):
        found = problem(client.post("/score", content=content, headers=JSON), 400, "http")
        assert f"not in UTF-8, as JSON has to be: {place}" in str(found["detail"])
    assert client.post("/score", content=text.encode("utf-8-sig"), headers=JSON).status_code == 200


def test_answers_are_bounded(client: TestClient) -> None:
    problem(
        client.post("/score", json={**ASK, "variants": ["original"] * 2}), 422, "invalid-request"
    )
    many = {**ASK, "variants": ["original"], "per_token": True}
    assert client.post("/score", json={**many, "top_k": 9}).status_code == 200
    problem(client.post("/score", json={**many, "top_k": 10}), 413, "too-large")


def test_comparing_latency_keeps_no_session_and_knows_its_devices(client: TestClient) -> None:
    assert client.post("/score", json=ASK).status_code == 200
    house = client.app.state.context  # type: ignore[attr-defined]
    before = house.models.memory_bytes()
    found = client.get("/models/tiny/latency", params={"steps": 1, "device": "cpu"}).json()
    assert {record["device"] for records in found["results"].values() for record in records} == {
        "cpu"
    }
    assert house.models.memory_bytes() == before
    problem(
        client.get("/models/tiny/latency", params={"device": "abacus"}), 422, "device-unavailable"
    )
    problem(client.get("/models/tiny/latency", params={"threads": 100_000}), 422, "invalid-request")


def test_only_a_few_wait_to_compare_latency(client: TestClient) -> None:
    comparisons, measured = LatencyCache(Siblings()), []

    async def measure() -> LatencyResponse:
        measured.append(1)
        await asyncio.sleep(0.2)
        return LatencyResponse(
            model_id="m",
            measured_at=datetime.now(UTC),
            cached=False,
            baseline="original",
            results={},
        )

    async def crowd() -> list[LatencyResponse | BaseException]:
        await comparisons.get(("m", Shape(1, 1), 1, None), measure, anew=False)
        asked = [
            comparisons.get(("m", Shape(1, 1), 1, None), measure, anew=True)
            for _ in range(MAX_WAITING + 2)
        ]
        found = await asyncio.gather(*asked, return_exceptions=True)
        return [*found, await comparisons.get(("m", Shape(1, 1), 1, None), measure, anew=False)]

    *found, last = asyncio.run(crowd())
    refused = [each for each in found if isinstance(each, RequestError)]
    assert [each.kind for each in refused] == ["overloaded"] * 2
    assert len(measured) == 2  # once, and once anew for all who asked at one time
    assert isinstance(last, LatencyResponse)
    assert last.cached


def test_long_texts_are_refused_or_split_beside_other_requests(
    client: TestClient, published: Published
) -> None:
    problem(client.post("/score", json={**ASK, "texts": ["x" * 2_000_001]}), 413, "too-large")
    refused = problem(
        client.post("/score", json={**ASK, "texts": ["x" * 1_000_000]}), 422, "text-refused"
    )
    assert len(str(refused)) < 1000
    problem(client.post("/score", json={**ASK, "model": "x" * 1_000_000}), 422, "invalid-request")
    codec = LoadedLanguageModel(BundleStore(published.settings).open(published.bundle_id)).codec
    text, pauses, done = "xyzzy " * 250_000 + "the", [], threading.Event()

    def watch() -> None:
        while not done.is_set():
            before = time.perf_counter()
            time.sleep(0.01)
            pauses.append(time.perf_counter() - before)

    watching = threading.Thread(target=watch)
    watching.start()
    began = time.perf_counter()
    codec.tokenizer.encode(
        text, add_special_tokens=False
    )  # the way that keeps the interpreter to itself
    alone = max(pauses)
    pauses.clear()
    began = time.perf_counter()
    assert len(codec.encode(text)) == 250_001
    took = time.perf_counter() - began
    done.set()
    watching.join()
    assert max(pauses) < alone / 2, (took, alone)


@pytest.mark.parametrize("asked", ["bytes=999999999-", "bytes=x", "bytes=5-1", "lines=1-2"])
def test_part_that_a_file_has_not_is_a_problem(asked: str, client: TestClient) -> None:
    address = "/models/tiny/files/README.md"
    answer = client.get(address, headers={"range": asked})
    problem(answer, 416, "range")
    whole = client.get(address).content
    assert answer.headers["content-range"] == f"bytes */{len(whole)}"
    part = client.get(address, headers={"range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, whole[2:6])


def test_latency_of_more_than_memory_should_hold_is_refused_before_it_runs(
    published: Published,
) -> None:
    tight = ServiceSettings(home=published.settings.home, latency_limit_bytes=10_000)
    with TestClient(create_app(tight)) as client:
        refused = client.get("/models/tiny/latency", params={"steps": 1000, "batch": 256})
        assert refused.status_code == 413
        assert refused.json()["type"] == "too-large"
        assert "fewer steps" in refused.json()["detail"]
        assert client.get("/models/tiny/latency", params={"steps": 2}).status_code == 200


def test_unknown_fields_of_an_upload_are_named(client: TestClient, trained: Trained) -> None:
    for path, data in (
        ("/compress", {}),
        ("/sweeps", {"variations": '[{"budget": {"size_ratio": 0.5}}]'}),
    ):
        with trained.model.open("rb") as model, trained.held_out.open("rb") as text:
            refused = client.post(path, files={"model": model, "heldout": text}, data=data)
        assert refused.status_code == 422, refused.text
        assert "heldout" in refused.json()["detail"]
        assert "held_out" in refused.json()["detail"]
        assert refused.json()["errors"][0]["pointer"] == "/heldout"


def test_fault_of_the_service_is_a_problem_document_too(tmp_path: Path) -> None:
    app = create_app(ServiceSettings(home=tmp_path))
    with TestClient(app, raise_server_exceptions=False) as client:
        (tmp_path / "jobs.sqlite").write_bytes(b"no database" * 1000)
        for name in ("jobs.sqlite-wal", "jobs.sqlite-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        app.state.context.queue.records.close()
        problem(client.get("/health/ready"), 500, "internal")
        problem(client.post("/compress", files={"model": ("m.pt", b"xyz")}), 500, "internal")
        assert client.get("/health/live").status_code == 200


def test_database_that_does_not_answer_is_told_apart_from_a_fault(tmp_path: Path) -> None:
    app = create_app(ServiceSettings(home=tmp_path, database_wait_seconds=0.05))
    with TestClient(app, raise_server_exceptions=False) as client:
        job = client.post("/compress", files={"model": ("m.pt", b"xyz")}).json()
        with locked(app.state.context.queue.records):
            answer = client.post("/compress", files={"model": ("m.pt", b"other")})
            problem(answer, 503, "database-unavailable")
            assert answer.headers["retry-after"] == "1"
            assert "insert" not in answer.text.lower()
            problem(client.delete(f"/jobs/{job['id']}"), 503, "database-unavailable")
            assert client.get(f"/jobs/{job['id']}").json()["state"] == "queued"
        assert len(list((tmp_path / "artifacts" / "uploads").iterdir())) == 1
        assert client.delete(f"/jobs/{job['id']}").json()["state"] == "cancelled"


def test_logs_are_json_lines(published: Published, tmp_path: Path) -> None:
    with served(published.settings.home, {"ISS_LOG_LEVEL": "INFO"}, tmp_path / "log") as url:
        httpx.post(f"{url}/score", json=ASK)
        httpx.get(f"{url}/health/live")
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [(line["route"], line["status"]) for line in requests] == [("/score", 200)]


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=pytest.mark.slow)])
def test_serve_answers_and_ends_both_processes_on_sigterm(host: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "isslim.client",
        "serve",
        "--host",
        host,
        "--port",
        str(port),
        "--home",
        str(tmp_path),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    with Client(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}") as client:
        wait_for(client)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 2
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=40)
        assert not client.ready()
    assert not any(Path(f"/proc/{child}").exists() for child in children)

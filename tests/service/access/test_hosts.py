"""Without keys: no page of another site uses the service through its user's browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient

from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from tests.conftest import Published
from tests.service.access.conftest import Keys
from tests.service.served import served

ROOT = Path(__file__).parents[3]
OURS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def plain(published: Published) -> Iterator[TestClient]:
    app = create_app(ServiceSettings(home=published.settings.home))
    with TestClient(app, base_url=OURS, raise_server_exceptions=False) as made:
        yield made


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "LOCALHOST:1",
        "127.0.0.1",
        "127.0.0.1:8000",
        "127.1.2.3",
        "[::1]",
        "[::1]:8000",
    ],
)
def test_own_names_are_answered(host: str, plain: TestClient) -> None:
    assert plain.get("/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.1.2.3",
        "",
        "[::1",
        "::1",
        "user@localhost",
        "a:b",
    ],
)
def test_other_names_are_refused(host: str, plain: TestClient) -> None:
    for method, path in (("GET", "/models"), ("DELETE", "/models/tiny"), ("POST", "/score")):
        answer = plain.request(method, path, headers={"host": host})
        assert (answer.status_code, answer.json()["type"]) == (403, "unknown-host")
        assert "ISS_ALLOWED_HOSTS" in answer.json()["detail"]
    answer = plain.get("/v2", headers={"host": host})
    assert list(answer.json()) == ["error"]


def test_address_that_is_listened_on_and_named_hosts_are_ours(published: Published) -> None:
    settings = ServiceSettings(
        home=published.settings.home, host="192.0.2.7", allowed_hosts="iss.example, Other.example"
    )
    with TestClient(create_app(settings), base_url="http://10.9.8.7") as client:
        for host in ("192.0.2.7:80", "iss.example", "other.example:8080", "10.9.8.7"):
            assert client.get("/models", headers={"host": host}).status_code == 200, host
        assert client.get("/models", headers={"host": "10.9.8.8"}).status_code == 403
        origin = {"host": "127.0.0.1:8000", "origin": "https://iss.example"}
        answer = client.post("/score", json={}, headers=origin)  # behind a proxy of this name
        assert answer.status_code == 422


def test_any_host_may_be_allowed(published: Published) -> None:
    settings = ServiceSettings(home=published.settings.home, allowed_hosts="*")
    with TestClient(create_app(settings), base_url=OURS) as client:
        headers = {"host": "evil.example", "origin": "http://other.example"}
        assert client.post("/score", json={}, headers=headers).status_code == 422


@pytest.mark.parametrize(
    ("headers", "is_refused"),
    [
        ({}, False),
        ({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}, False),
        ({"origin": "HTTP://127.0.0.1:8000"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"origin": "http://evil.example"}, True),
        ({"origin": "null"}, True),
        ({"origin": "http://127.0.0.1:3000", "sec-fetch-site": "same-site"}, True),
        ({"origin": "http://localhost:8000"}, True),
        ({"origin": "http://127.0.0.1:8000.evil.example"}, True),
    ],
)
def test_pages_of_other_sites_change_nothing(
    headers: dict[str, str], is_refused: bool, plain: TestClient
) -> None:
    asked = (
        ("POST", "/sweeps", {"files": {"model": b"x"}}),  # no variations: 422
        ("POST", "/score", {"json": {}}),
        ("DELETE", "/models/nope", {}),
        ("PUT", "/aliases/prod", {"json": {}}),
    )
    for method, path, content in asked:
        answer = plain.request(method, path, headers=headers, **content)  # type: ignore[arg-type]
        kind = answer.json()["type"]
        assert (kind == "cross-site") is is_refused, (method, path, answer.text)
        assert (answer.status_code == 403) is is_refused
    assert plain.get("/models", headers=headers).status_code == 200


def test_with_keys_every_name_will_do(guarded: TestClient, keys: Keys) -> None:
    headers = keys.headers("read") | {"host": "iss.example", "origin": "https://page.example"}
    assert guarded.get("/models", headers=headers).status_code == 200


def test_listening_for_others_without_keys_is_said(
    published: Published, keys: Keys, tmp_path: Path
) -> None:
    home = published.settings.home
    for settings, is_said in (
        (ServiceSettings(home=home, host="0.0.0.0"), True),
        (ServiceSettings(home=home, host="::"), True),
        (ServiceSettings(home=home, host="iss.example"), True),
        (ServiceSettings(home=home, host="::1"), False),
        (ServiceSettings(home=home, host="localhost"), False),
        (ServiceSettings(home=home, host="0.0.0.0", api_keys_file=keys.file), False),
    ):
        assert (settings.exposure is not None) is is_said
    log = tmp_path / "log"
    with (
        served(home, {"ISS_HOST": "0.0.0.0"}, log) as url,
        TestClient(create_app(ServiceSettings(home=home, host="0.0.0.0"))) as client,
    ):
        assert "listening on 0.0.0.0 without keys" in log.read_text()
        warning, missing = client.get("/health/ready").json()["warnings"]
        assert missing.startswith("no-worker: ")
        assert "ISS_API_KEYS_FILE" in warning
        assert url.startswith("http://127.0.0.1")


def test_containers_call_the_service_by_its_name() -> None:
    """The networks of `docker compose` know each service by the name that it has in the file."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    for name in ("service", "service-gpu"):
        assert compose["services"][name]["environment"]["ISS_ALLOWED_HOSTS"] == name

"""Behind a reverse proxy: TLS, a path below which the service is, and who may say who asks."""

from __future__ import annotations

import re
import shutil
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from fastapi.testclient import TestClient

from isslim.demo.ports import free_port
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.types.access import Scope
from tests.conftest import Published
from tests.service.access.conftest import make_keys
from tests.service.access.proxies import Caddy, Nginx, ReverseProxy
from tests.service.served import served

SCORE = {"model": "tiny", "texts": ["the cat"]}


@pytest.fixture
def below(published: Published) -> Iterator[TestClient]:
    app = create_app(ServiceSettings(home=published.settings.home, root_path="/iss/lim"))
    with TestClient(app, follow_redirects=False) as made:
        yield made


def test_paths_are_the_same_below_a_prefix(below: TestClient, published: Published) -> None:
    for prefix in ("/iss/lim", ""):  # passed on, or taken off by the proxy
        assert below.get(f"{prefix}/health/live").status_code == 200
        assert below.post(f"{prefix}/score", json=SCORE).status_code == 200
        assert below.get(f"{prefix}/models/tiny").status_code == 200
        error = below.get(f"{prefix}/v2/models/nope").json()
        assert list(error) == ["error"]  # in its protocol's shape
        large = below.post(f"{prefix}/compress", content=b"x" * (9 << 20))
        assert large.status_code != 413, "the limit of uploads, not that of other bodies"
    assert below.get("/iss/limes/models").status_code == 404
    card = below.get("/iss/lim/models/tiny/card").text
    (picture,) = set(re.findall(r"\]\((\S*curve\.svg)\)", card))
    assert picture == f"/iss/lim/models/{published.bundle_id}/files/curve.svg"
    assert below.get(picture).status_code == 200
    assert below.get("/iss/lim/openapi.json").json()["servers"][0]["url"] == "/iss/lim"


@pytest.mark.parametrize(
    ("asked", "address"),
    [
        ("/iss/lim", "/iss/lim/ui/"),
        ("/iss/lim/", "/iss/lim/ui/"),
        ("/iss/lim/ui", "/iss/lim/ui/"),
        ("/iss/lim/models/", "/iss/lim/models"),
    ],
)
def test_redirections_stay_below_the_prefix(asked: str, address: str, below: TestClient) -> None:
    answer = below.get(asked, headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (307, address)


@pytest.mark.parametrize("path", ["iss", "/iss/", "//iss", "/i ss", "/iss?x"])
def test_wrong_prefix_is_refused_at_the_start(path: str) -> None:
    with pytest.raises(ValueError, match="root_path"):
        ServiceSettings(root_path=path)


def remotes(url: str, key: str) -> list[str]:
    headers = {"x-api-key": key, "x-forwarded-for": "203.0.113.9"}
    httpx.delete(f"{url}/jobs/nope", headers=headers)
    entries = httpx.get(f"{url}/audit", headers={"x-api-key": key}).json()
    return [each["remote"] for each in entries[:1]]


@pytest.mark.slow
def test_only_a_named_proxy_says_who_asks(tmp_path: Path) -> None:
    keys = make_keys(tmp_path, root=[Scope.ADMIN])
    for proxies, remote in (
        ("", "127.0.0.1"),
        ("192.0.2.0/24", "127.0.0.1"),
        ("192.0.2.0/24,127.0.0.1", "203.0.113.9"),
    ):
        limits = {"ISS_API_KEYS_FILE": str(keys.file), "ISS_TRUSTED_PROXIES": proxies}
        with served(tmp_path / "home", limits) as url:
            assert remotes(url, keys.by_name["root"]) == [remote]


def connections(address: str) -> int:
    """How many connections to an address of this machine are open.

    Args:
        address: such as `127.0.0.1:8000`.
    """
    port = int(address.rpartition(":")[2])
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[1].endswith(f":{port:04X}") and line[3] == "01" for line in lines)


@contextmanager
def behind(
    kind: type[ReverseProxy], folder: Path, published: Published
) -> Iterator[tuple[httpx.Client, ReverseProxy, str]]:
    """A client with a key of a service behind a proxy, the proxy, and the service's own address.

    Args:
        kind: of the proxy.
        folder: for all files.
        published: what the service has.
    """
    keys = make_keys(folder, root=[Scope.ADMIN])
    home, grpc_port = folder / "home", free_port()
    shutil.copytree(published.settings.home / "artifacts", home / "artifacts")
    (folder / "proxy").mkdir()
    limits = {
        "ISS_API_KEYS_FILE": str(keys.file),
        "ISS_ROOT_PATH": "/isslim",
        "ISS_TRUSTED_PROXIES": "127.0.0.1",
        "ISS_GRPC_PORT": str(grpc_port),
    }
    with served(home, limits) as url:
        upstream = url.removeprefix("http://")
        with kind(folder / "proxy", upstream, f"127.0.0.1:{grpc_port}") as proxy:
            trusted = ssl.create_default_context(cafile=str(proxy.certificate))
            headers = {"x-api-key": keys.by_name["root"]}
            address = f"https://localhost:{proxy.port}"
            with httpx.Client(
                verify=trusted, headers=headers, timeout=60, base_url=address
            ) as client:
                until = time.monotonic() + 20
                while True:
                    try:
                        assert client.get("/isslim/health/ready").status_code == 200
                        break
                    except httpx.TransportError:
                        assert time.monotonic() < until
                        time.sleep(0.1)
                yield client, proxy, upstream


def asks_over_grpc(client: httpx.Client, proxy: ReverseProxy) -> None:
    """Calls go through with a key, and are refused without one.

    Args:
        client: with a key.
        proxy: in front of the service.
    """
    trusted = grpc.ssl_channel_credentials(proxy.certificate.read_bytes())
    with grpc.secure_channel(f"localhost:{proxy.port}", trusted) as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ServerMetadata")
        key = (("x-api-key", client.headers["x-api-key"]),)
        assert b"isslim" in ask(b"", metadata=key, timeout=20)
        with pytest.raises(grpc.RpcError) as refused:
            ask(b"", timeout=20)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Nginx, Caddy])
def test_proxy_as_documented(
    kind: type[ReverseProxy], tmp_path: Path, published: Published
) -> None:
    with behind(kind, tmp_path, published) as (client, proxy, upstream):
        assert client.get("/isslim/models", headers={"x-api-key": ""}).status_code == 401
        assert client.post("/isslim/score", json=SCORE).status_code == 200
        for path in ("/isslim", "/isslim/", "/isslim/ui"):
            page = client.get(path, headers={"accept": "text/html"}, follow_redirects=True)
            assert (page.status_code, page.url.path) == (200, "/isslim/ui/")
        docs = client.get("/isslim/docs").text
        for each in re.findall(r'(?:src|href)="([^"]+)"', docs):
            assert client.get(f"/isslim/{each}").status_code == 200
        made = client.post("/isslim/compress", files={"model": b"x" * (9 << 20)})
        assert made.status_code == 202, made.text
        location = f"/isslim/jobs/{made.json()['id']}"
        assert made.headers["location"] == location
        assert client.get(location).json()["state"] == "queued"
        for _ in range(3):
            with client.stream("GET", f"{location}/events") as events:
                parts, received = events.iter_raw(), b""
                while b"event: job" not in received:  # at once, though the job goes on
                    received += next(parts)
                assert connections(upstream)
        entry = client.get("/isslim/audit").json()[0]
        assert (entry["path"], entry["remote"]) == ("/compress", "127.0.0.1")
        client.delete("/isslim/jobs/nope", headers={"x-forwarded-for": "203.0.113.9"})
        # The address that the proxy saw, and not what it was told.
        assert client.get("/isslim/audit").json()[0]["remote"] == "127.0.0.1"
        text = {"model": "tiny", "prompt": "the", "stream": True, "max_tokens": 3, "seed": 1}
        with client.stream("POST", "/isslim/generate", json=text) as answer:
            assert b"event" in answer.read()
        asks_over_grpc(client, proxy)
        # Who has left is let go of: what is kept open for the next request ends after seconds.
        until = time.monotonic() + 20
        while connections(upstream):
            assert time.monotonic() < until
            time.sleep(0.2)

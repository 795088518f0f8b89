"""Behind a reverse proxy: TLS, a path below which the service is, and who may say who asks."""

from __future__ import annotations

import os
import re
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from isslim.demo.ports import free_port
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.types.access import Scope
from tests.conftest import Published
from tests.service.access.conftest import make_keys
from tests.service.served import served

DEPLOY = Path(__file__).parents[3] / "docs" / "deploy.md"
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


class Nginx:
    """nginx with the configuration of the documentation, on loopback, with its own certificate."""

    def __init__(self, folder: Path, upstream: str) -> None:
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None or shutil.which("openssl") is None:
            if os.environ.get("CI"):
                pytest.fail("nginx or openssl is not installed")
            pytest.skip("nginx or openssl is not installed")
        self.port, self.certificate, self._folder = free_port(), folder / "c.pem", folder
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        made = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", folder / "c.key"]
        subprocess.run(
            ["openssl", "req", "-x509", *made, "-out", self.certificate, *names],
            check=True,
            capture_output=True,
        )
        (server,) = re.findall(r"^```nginx\n(.*?)^```$", DEPLOY.read_text(), re.M | re.S)
        for documented, here in (
            ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"),
            ("server_name iss.example", "server_name localhost"),
            ("/etc/ssl/iss.example.pem", str(self.certificate)),
            ("/etc/ssl/iss.example.key", str(folder / "c.key")),
            ("http://127.0.0.1:8000", upstream),
        ):
            assert documented in server
            server = server.replace(documented, here)
        places = "".join(
            f"{name}_temp_path {folder / name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {folder / 'pid'}; error_log stderr;\n"
            f"events {{}}\nhttp {{ access_log off;\n{places}{server}}}\n"
        )
        self._program = program

    def __enter__(self) -> Nginx:
        configuration = str(self._folder / "nginx.conf")
        self._process = subprocess.Popen(
            [self._program, "-p", str(self._folder), "-c", configuration]
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=20)


@pytest.mark.slow
def test_nginx_as_documented(tmp_path: Path, published: Published) -> None:
    keys = make_keys(tmp_path, root=[Scope.ADMIN])
    home, key = tmp_path / "home", keys.by_name["root"]
    shutil.copytree(published.settings.home / "artifacts", home / "artifacts")
    limits = {
        "ISS_API_KEYS_FILE": str(keys.file),
        "ISS_ROOT_PATH": "/isslim",
        "ISS_TRUSTED_PROXIES": "127.0.0.1",
    }
    with served(home, limits) as upstream, Nginx(tmp_path, upstream) as proxy:
        trusted = ssl.create_default_context(cafile=str(proxy.certificate))
        url = f"https://localhost:{proxy.port}/isslim"
        with httpx.Client(verify=trusted, headers={"x-api-key": key}, timeout=60) as client:
            until = time.monotonic() + 20
            while True:
                try:
                    assert client.get(f"{url}/health/ready").status_code == 200
                    break
                except httpx.ConnectError:
                    assert time.monotonic() < until
                    time.sleep(0.1)
            assert client.get(f"{url}/models", headers={"x-api-key": ""}).status_code == 401
            assert client.post(f"{url}/score", json=SCORE).status_code == 200
            page = client.get(f"https://localhost:{proxy.port}/isslim/ui", follow_redirects=True)
            assert (page.status_code, str(page.url)) == (200, f"{url}/ui/")
            made = client.post(f"{url}/compress", files={"model": b"x" * (9 << 20)})
            assert made.status_code == 202, made.text
            assert made.headers["location"] == f"/isslim/jobs/{made.json()['id']}"
            job = client.get(f"https://localhost:{proxy.port}{made.headers['location']}")
            assert job.json()["state"] == "queued"
            with client.stream("GET", f"{url}/jobs/{made.json()['id']}/events") as events:
                received = b""
                for part in events.iter_raw():
                    received += part
                    if b"event: job" in received:  # at once, though the job goes on
                        break
            entry = client.get(f"{url}/audit").json()[0]
            assert (entry["path"], entry["remote"]) == ("/compress", "127.0.0.1")
            names = {"x-api-key": key, "x-forwarded-for": "203.0.113.9"}
            client.delete(f"{url}/jobs/nope", headers=names)
            # nginx appends the address that it saw, which is believed before what it was told.
            assert client.get(f"{url}/audit").json()[0]["remote"] in ("127.0.0.1", "203.0.113.9")
            text = {"model": "tiny", "prompt": "the", "stream": True, "max_tokens": 3, "seed": 1}
            with client.stream("POST", f"{url}/generate", json=text) as answer:
                assert b"event" in answer.read()

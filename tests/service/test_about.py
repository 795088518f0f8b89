"""What the service says of itself, and its documentation in a browser without a network."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import isslim
from tests.conftest import Published
from tests.service.served import served
from tests.service.test_routes import problem

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def http(published: Published) -> Iterator[httpx.Client]:
    with (
        served(published.settings.home, {}) as url,
        httpx.Client(base_url=url, follow_redirects=False) as client,
    ):
        yield client


def test_root_says_what_this_is_and_sends_browsers_to_the_page(http: httpx.Client) -> None:
    found = http.get("/")
    assert found.json() == {
        "name": "isslim",
        "version": isslim.__version__,
        "page": "/ui/",
        "docs": "/docs",
        "openapi": "/openapi.json",
        "models": "/models",
    }
    for name in ("page", "docs", "openapi", "models"):
        assert http.get(found.json()[name]).status_code == 200
    browser = http.get("/", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (browser.status_code, browser.headers["location"]) == (307, "ui/")


def test_documentation_loads_only_what_is_served_here(http: httpx.Client) -> None:
    page = http.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(addresses) == 4
    assert not re.search(r"<script>|<style|style=|onload=", page.text)
    for address in addresses:
        answer = http.get(f"/{address}")
        assert answer.status_code == 200
        assert len(answer.content) > 100
        assert answer.headers["x-content-type-options"] == "nosniff"
    problem(http.get("/static/core.py"), 422, "invalid-request")
    problem(http.get("/static/../about.py"), 404, "http")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_documentation_shows_every_operation_without_a_network(
    http: httpx.Client, tmp_path: Path
) -> None:
    """Every name but the service's own address fails to resolve, as without a network."""
    shown = subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            f"--user-data-dir={tmp_path}",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--virtual-time-budget=30000",
            "--enable-logging=stderr",
            "--dump-dom",
            f"{http.base_url.join('/docs')}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    operations = re.findall(r'class="opblock opblock-', shown.stdout)
    document = http.get("/openapi.json").json()
    assert len(operations) == sum(len(methods) for methods in document["paths"].values())
    assert len(operations) >= 20
    assert "Content Security Policy" not in shown.stderr

"""A browser, and a service with a worker, models of every kind, and an alias that is tried."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from isslim.client.api import Client
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from isslim.types.schemas.aliases import AliasRequest, ShadowRequest
from tests.conftest import WORDS, Published, Trained, compress_in
from tests.reader import publish as publish_reader
from tests.service.served import service_and_worker
from tests.tagger import publish as publish_tagger

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",  # of Chromium's own, which a container's root has not
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = "<img/src=x/onerror=document.title='taken'>"
"""A word of a vocabulary; what becomes of it as an element is seen in the title."""
WAIT = 60_000
"""Milliseconds that a busy host may take for anything."""
expect.set_options(timeout=WAIT)
PICTURES = Path(os.environ.get("TEST_PICTURES", ""))
"""Where screenshots are kept, where it is set."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Where it is not installed the tests are skipped, but in CI they fail."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is not installed: apt-get install chromium")
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield made
        made.close()


@dataclass
class Seen:
    """A tab, and what went wrong in it.

    Attributes:
        page: the tab.
        url: of the service.
        faults: violations of the policy, errors of scripts, requests to other hosts.
    """

    page: Page
    url: str
    faults: list[str] = field(default_factory=list)

    def open(self, path: str = "") -> Page:
        """Opens a screen, and waits for its heading."""
        self.page.goto(f"{self.url}/ui/#/{path}")
        self.page.locator("main h1").wait_for()
        return self.page

    def picture(self, name: str) -> None:
        """Keeps a screenshot."""
        if PICTURES.name:
            PICTURES.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def watched(page: Page, url: str) -> Seen:
    """Notes all that should never happen in a tab."""
    seen = Seen(page, url)

    def noted(message: ConsoleMessage) -> None:
        # A status of 400 or more is an answer, which the page shows.
        if message.type in ("error", "warning") and "status of" not in message.text:
            seen.faults.append(message.text)

    page.on("console", noted)
    page.on("pageerror", lambda error: seen.faults.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((seen.url, "data:", "blob:"))
            else seen.faults.append(request.url)
        ),
    )
    page.set_default_timeout(WAIT)
    return seen


@pytest.fixture
def seen(browser: Browser, service: str) -> Iterator[Seen]:
    """A tab at the service; at the end nothing has gone wrong in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    made = watched(context.new_page(), service)
    yield made
    context.close()
    assert made.faults == []


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, published: Published, trained: Trained) -> Path:
    """Models of every kind, and one whose vocabulary holds a hostile word."""
    home = tmp_path_factory.mktemp("page") / "home"
    shutil.copytree(published.settings.home, home)
    publish_reader(home)
    publish_tagger(home)
    manifest = BundleStore(StoreSettings(home=home)).open(published.bundle_id).manifest
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copytree(trained.folder, folder, dirs_exist_ok=True)
    words = [HOSTILE if each == "nothing" else each for each in WORDS]
    (folder / "words.txt").write_text("\n".join(words) + "\n")
    for name in ("calibration.txt", "held-out.txt"):
        text = (folder / name).read_text().replace("nothing", HOSTILE)
        (folder / name).write_text(text)
    recipe = manifest.recipe.model_copy(update={"name": "hostile"})
    compress_in(home, Trained(trained.network, folder), recipe)
    return home


@pytest.fixture(scope="session")
def service(home: Path) -> Iterator[str]:
    """A service and a worker over the models, and an alias with a shadow that has been compared."""
    with service_and_worker(home) as url:
        with Client(url) as client:
            shadow = ShadowRequest(variant="compressed-int8", share=1.0)
            request = AliasRequest(model="tiny", variant="original", shadow=shadow)
            client.put_alias("prod", request)
            for text in ("the cat sees the river", "a dog likes the road"):
                client.score("prod", [text])
        yield url

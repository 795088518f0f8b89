"""What goes wrong is shown in words, with what to do, on the screen where it happens."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from isslim.client.api import Client
from isslim.types.access import Scope
from isslim.types.schemas.aliases import AliasRequest
from tests.conftest import Published, Trained
from tests.service.access.conftest import make_keys
from tests.service.copies import publish_as
from tests.service.page.conftest import Seen, watched
from tests.service.page.test_jobs import files, ready
from tests.service.page.test_screens import violations
from tests.service.served import served, service_and_worker

pytestmark = pytest.mark.slow


@contextmanager
def opened(browser: Browser, url: str) -> Iterator[Seen]:
    """A tab; what it was answered with, and that it was not, is no fault of it."""
    page = browser.new_page(viewport={"width": 1120, "height": 900})
    seen = watched(page, url)
    yield seen
    page.close()
    assert [each for each in seen.faults if "ERR_" not in each] == []


def alert(page: Page, words: str) -> Locator:
    """A message that says these words."""
    found = page.get_by_role("alert").filter(has_text=re.compile(words))
    expect(found.first).to_be_visible()
    return found


@pytest.fixture
def home(published: Published, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published.settings.home, tmp_path / "home"))


def test_key_without_a_right_is_told_which_it_lacks(
    browser: Browser, home: Path, tmp_path: Path
) -> None:
    keys = make_keys(tmp_path, reader=[Scope.READ])
    with served(home, {"ISS_API_KEYS_FILE": str(keys.file)}) as url, opened(browser, url) as seen:
        page = seen.open("models/tiny")
        page.get_by_label("Key", exact=True).fill(keys.by_name["reader"])
        page.keyboard.press("Enter")
        found = alert(page, "The key is not for this")
        expect(found).to_contain_text("score")
        # It is no question of another key: none is asked for.
        expect(page.get_by_label("Key", exact=True)).to_be_hidden()
        seen.picture("trouble-scope")


def test_model_of_a_missing_plug_in_says_what_is_missing(
    browser: Browser, published: Published, home: Path
) -> None:
    publish_as("odd", published, home, task="row-classifier")
    with served(home, {}) as url, opened(browser, url) as seen:
        page = seen.open("models/odd/use")
        expect(page.locator("main")).to_contain_text("does not know the kind 'row-classifier'")
        expect(page.locator("main")).not_to_contain_text("It answers at")
        page = seen.open("models/tiny/use")
        expect(page.locator("main")).to_contain_text("It answers at POST /score. Its permanent id")


def test_alias_of_a_deleted_model_says_so(
    browser: Browser, published: Published, home: Path
) -> None:
    other = publish_as("other", published, home)
    with served(home, {}) as url, opened(browser, url) as seen:
        with Client(url) as client:
            client.put_alias("theirs", AliasRequest(model=other))
            client.put_alias("prod", AliasRequest(model="tiny"))
        shutil.rmtree(home / "artifacts" / "bundles" / other)
        page = seen.open("aliases/theirs")
        expect(page.locator("main")).to_contain_text(f"points at the model {other}, which was")
        page = seen.open("aliases/prod")
        expect(page.locator("main")).to_contain_text("prod")
        expect(page.locator("main")).not_to_contain_text("which was deleted")


def test_too_many_requests_are_told_with_when_to_try_again(
    browser: Browser, home: Path, tmp_path: Path
) -> None:
    keys = make_keys(tmp_path, hasty=list(Scope))
    variables = {"ISS_API_KEYS_FILE": str(keys.file), "ISS_RATE": "8/minute"}
    with served(home, variables) as url, opened(browser, url) as seen:
        page = seen.open("models/tiny")
        page.get_by_label("Key", exact=True).fill(keys.by_name["hasty"])
        page.keyboard.press("Enter")
        text = page.locator("#text")
        for word in ("cat", "dog", "man", "bird", "friend", "river", "road", "house"):
            text.fill(f"the {word} sees the river")
            page.wait_for_timeout(500)
        found = alert(page, "Too many requests")
        expect(found).to_contain_text(re.compile(r"Try again in \d+ s"))
        # What was found of an older text is not shown for this one.
        expect(page.get_by_role("option")).to_have_count(0)
        seen.picture("trouble-rate")


def test_service_that_is_gone_is_told_and_the_page_goes_on(browser: Browser, home: Path) -> None:
    service = served(home, {})
    with opened(browser, service.__enter__()) as seen:
        page = seen.open("models/tiny")
        expect(page.get_by_role("option").first).to_be_visible()
        service.__exit__()
        page.locator("#text").fill("the old man hears")
        alert(page, "The service does not answer")
        seen.picture("trouble-away")
        page.goto(f"{service.url}/ui/#/")
        alert(page, "The service does not answer")
        service.__enter__()
        expect(page.get_by_role("alert")).to_have_count(0)
        expect(page.locator(".mini dd").first).to_be_visible()
        service.__exit__()


def test_model_that_was_deleted_is_told(browser: Browser, home: Path) -> None:
    with served(home, {}) as url, opened(browser, url) as seen:
        page = seen.open("models/tiny")
        expect(page.get_by_role("option").first).to_be_visible()
        with Client(url) as client:
            client.delete("tiny")
        page.locator("#text").fill("the old man hears")
        alert(page, "tiny|model")
        seen.picture("trouble-deleted")
        page.get_by_role("link", name="Models", exact=True).click()
        expect(page.get_by_role("button", name="Take the example")).to_be_visible()


def test_upload_that_is_too_large_is_refused_with_the_limit(
    browser: Browser, home: Path, trained: Trained
) -> None:
    with (
        served(home, {"ISS_UPLOAD_LIMIT_BYTES": "20000"}) as url,
        opened(browser, url) as seen,
    ):
        page = seen.open("compress")
        page.locator("main input[type=file]").set_input_files(files(trained))
        ready(page, "large")
        page.get_by_role("button", name="Start the job").click()
        alert(page, "too large")
        seen.picture("trouble-upload")
        expect(page.get_by_role("button", name="Start the job")).to_be_enabled()


def test_job_that_failed_says_why_and_can_be_started_again(
    browser: Browser, tmp_path: Path
) -> None:
    damaged = {"name": "damaged.pt", "mimeType": "", "buffer": b"no weights" * 50}
    words = {"name": "words.txt", "mimeType": "", "buffer": b"<eos>\n<unk>\na\nb\nc\n"}
    with service_and_worker(tmp_path / "home") as url, opened(browser, url) as seen:
        page = seen.open("compress")
        page.locator("main input[type=file]").set_input_files([damaged, words])  # type: ignore[list-item]
        expect(page.get_by_label("What words.txt is")).to_have_value("vocabulary")
        page.get_by_role("button", name="Start the job").click()
        page.wait_for_url(re.compile("#/jobs/"))
        state = page.locator(".lead").first
        expect(state).to_have_text("failed")
        alert(page, "damaged.pt|model|file")
        seen.picture("trouble-failed")
        page.get_by_role("button", name="Start it again").click()
        expect(state).to_have_text(re.compile("waiting|running"))
        expect(state).to_have_text("failed")


def test_key_that_is_withdrawn_takes_nothing_along(
    browser: Browser, home: Path, tmp_path: Path, trained: Trained
) -> None:
    """What was typed and chosen is still there under another key."""
    keys = make_keys(tmp_path, first=list(Scope))

    def another() -> str:
        """A key in place of all others."""
        made = make_keys(tmp_path, other=list(Scope))
        return made.by_name["other"]

    with served(home, {"ISS_API_KEYS_FILE": str(keys.file)}) as url, opened(browser, url) as seen:
        page = seen.open("models/tiny")
        field = page.get_by_label("Key", exact=True)
        field.fill(keys.by_name["first"])
        page.keyboard.press("Enter")
        expect(page.get_by_role("option").first).to_be_visible()
        key = another()
        page.locator("#text").fill("my friend follows the road")
        alert(page, "asks for a key")
        assert violations(page) == []
        field.fill(key)
        page.keyboard.press("Enter")
        expect(page.get_by_role("option")).to_have_count(5)
        expect(page.locator("#text")).to_have_value("my friend follows the road")
        expect(page.get_by_role("alert")).to_have_count(0)
        page = seen.open("compress")
        page.locator("main input[type=file]").set_input_files(files(trained))
        ready(page, "kept")
        key = another()
        page.get_by_role("button", name="Start the job").click()
        alert(page, "asks for a key")
        field.fill(key)
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_count(0)
        expect(page.get_by_label("Name of the new model")).to_have_value("kept")
        page.get_by_role("button", name="Start the job").click()
        page.wait_for_url(re.compile("#/jobs/"))
        expect(page.locator("h1")).to_have_text("kept")


def test_long_names_fit_a_narrow_screen(browser: Browser, published: Published, home: Path) -> None:
    long = "a" * 32 + "-" + "b" * 31
    other = publish_as(long, published, home)
    with served(home, {}) as url:
        with Client(url) as client:
            client.put_alias(long, AliasRequest(model=long))
        page = browser.new_page(viewport={"width": 320, "height": 900})
        seen = watched(page, url)
        screens = [f"models/{other}/{tab}" for tab in ("try", "files", "use")]
        pair = f"compare?a={other}:original&b={published.bundle_id}:compressed"
        for screen in ("", "aliases", f"aliases/{long}", pair, *screens):
            seen.open(screen)
            expect(page.get_by_text("Loading…")).to_have_count(0)
            page.wait_for_timeout(300)
            seen.picture(f"long-{screen.partition('?')[0].replace('/', '-')[:20]}")
            assert page.evaluate("document.documentElement.scrollWidth") <= 320, screen
            assert violations(page) == []
        page.close()
        assert seen.faults == []


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 320)])
def test_screens_without_anything_are_accessible(
    browser: Browser, tmp_path: Path, theme: Literal["light", "dark"], width: int
) -> None:
    """With no model, no worker, and with addresses of what is not there."""
    with served(tmp_path / "home", {}) as url:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
        seen = watched(page, url)
        missing = [f"{each}/none" for each in ("jobs", "models", "sweeps", "aliases")]
        pair = "compare?a=none:original&b=none:compressed"
        for screen in ("", "compress", "compare", pair, "sweeps", "aliases", "health", *missing):
            seen.open(screen)
            expect(page.get_by_text("Loading…")).to_have_count(0)
            if screen in missing:
                alert(page, "There is no such thing")
            seen.picture(f"empty-{screen.partition('?')[0].replace('/', '-') or 'home'}-{width}")
            assert violations(page) == [], screen
            assert page.evaluate("document.documentElement.scrollWidth") <= width, screen
        page.close()
        assert seen.faults == []

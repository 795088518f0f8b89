"""A newcomer's whole way in a browser, with the page's example; and the pictures of the docs.

`make pictures` takes them anew: it runs this test with `TEST_PICTURES=docs/pictures`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ViewportSize, expect

from tests.service.page.conftest import PICTURES, Seen, watched
from tests.service.page.test_screens import violations
from tests.service.served import service_and_worker

ROOT = Path(__file__).parents[3]
SIZE: ViewportSize = {"width": 1120, "height": 1000}
"""Of a picture, in pixels."""
MOST_BYTES = 200_000
"""Of a picture."""
ENDED = 240_000
"""Milliseconds that the example's job may take on a busy host; half a minute of it is trained."""
TYPED = "the old sailors mends a small boat near the harbour at noon ."
"""A text in which the verb is wrong."""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service and a worker over an empty home, which measure as they usually do."""
    home = tmp_path_factory.mktemp("newcomer") / "home"
    with service_and_worker(home, ISS_COMPARISON_SECONDS="2") as url:
        yield url


@pytest.fixture
def newcomer(browser: Browser, started: str) -> Iterator[Seen]:
    """A tab of a newcomer; at the end nothing has gone wrong in it."""
    context = browser.new_context(viewport=SIZE)
    seen = watched(context.new_page(), started)
    yield seen
    context.close()
    assert seen.faults == []


def kept(seen: Seen, name: str, folder: Path) -> Path:
    """A picture of what is to be seen without scrolling."""
    path = folder / f"page-{name}.png"
    seen.page.wait_for_timeout(400)  # until what has just come is drawn
    seen.page.screenshot(path=path)
    return path


def check(seen: Seen) -> None:
    """That a screen which is only there for a while is accessible, and fits a narrow one."""
    page = seen.page
    assert violations(page) == []
    page.set_viewport_size({"width": 320, "height": SIZE["height"]})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.set_viewport_size(SIZE)


def from_nothing_to_a_job(seen: Seen, folder: Path) -> list[Path]:
    """The example's files are filled in, understood, and become a job; its pictures."""
    page = seen.open("compress")
    expect(page.get_by_role("button", name="Take the example")).to_be_visible()
    check(seen)
    page = seen.open()
    expect(page.get_by_text("isslim demo")).to_be_visible()
    check(seen)
    page.get_by_role("button", name="Take the example").click()
    page.get_by_role("button", name="See what is understood").click()
    understood = page.get_by_role("heading", name="What was understood")
    expect(understood).to_be_visible(timeout=ENDED)
    check(seen)
    understood.scroll_into_view_if_needed()
    taken = [kept(seen, "understood", folder)]
    page.get_by_role("button", name="Start the job").click()
    page.wait_for_url(re.compile("#/jobs/"))
    expect(page.locator("h1")).to_have_text("example")
    told = re.compile("about .* left")
    expect(page.locator(".lead").first).to_contain_text(told, timeout=ENDED)
    expect(page.locator("g.candidate").nth(3)).to_be_visible(timeout=ENDED)
    taken.append(kept(seen, "job", folder))
    assert violations(page) == []
    return taken


@pytest.mark.long
def test_newcomer_comes_from_an_empty_page_to_a_model(newcomer: Seen, tmp_path: Path) -> None:
    folder = PICTURES if PICTURES.name else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    taken = from_nothing_to_a_job(newcomer, folder)
    page = newcomer.page
    page.wait_for_url(re.compile("#/models/"), timeout=ENDED)
    page.locator("#text").fill(TYPED)
    last = page.get_by_role("option").nth(len(TYPED.split()) - 1)
    expect(last).to_contain_text(".")
    page.get_by_role("option").nth(3).hover()  # the verb
    expect(page.locator(".detail h3")).to_contain_text("mends")
    taken.append(kept(newcomer, "try", folder))
    page.get_by_role("link", name="Trade-off").click()
    expect(page.get_by_role("heading", name="What is lost")).to_be_visible()
    page.evaluate("document.querySelector('.tabs').scrollIntoView()")
    taken.append(kept(newcomer, "tradeoff", folder))
    page = newcomer.open()
    expect(page.locator(".mini dd").first).to_be_visible()
    taken.append(kept(newcomer, "home", folder))
    assert {path.name for path in taken} == shown_in_docs()
    assert [path.name for path in taken if path.stat().st_size > MOST_BYTES] == []


def shown_in_docs() -> set[str]:
    return set(re.findall(r"\(pictures/(page-[\w-]+\.png)\)", (ROOT / "docs/page.md").read_text()))


def test_pictures_of_the_docs_are_there_and_small() -> None:
    pictures = {path.name: path.stat().st_size for path in ROOT.glob("docs/pictures/page-*.png")}
    assert pictures.keys() == shown_in_docs()
    assert [name for name, size in pictures.items() if size > MOST_BYTES] == []

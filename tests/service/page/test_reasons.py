"""Where a figure is missing the page says why: what was not measured is no busy host."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from isslim.store.bundles import BundleStore
from isslim.types.manifest import VariantRecord
from tests.conftest import Published
from tests.service.copies import publish_as
from tests.service.page.conftest import watched
from tests.service.page.test_screens import violations
from tests.service.served import served

pytestmark = pytest.mark.slow
Variants = list[VariantRecord]


def single(variants: Variants) -> Variants:
    return variants[:1]


def untimed(variants: Variants) -> Variants:
    return [each.model_copy(update={"latency": []}) for each in variants]


def without_int8(variants: Variants) -> Variants:
    """Of a small GRU there is none; all is steady."""
    steady = {"against_int8": None, "steady": True}
    return [
        each.model_copy(update={"latency": [one.model_copy(update=steady) for one in each.latency]})
        for each in variants
        if each.precision == "float32"
    ]


@pytest.mark.parametrize(
    ("changed", "reason", "live"),
    [
        (single, "There is no other variant", "There is no other variant"),
        (untimed, "It was not timed", None),
        (without_int8, None, re.compile("int8 alone was not timed beside it|time not steady")),
    ],
)
def test_missing_figure_has_its_reason(
    browser: Browser,
    published: Published,
    tmp_path: Path,
    changed: Callable[[Variants], Variants],
    reason: str | None,
    live: str | re.Pattern[str] | None,
) -> None:
    """In the tiles, the trade-off, what was published, and what is measured now."""
    home = tmp_path / "home"
    shutil.copytree(published.settings.home, home)
    variants = BundleStore(published.settings).open(published.bundle_id).manifest.variants
    publish_as("other", published, home, variants=changed(variants))
    with served(home, {}) as url:
        page = browser.new_page(viewport={"width": 320, "height": 900}, color_scheme="dark")
        seen = watched(page, url)
        main = seen.open("models/other/tradeoff").locator("main")
        expect(main.get_by_role("heading", name="The candidates")).to_be_visible()
        expect(main.get_by_text(reason or "as fast, one text")).not_to_have_count(0)
        expect(main.get_by_text("Quality was not evaluated")).to_have_count(0)
        seen.open("models/other/speed")
        as_published = page.locator("h2:has-text('As published') ~ *").first
        expect(as_published).to_contain_text(reason or "compressed")
        page.get_by_role("button", name="Measure").click()
        expect(page.get_by_text(re.compile("^Measured .*20"))).to_be_visible()
        page.get_by_role("combobox", name="Against").select_option("int8")
        table = page.get_by_role("region", name="How many times as fast")
        if live is not None:
            expect(table).to_contain_text(live)
        seen.picture(f"reason-{changed.__name__}")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        page.close()
        assert seen.faults == []


def test_times_that_were_not_taken_are_not_compared(
    browser: Browser, published: Published, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(published.settings.home, home)
    variants = BundleStore(published.settings).open(published.bundle_id).manifest.variants
    other = publish_as("other", published, home, variants=untimed(variants))
    with served(home, {}) as url:
        page = browser.new_page()
        seen = watched(page, url)
        seen.open(f"compare?a={other}:original&b={published.bundle_id}:compressed")
        tiles = page.get_by_role("group")
        expect(tiles).to_contain_text("It was not timed.")
        expect(tiles).not_to_contain_text("different runs")
        page.close()
        assert seen.faults == []

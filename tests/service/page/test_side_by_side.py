"""Models beside each other in a real browser: a sweep's front, two trials, any two compared."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from isslim.client.api import Client
from isslim.types.access import Scope
from isslim.types.recipe import Recipe
from isslim.types.schemas.aliases import AliasRequest, CanaryRequest, ShadowRequest
from tests.conftest import Published, Trained
from tests.service.access.conftest import make_keys
from tests.service.page.conftest import Seen, watched
from tests.service.page.test_screens import violations
from tests.service.served import served

pytestmark = pytest.mark.slow
FILLS = "(all) => all.map((each) => getComputedStyle(each).fill)"


def test_points_of_a_front_are_told_apart_and_lead_on(
    seen: Seen, service: str, trained: Trained
) -> None:
    """The legend has their colours; a published one is opened, and a candidate is made.

    One of the two jobs cannot keep its budget: its candidates are there nevertheless.
    """
    budgets = [{"budget": {"size_ratio": share}} for share in (0.4, 0.001)]
    with Client(service) as client:
        sweep = client.sweep(
            trained.model,
            budgets,
            recipe=Recipe(name="swept", minutes=0),
            vocabulary=trained.vocabulary,
            calibration=trained.calibration,
            held_out=trained.held_out,
        )
    page = seen.open(f"sweeps/{sweep.id}")
    expect(page.locator(".lead")).to_have_text("done", timeout=180_000)
    expect(page.locator(".lines")).to_contain_text("budget not met")
    seen.picture("front")
    assert violations(page) == []
    keys = page.locator(".legend svg .dot").evaluate_all(FILLS)
    assert len(set(keys)) == len(budgets)
    points = page.locator("svg.chart g[role=button] .dot")
    assert set(points.evaluate_all(FILLS)) <= set(keys)
    page.locator("svg.chart g[role=button]:has(.hollow)").first.press("Enter")
    page.get_by_role("button", name="Start a job").click()
    page.wait_for_url(re.compile("#/jobs/"))
    expect(page.locator("h1")).to_have_text(re.compile(r"swept-\d-\d+"))
    page.go_back()
    page.locator("svg.chart g[role=button]:has(.dot)").first.press("Enter")
    page.wait_for_url(re.compile("#/models/"))


def test_what_is_tried_goes_on_beside_another_trial(seen: Seen, service: str) -> None:
    """Nothing ends unasked, and only what takes the same requests can be chosen."""
    shadow = ShadowRequest(variant="compressed-int8", share=1.0)
    canary = CanaryRequest(variant="compressed", share=0.3)
    with Client(service) as client:
        request = AliasRequest(model="tiny", variant="original", shadow=shadow, canary=canary)
        client.put_alias("both", request)
        for text in ("the cat sees the river", "a dog likes the road", "the old man hears"):
            client.score("both", [text])
    page = seen.open("aliases/both")
    expect(page.get_by_role("heading", name="Canary: tiny: compressed")).to_be_visible()
    seen.picture("trials")
    assert violations(page) == []
    choices = page.get_by_label("Variant")
    assert not any("tagger" in each for each in choices.locator("option").all_inner_texts())
    choices.select_option("tiny: original-int8")
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_role("heading", name="Shadow: tiny: original-int8")).to_be_visible()
    expect(page.get_by_role("heading", name="Canary: tiny: compressed")).to_be_visible()
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("heading", name="Canary: tiny: compressed")).to_have_count(0)
    expect(page.locator(".lead")).to_contain_text("tiny: original")


def test_trial_of_a_graph_shows_what_a_graph_has(seen: Seen, service: str) -> None:
    canary = CanaryRequest(variant="compressed", share=0.5)
    with Client(service) as client:
        request = AliasRequest(model="tagger", variant="original", canary=canary)
        client.put_alias("tags", request)
    page = seen.open("aliases/tags")
    expect(page.get_by_text("same decisions")).to_be_visible()
    expect(page.get_by_text("log-probability")).to_have_count(0)
    page.get_by_role("button", name="Promote it").click()
    expect(page.locator(".lead")).to_contain_text("tagger: compressed")


def test_what_cannot_be_compared_is_said(seen: Seen, service: str) -> None:
    with Client(service) as client:
        ids = {each.name: each.id for each in client.models()}
    pairs = {
        "hostile": "over other vocabularies: not comparable",
        "tagger": "different kinds: only their sizes",
        "tiny": "perplexity",
    }
    for name, words in pairs.items():
        page = seen.open(f"compare?a={ids['tiny']}:original&b={ids[name]}:compressed")
        expect(page.locator("main")).to_contain_text(words)
        seen.picture(f"compare-{name}")
        assert violations(page) == []


def test_graph_is_measured_on_a_recorded_run(seen: Seen) -> None:
    page = seen.open("models/tagger/speed")
    expect(page.get_by_label("Recorded run")).to_have_value("median")
    page.get_by_role("button", name="Measure").click()
    expect(page.get_by_text(re.compile("^Measured .*20"))).to_be_visible()
    page = seen.open("models/tagger/use")
    expect(page.get_by_text("inputs.npz").first).to_be_visible()


def test_address_that_was_cut_short_is_no_empty_page(seen: Seen) -> None:
    page = seen.open("models/%E0%A4%A")
    expect(page.get_by_role("alert")).to_be_visible()


def test_refusal_is_no_silence_of_the_service(
    browser: Browser, published: Published, tmp_path: Path
) -> None:
    keys = make_keys(tmp_path, scorer=[Scope.SCORE])
    variables = {"ISS_API_KEYS_FILE": str(keys.file)}
    with served(published.settings.home, variables) as url:
        tab = browser.new_page()
        page = watched(tab, url).open("health")
        page.get_by_label("Key", exact=True).fill(keys.by_name["scorer"])
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_have_text("The key is not for this")
        tab.close()

"""Every screen in a real browser: nothing forbidden, nothing inaccessible, nothing too wide."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Page, expect

from isslim.client.api import Client
from tests.service.page.conftest import HOSTILE, Seen, watched

pytestmark = pytest.mark.slow
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
TABS = ("try", "tradeoff", "layers", "speed", "proof", "card", "files", "use")
SCREENS = (
    "",
    "compress",
    *(f"models/tiny/{tab}" for tab in TABS),
    "models/reader",
    "models/tagger",
    "models/hostile",
    "models/nothing",
    "compare",
    "sweeps",
    "aliases",
    "aliases/prod",
    "health",
    "nowhere",
)
LOOKS = [("light", 1280), ("dark", 320)]


SHOWN = """(last) => new Promise((done) => {
    const began = performance.now();
    const look = () => {
        const words = document.querySelectorAll('.token .word');
        const found = words.length && words[words.length - 1].textContent === last;
        found ? done(performance.now() - began) : requestAnimationFrame(look);
    };
    look();
})"""
"""Milliseconds until the strip ends with a word."""


def settled(page: Page) -> None:
    """Waits until nothing is loading, and what then came is drawn."""
    expect(page.get_by_text("Loading…")).to_have_count(0)
    page.wait_for_timeout(300)


def violations(page: Page) -> list[Any]:
    """What axe-core finds; it is run by the debugger, since the policy forbids further scripts."""
    session = page.context.new_cdp_session(page)
    session.send("Runtime.evaluate", {"expression": AXE})
    run = (
        "axe.run(document, {resultTypes: ['violations']}).then((found) => JSON.stringify("
        "found.violations.map((each) => [each.id, each.nodes.slice(0, 2).map((n) => n.html)])))"
    )
    found = session.send(
        "Runtime.evaluate", {"expression": run, "awaitPromise": True, "returnByValue": True}
    )
    session.detach()
    answer: list[Any] = json.loads(found["result"]["value"])
    return answer


@pytest.fixture(scope="module", params=LOOKS, ids=lambda look: f"{look[0]}-{look[1]}")
def tab(
    request: pytest.FixtureRequest, browser: Browser, service: str
) -> Iterator[tuple[Seen, int]]:
    """A tab in one theme and at one width."""
    theme, width = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    seen = watched(context.new_page(), service)
    yield seen, width
    context.close()


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: screen or "home")
def test_screen_is_accessible_and_fits(tab: tuple[Seen, int], screen: str) -> None:
    seen, width = tab
    page = seen.open(screen)
    settled(page)
    seen.picture(f"{screen.replace('/', '-') or 'home'}-{width}")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title() != "taken"
    assert seen.faults == []


def test_check_finds_what_is_inaccessible_and_what_is_forbidden(seen: Seen) -> None:
    page = seen.open()
    page.evaluate("document.querySelector('main').append(new Image())")
    assert [each[0] for each in violations(page)] == ["image-alt"]
    page.evaluate("document.querySelector('main').setAttribute('style', 'color: red')")
    page.evaluate("fetch('http://127.0.0.2:9/').catch(() => 0)")
    assert any("Content Security Policy" in each for each in seen.faults)
    seen.faults.clear()


def test_words_of_others_stay_text(seen: Seen) -> None:
    """A token, a name in an address, and what the service quotes of it."""
    page = seen.open("models/hostile")
    page.locator("#text").fill(f"the cat sees {HOSTILE}")
    word = page.get_by_role("option", name=HOSTILE)
    expect(word).to_be_visible()
    assert page.locator(".token .word").last.inner_text() == HOSTILE
    page = seen.open(f"models/{'<img src=x onerror=document.title=1>'}")
    expect(page.get_by_role("alert")).to_contain_text("<img src=x onerror=document.title=1>")
    expect(page.locator("main img")).to_have_count(0)
    page = seen.open("compress")
    page.locator("main input[type=file]").set_input_files(
        {"name": "<img src=x onerror=alert(1)>.pt", "mimeType": "", "buffer": b"x"}
    )
    name = page.get_by_text("<img src=x onerror=alert(1)>.pt", exact=True)
    expect(name).to_be_visible()
    page.get_by_role("button", name="See what is understood").click()
    expect(page.get_by_role("heading", name="This cannot be compressed as it is")).to_be_visible()
    expect(page.locator("main img")).to_have_count(0)
    assert page.title() == "Compress · isslim"


def test_strip_is_what_the_service_scores_and_there_at_once(seen: Seen, service: str) -> None:
    """To two digits, and 150 ms after the last key."""
    page = seen.open("models/tiny")
    expect(page.get_by_role("option").first).to_be_visible()
    text = "the old man hears the green tree"
    waited = []
    for last in ("road", "river", "shadow", "house", "tree"):
        page.locator("#text").fill("")
        words = text.replace("tree", last)
        page.locator("#text").press_sequentially(words, delay=5)
        waited.append(page.evaluate(SHOWN, last))
    # Whatever else a host does: where it has a moment, it is there.
    assert min(waited) < 150
    with Client(service) as client:
        names = ["original", "compressed-int8"]
        scores = client.score("tiny", [text], names, per_token=True)
    shown = [each.get_attribute("aria-label") for each in page.get_by_role("option").all()]
    assert len(shown) == len(text.split())
    for place, label in enumerate(shown):
        for variant in scores.variants:
            (found,) = variant.texts
            assert found.tokens is not None
            bits = -(found.tokens[place].log_prob or 0) / 0.6931471805599453
            assert f"{variant.variant} {bits:.2f} bits" in str(label)
    # By the keyboard: the next token's two lists.
    strip = page.get_by_role("listbox")
    strip.focus()
    strip.press("Home")
    expect(page.locator(".detail h3")).to_contain_text("the")
    strip.press("ArrowRight")
    expect(page.locator(".detail h3")).to_contain_text("old")


def test_both_texts_stream_from_one_seed(seen: Seen) -> None:
    """The first token is shown while the last is still to come."""
    page = seen.open("models/tiny")
    page.evaluate(
        """() => {
            window.lengths = [];
            const look = () => {
                const shown = [...document.querySelectorAll('.written p')];
                window.lengths.push(shown.map((each) => each.textContent).join('').length);
            };
            // After each change: of frames, a busy host draws few.
            const what = {childList: true, characterData: true, subtree: true};
            new MutationObserver(look).observe(document.body, what);
        }"""
    )
    for variant in ("original-int8", "compressed"):
        page.get_by_label(variant, exact=True).check()
    page.get_by_label("Tokens", exact=True).fill("400")
    page.get_by_role("button", name="Continue the text").click()
    expect(page.locator(".written .small")).to_have_count(4)
    lengths = page.evaluate("window.lengths")
    assert len(set(lengths) - {0}) > 3, "all at once"
    first = page.locator(".written p").first.inner_text()
    page.get_by_role("button", name="Continue the text").click()
    expect(page.locator(".written .small")).to_have_count(4)
    assert page.locator(".written p").first.inner_text() == first


def test_curve_has_as_many_points_as_the_report(seen: Seen, service: str) -> None:
    page = seen.open("models/tiny/tradeoff")
    with Client(service) as client:
        points = client.report("tiny").curve
    expect(page.locator("g.candidate")).to_have_count(len(points))


@pytest.mark.parametrize("model", ["reader", "tagger"])
def test_tabs_of_other_kinds_show_figures_that_are_numbers(seen: Seen, model: str) -> None:
    """Such as of a reader whose work was not counted."""
    for tab in TABS:
        page = seen.open(f"models/{model}/{tab}")
        settled(page)
        expect(page.locator("h1")).to_have_text(model)
        shown = page.locator("main").inner_text()
        assert not re.search("NaN|Infinity|undefined|null", shown), tab


def test_answers_are_marked_by_code_points(seen: Seen) -> None:
    page = seen.open("models/reader")
    page.get_by_label("The text that holds the answer").fill("\U0001f600 The cat sat on the mat.")
    page.get_by_label("A question, answered as you type").fill("Who sat?")
    passage = page.locator(".passage")
    expect(passage).to_contain_text("\U0001f600 The cat")
    best = page.locator(".answers .answer").first.inner_text()
    marks = "".join(page.locator(".passage mark.first, .passage mark.both").all_inner_texts())
    assert best.strip() == marks.strip()


def test_graph_runs_on_the_bundles_sample(seen: Seen) -> None:
    page = seen.open("models/tagger")
    page.get_by_role("button", name="Run the graph").click()
    expect(page.get_by_role("heading", name="Outputs")).to_be_visible()
    expect(page.get_by_text("changed by")).to_be_visible()
    expect(page.get_by_text("decisions differ")).to_be_visible()


def test_latency_is_measured_with_intervals(seen: Seen) -> None:
    page = seen.open("models/tiny/speed")
    page.get_by_role("button", name="Measure").click()
    expect(page.get_by_text(re.compile("^Measured .*20"))).to_be_visible()
    expect(page.get_by_role("button", name="Measure again")).to_be_enabled()
    seen.picture("measured")


def test_shadow_is_promoted_and_rolled_back(seen: Seen) -> None:
    page = seen.open("aliases/prod")
    expect(page.locator(".lead")).to_contain_text("tiny: original")
    page.get_by_role("button", name="Promote it").click()
    expect(page.locator(".lead")).to_contain_text("tiny: compressed-int8")
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator(".lead")).to_contain_text("tiny: original")

"""What people try on a model: odd texts, odd arrays, refusals in between, a way back."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.service.page.conftest import Seen
from tests.service.page.test_screens import violations

pytestmark = pytest.mark.slow
WORD = "the cat sees the river "


def order(page: Page) -> list[str]:
    """The elements of a tab from above to below, without those that hold nothing."""
    script = (
        "(all) => all.filter((each) => each.textContent || each.value)"
        ".map((each) => `${each.tagName}.${each.className}`)"
    )
    found: list[str] = page.locator(".tabs + div > *").evaluate_all(script)
    return found


def npz(**arrays: Any) -> dict[str, Any]:
    """A file of arrays, as a browser is given it."""
    written = io.BytesIO()
    np.savez_compressed(written, **arrays)
    return {"name": "inputs.npz", "mimeType": "", "buffer": written.getvalue()}


@pytest.mark.parametrize(
    ("path", "field", "text", "far"),
    [
        ("models/tiny", "A text, scored as you type", WORD, WORD * 30_000),
        ("models/reader", "A question, answered as you type", "who sat?", "who " * 2000),
    ],
)
def test_all_stays_in_its_place_after_a_refusal(
    seen: Seen, path: str, field: str, text: str, far: str
) -> None:
    page = seen.open(path)
    typed = page.get_by_label(field)
    typed.fill(text)
    results = page.locator(".strip, .passage")
    expect(results).to_be_visible()
    before = order(page)
    typed.fill(far)
    expect(page.get_by_role("alert")).to_contain_text("too large")
    assert violations(page) == []
    expect(results).to_be_hidden()
    typed.fill(text)
    expect(results).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert order(page) == before
    assert violations(page) == []


def test_text_that_is_no_json_is_not_run(seen: Seen) -> None:
    """Nor are older inputs in its place; what was typed stays, to be corrected."""
    page = seen.open("models/tagger")
    field = page.get_by_label("ids as JSON")
    run = page.get_by_role("button", name="Run the graph")
    outputs = page.get_by_role("heading", name="Outputs")
    expect(field).to_have_value(re.compile(r"\[\["))
    field.fill("[[1, 2],")
    run.click()
    expect(page.get_by_role("alert")).to_contain_text("ids is no JSON")
    expect(field).to_have_value("[[1, 2],")
    expect(outputs).to_be_hidden()
    field.fill("[[1, 2]]")
    expect(page.get_by_role("row", name="ids INT64")).to_contain_text("1 \u00d7 2")
    run.click()
    expect(outputs).to_be_visible()
    field.fill(" ")
    run.click()
    expect(page.get_by_role("alert")).to_contain_text("input 'ids' is missing")
    # However long it is, what is typed can be typed further.
    field.fill(json.dumps([[1] * 3000]))
    run.click()
    expect(outputs).to_be_visible()
    expect(field).to_be_visible()


def test_whole_numbers_keep_all_their_digits(seen: Seen) -> None:
    """Neither typed nor from a file do they become the next number that JavaScript has."""
    page = seen.open("models/tagger")
    field = page.get_by_label("ids as JSON")
    run = page.get_by_role("button", name="Run the graph")
    field.fill("[[9007199254740993]]")
    run.click()
    expect(page.get_by_role("alert")).to_contain_text("idx=9007199254740993")
    chosen = page.locator("main input[type=file]")
    chosen.set_input_files(npz(ids=np.array([[9007199254740995]])))  # type: ignore[arg-type]
    expect(field).to_have_value("[[9007199254740995]]")
    run.click()
    expect(page.get_by_role("alert")).to_contain_text("idx=9007199254740995")


@pytest.mark.parametrize("damage", ["cut", "inside", "empty"])
def test_damaged_file_of_arrays_is_called_so(seen: Seen, damage: str) -> None:
    """It is no silence of the service."""
    page = seen.open("models/tagger")
    expect(page.get_by_label("ids as JSON")).to_have_value(re.compile(r"\[\["))
    file = npz(ids=np.arange(400).reshape(200, 2))
    content = file["buffer"]
    half = len(content) // 2
    changed = {
        "cut": content[half:],
        "inside": content[:50] + b"\xff" * 50 + content[100:],
        "empty": b"",
    }
    page.locator("main input[type=file]").set_input_files(file | {"buffer": changed[damage]})
    expect(page.get_by_role("alert")).to_contain_text("This is no npz file.")


def test_what_was_typed_is_there_on_the_way_back(seen: Seen) -> None:
    """From another tab, and from another screen; an emptied field stays empty."""
    page = seen.open("models/tiny")
    expect(page.get_by_role("option").first).to_be_visible()
    text = page.get_by_label("A text, scored as you type")
    text.fill(WORD)
    page.get_by_role("link", name="Card").click()
    page.go_back()
    expect(text).to_have_value(WORD)
    expect(page.get_by_role("option")).to_have_count(5)
    text.fill("")
    page.get_by_role("link", name="Health").click()
    expect(page.get_by_role("heading", name="Parts")).to_be_visible()
    page.go_back()
    expect(page.get_by_text("Type something.")).to_be_visible()
    expect(text).to_have_value("")
    page = seen.open("models/reader")
    context = page.get_by_label("The text that holds the answer")
    family = "\u200d".join("\U0001f468\U0001f469\U0001f467")
    context.fill(f"e\u0301 {family} The cat\u0301 sat on \U0001f600 the mat.")
    page.get_by_role("link", name="Layers").click()
    page.go_back()
    expect(context).to_have_value(re.compile("sat on \U0001f600 the mat"))
    # Of combined letters too, what is marked is what was answered.
    best = page.locator(".answers .answer").first
    marks = page.locator(".passage mark.first, .passage mark.both")
    expect(best).to_be_visible()
    assert "".join(marks.all_text_contents()).strip() == best.inner_text().strip()

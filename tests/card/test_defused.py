"""Names that came with a model are text in its card: no HTML, no link, no foreign picture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from isslim.card.card import card
from isslim.card.head import without_head
from isslim.card.markdown import defused
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from isslim.types.report import Report
from tests.conftest import Published

HOSTILE = "<script>alert(1)</script>[a](javascript:b)![c](http://d.example/e)<img src=x>"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>x</script>", r"\<script>x\</script>"),
        (r"\<script>", r"\<script>"),
        ("a < b <= c", "a < b <= c"),
        ("<!-- x", r"\<!-- x"),
        ("![curve](curve.svg)", "![curve](curve.svg)"),
        ("[a](javascript:b)", r"[a\](javascript:b)"),
        ("![a]( data:b)", r"![a\]( data:b)"),
        ("[a]: javascript:b", r"\[a]: javascript:b"),
        ("> [a]: javascript:b", r"> \[a]: javascript:b"),
        ("```python\n<a>\n[a](b)\n```\n<b>", "```python\n<a>\n[a](b)\n```\n\\<b>"),
        ("```\n<a>", "```\n\\<a>"),  # which never ends, so that it may not be what it seems
        ("````\n```\n<a>\n````", "````\n```\n<a>\n````"),
    ],
)
def test_html_and_links_become_text(text: str, shown: str) -> None:
    assert defused(text, ("curve.svg",)) == shown


def hostile(value: Any) -> Any:
    """A value with hostile text behind each of its strings that no schema limits."""
    if isinstance(value, BaseModel):
        fields = {name: hostile(getattr(value, name)) for name in type(value).model_fields}
        return value.model_copy(update=fields)
    if isinstance(value, dict):
        return {name: hostile(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(hostile(each) for each in value)
    return f"{value}{HOSTILE}" if isinstance(value, str) and " " in value else value


def test_card_of_hostile_names_shows_them_as_text(published: Published) -> None:
    bundle = BundleStore(StoreSettings(home=published.settings.home)).open(published.bundle_id)
    manifest = bundle.manifest
    report = Report.model_validate_json(Path(bundle.path("report.json")).read_bytes())
    parts = [each.model_copy(update={"name": HOSTILE}) for each in manifest.variants[-1].parts]
    variants = [each.model_copy(update={"parts": parts}) for each in manifest.variants]
    told = card(
        manifest.model_copy(
            update={
                "variants": variants,
                "provenance": hostile(manifest.provenance),
                "checks": [hostile(each) for each in getattr(manifest, "checks", [])],
            }
        ),
        hostile(report),
    )
    body = re.sub(r"^```.*?^```$", "", without_head(told), flags=re.MULTILINE | re.DOTALL)
    assert "script" in body
    assert re.findall(r"(?<!\\)<(?:script|/script|img)", body) == []
    links = re.findall(r"(?<!\\)\]\(([^)]*)\)", body)
    assert set(links) <= {"curve.svg", "variants.svg"}

"""The documentation as a site: built strictly, and nothing in it is loaded from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//[^"'\s>]+"""
    r"""|<link\b(?![^>]*rel=["']?canonical)[^>]*\bhref=["']?(?:https?:)?//[^"'\s>]+"""
    r"""|@import\s+(?:url\()?["']?(?:https?:)?//\S+|url\(\s*["']?(?:https?:)?//[^)]+"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site; a link that leads nowhere is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    built = subprocess.run(
        [*command, "--site-dir", str(folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_built_and_named(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    for page in pages:
        name = "index.html" if page.name == "README.md" else page.with_suffix(".html").name
        assert (site / page.parent / name).is_file(), page
    start = (site / "index.html").read_text()
    assert "<h1" in start
    for page in pages:
        if page.parent == Path():
            assert f'href="{page.with_suffix(".html")}"' in start, page


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    assert len(files) > 20
    found = {str(path.relative_to(site)): LOADED.findall(path.read_text()) for path in files}
    assert {name: addresses for name, addresses in found.items() if addresses} == {}


@pytest.mark.parametrize(
    "fault",
    [
        '<script async src="https://example.org/a.js">',
        '<link rel="stylesheet" href="//example.org/a.css">',
        "@import 'https://example.org/a.css'",
        "src: url(https://example.org/a.woff)",
        '<img alt="" src="http://example.org/a.png">',
    ],
)
def test_what_is_loaded_from_elsewhere_is_found(fault: str) -> None:
    assert LOADED.search(fault)
    assert not LOADED.search('<a href="https://example.org/">a link</a>')

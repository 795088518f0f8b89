"""What the house style promises of every file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    path for package in ("store", "runtime", "compress", "service", "client") for path in (ROOT / package).rglob("*.py")
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_owns_and_stays_short(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 300


def test_readme_names_every_module() -> None:
    tree = (ROOT / "README.md").read_text()
    missing = [path for path in FILES if path.stem not in tree and not path.stem.startswith("__")]
    assert [str(path.relative_to(ROOT)) for path in missing if "routes" not in path.parts] == []

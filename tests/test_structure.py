"""What the house style promises of every file."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    path
    for package in ("store", "runtime", "compress", "service", "client")
    for path in (ROOT / package).rglob("*.py")
)


STORE = {"dbos", "numpy", "obstore", "psycopg", "pydantic", "pydantic_settings", "sqlalchemy"}
"""What the store owns: nobody else opens a database or artifact storage."""
ALLOWED = {
    "store": STORE,
    "runtime": {"numpy", "onnxruntime", "tokenizers"},
    "compress": {
        "dbos", "matplotlib", "numpy", "onnx", "pydantic", "pydantic_settings", "safetensors", "tokenizers",
        "torch",
    },
    "service": {"fastapi", "numpy", "prometheus_client", "pydantic", "pydantic_settings", "starlette", "structlog", "uvicorn"},
    "client": {"httpx", "numpy", "pydantic", "rich", "typer"},
}  # fmt: skip
OURS = set(ALLOWED)
LINES = 400
"""More are two subjects; a lower limit cut subjects in two."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_owns_and_stays_short(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= LINES


def test_readme_names_every_module() -> None:
    tree = (ROOT / "README.md").read_text()
    missing = [path for path in FILES if path.stem not in tree and not path.stem.startswith("__")]
    assert [str(path.relative_to(ROOT)) for path in missing if "routes" not in path.parts] == []


def imported(path: Path) -> set[str]:
    """The top-level packages that a module imports anywhere in its code, the standard library's aside."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(str(node.module).partition(".")[0])
    return found - sys.stdlib_module_names


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_package_imports_no_third_party_but_its_own(package: str) -> None:
    found = {
        name: path
        for path in FILES
        if path.is_relative_to(ROOT / package)
        for name in imported(path) - OURS
    }
    strange = {
        name: str(path.relative_to(ROOT))
        for name, path in found.items()
        if name not in ALLOWED[package]
    }
    assert strange == {}
    assert ALLOWED[package] - found.keys() == set(), "allowed and not needed any more"


@pytest.mark.parametrize(
    ("package", "extras"),
    [("store", []), ("runtime", ["service"]), ("runtime", ["worker"]), ("compress", ["worker"]), ("service", ["service"]),
     ("client", ["client"])],
)  # fmt: skip
def test_what_a_package_imports_is_installed_with_it(package: str, extras: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [
        *project["dependencies"],
        *(each for extra in extras for each in project["optional-dependencies"][extra]),
    ]
    names = {re.split(r"[^\w-]", each)[0].replace("-", "_") for each in declared}
    assert ALLOWED[package] - names == set()


def test_import_that_is_not_allowed_is_found(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        "def late():\n    import torch.nn\n    from scipy.stats import norm\n    import os\n"
    )
    assert imported(tmp_path / "module.py") == {"torch", "scipy"}

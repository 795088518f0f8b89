"""What the house style promises of every file."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "isslim"
FILES = sorted(PACKAGE.rglob("*.py"))


STORE = {
    "dbos",
    "obstore",
    "opentelemetry",
    "psycopg",
    "pydantic",
    "pydantic_settings",
    "sqlalchemy",
}
"""What the store owns: nobody else opens a database or artifact storage."""
ALLOWED = {
    "types": {"numpy", "pydantic"},
    "store": STORE,
    "settings": {"prometheus_client", "pydantic", "pydantic_settings", "structlog"},
    "runtime": {"numpy", "onnxruntime", "tokenizers"},
    "card": set(),
    "compress": {
        "dbos",
        "matplotlib",
        "numpy",
        "onnx",
        "onnxruntime",  # its quantizer alone: graphs are run through `runtime`
        "prometheus_client",  # the worker counts its jobs
        "pydantic",
        "safetensors",
        "tokenizers",
        "torch",
    },
    "service": {
        "fastapi",
        "google",
        "grpc",
        "limits",
        "numpy",
        "prometheus_client",
        "pydantic",
        "python_multipart",
        "starlette",
        "uvicorn",
    },
    "client": {"httpx", "huggingface_hub", "mlflow", "numpy", "pydantic", "rich", "typer"},
    "demo": {"rich", "torch"},
}
LINES = 400
"""More are two subjects; a lower limit cut subjects in two."""


def test_every_module_says_what_it_owns_and_stays_short() -> None:
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in FILES}
    assert [name for name, text in texts.items() if not ast.get_docstring(ast.parse(text))] == []
    assert [name for name, text in texts.items() if len(text.splitlines()) > LINES] == []


Imports = dict[str, set[str]]
"""Per module the modules that it imports, by dotted names."""


def imports_between(modules: dict[str, Path]) -> Imports:
    """Which modules import which, wherever in their code and for types alone too."""
    found: Imports = {}
    for name, path in modules.items():
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    found[name].add(whole if whole in modules else node.module)
            elif isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names}
    return found


def circles(imports: Imports) -> list[str]:
    """Siblings - files and folders of one folder - that lead back to themselves, at any depth."""
    arrows: dict[str, dict[str, set[str]]] = {}
    for name, targets in imports.items():
        for target in targets & imports.keys():
            here, there = name.split("."), target.split(".")
            common = 0
            while common < min(len(here), len(there)) and here[common] == there[common]:
                common += 1
            if common < len(here) and common < len(there):
                folder = ".".join(here[:common])
                arrows.setdefault(folder, {}).setdefault(here[common], set()).add(there[common])
    found = []
    for folder, graph in sorted(arrows.items()):
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            found.append(f"{folder}: {' <- '.join(error.args[1])}")
    return found


def modules() -> dict[str, Path]:
    """Dotted names of the package's modules."""
    named = {path: path.relative_to(ROOT).with_suffix("").parts for path in FILES}
    return {".".join(p[:-1] if p[-1] == "__init__" else p): path for path, p in named.items()}


def test_no_folder_imports_its_way_back_to_itself() -> None:
    assert circles(imports_between(modules())) == []


def test_circle_between_folders_is_found(tmp_path: Path) -> None:
    files = {"a/x.py": "from r.b.y import f", "b/y.py": "def late():\n    from r.a import z"}
    files |= {"a/z.py": "", "a/__init__.py": "", "b/__init__.py": ""}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    named = {"r.a.x": "a/x.py", "r.b.y": "b/y.py", "r.a.z": "a/z.py", "r.a": "a/__init__.py"}
    found = circles(imports_between({name: tmp_path / path for name, path in named.items()}))
    assert len(found) == 1
    assert found[0].startswith("r: ")


@cache
def imported(path: Path) -> set[str]:
    """The top-level packages that a module imports anywhere, without the standard library."""
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
    files = [path for path in FILES if path.is_relative_to(PACKAGE / package)]
    found = {name: path for path in files for name in imported(path) - {"isslim"}}
    strange = {
        name: str(path.relative_to(ROOT))
        for name, path in found.items()
        if name not in ALLOWED[package]
    }
    assert strange == {}
    assert ALLOWED[package] - found.keys() == set(), "allowed and not needed any more"


IMPORTED_AS = {
    "grpcio": "grpc",
    "protobuf": "google",
    "opentelemetry_sdk": "opentelemetry",
    "mlflow_skinny": "mlflow",
}
"""Libraries that are imported by another name than they are installed by."""


OPTIONAL = {
    "opentelemetry": ("otel", "store/tracing.py"),
    "huggingface_hub": ("hub", "client/hub.py"),
    "mlflow": ("mlflow", "client/tracking.py"),
}
"""Libraries that are used where they are installed: their extra, and the only module that imports
them."""


def declared(*extras: str) -> set[str]:
    """What `pip install isslim[...]` brings, by the names that are imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"]]
    for extra in extras:
        asked += project["optional-dependencies"][extra]
    inner = [each[len("isslim[") : -1] for each in asked if each.startswith("isslim[")]
    names = {re.split(r"[^\w-]", each)[0].replace("-", "_") for each in asked} - {"isslim"}
    names = {IMPORTED_AS.get(each, each) for each in names}
    return names | (declared(*inner) if inner else set())


@pytest.mark.parametrize(
    ("package", "extra"),
    [
        ("types", None),
        ("store", "service"),
        ("store", "worker"),
        ("settings", "service"),
        ("settings", "worker"),
        ("runtime", "service"),
        ("runtime", "worker"),
        ("card", "client"),
        ("card", "worker"),
        ("compress", "worker"),
        ("service", "grpc"),
        ("client", "client"),
    ],
)
def test_what_a_package_imports_is_installed_with_it(package: str, extra: str | None) -> None:
    brought = declared(*([] if extra is None else [extra])) | OPTIONAL.keys()
    assert ALLOWED[package] - brought == set()


def test_what_is_optional_is_imported_where_it_is_used_and_has_an_extra() -> None:
    for library, (extra, module) in OPTIONAL.items():
        assert library in declared(extra)
        assert [path for path in FILES if library in imported(path)] == [PACKAGE / module]
        tree = ast.parse((PACKAGE / module).read_text())
        at_once = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert library not in ast.unparse(ast.Module(at_once, []))


def test_client_brings_no_database_storage_or_server() -> None:
    assert not declared("client") & (STORE - ALLOWED["types"])
    assert not declared("client") & {"fastapi", "uvicorn", "onnxruntime", "torch"}


def test_the_library_brings_no_database_storage_or_server() -> None:
    brought = declared("compress")
    assert not brought & (STORE - {"pydantic", "pydantic_settings"})
    assert not brought & {"fastapi", "uvicorn", "httpx", "typer"}
    of_worker = {"dbos", "prometheus_client", "structlog"}  # which the worker alone imports
    assert ALLOWED["compress"] - of_worker <= brought
    assert (ALLOWED["runtime"] | ALLOWED["settings"] | ALLOWED["types"]) - of_worker <= brought


def test_import_that_is_not_allowed_is_found(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        "def late():\n    import torch.nn\n    from scipy.stats import norm\n    import os\n"
    )
    assert imported(tmp_path / "module.py") == {"torch", "scipy"}


WITHOUT_ARGS = re.compile(r"\b[Ss]ee `\w+(\.\w+)+`")
"""An override says whose arguments it has, and adds nothing to them."""
DECLARED_ELSEWHERE = {"command", "callback", "get", "post", "put", "delete"}
"""Decorators of commands and routes, whose arguments carry their own description."""
OPTIONS = ("typer.", "AsJson")
"""What the arguments of a command hold: options of its own, or the one that all commands share."""


def undocumented(source: str) -> list[str]:
    """Public functions of two arguments or more whose `Args` are missing, or name others.

    Exempt are overrides that refer to what they override, and commands and routes.
    """
    found: list[str] = []

    def look(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                if not child.name.startswith("_"):
                    found.extend(_faults_of_args(child))
            else:
                look(child)

    look(ast.parse(source))
    return found


def _faults_of_args(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    names = {each.arg for each in every if each is not None} - {"self", "cls"}
    text = ast.get_docstring(function) or ""
    section = re.search(r"^Args:\n((?:    .*\n|\n)*)", text + "\n", re.MULTILINE)
    if section is None:
        exempt = len(names) < 2 or WITHOUT_ARGS.search(text) or _is_declared_elsewhere(function)
        return [] if exempt else [f"{function.name}: no Args"]
    named = re.findall(r"^    (\S[^:]*):", section[1], re.MULTILINE)
    described = {name.strip().lstrip("*") for each in named for name in each.split(",")}
    return [f"{function.name}: {name}" for name in sorted(described ^ names)]


def _is_declared_elsewhere(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    decorators = {
        each.func.attr
        for each in function.decorator_list
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute)
    }
    arguments = ast.unparse(function.args)
    return bool(decorators & DECLARED_ELSEWHERE) or any(each in arguments for each in OPTIONS)


def test_arguments_of_public_functions_are_described() -> None:
    faults = {str(path.relative_to(ROOT)): undocumented(path.read_text()) for path in FILES}
    assert {name: found for name, found in faults.items() if found} == {}


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("Does it.", ["f: no Args"]),
        ("Does it.\n\n    Args:\n        a: one.\n        b: other.\n    ", []),
        ("Does it.\n\n    Args:\n        a, b: both.\n\n    Returns:\n        c: no.\n    ", []),
        ("Does it.\n\n    Args:\n        a: one.\n            c: a part of it.\n    ", ["f: b"]),
        ("Does it.\n\n    Args:\n        a: one.\n        c: gone.\n    ", ["f: b", "f: c"]),
        ("Does it. See `Task.f`.", []),
        ("Does it; see `Task.f`.", []),
        ("Does it as `Task.f` does.", ["f: no Args"]),
    ],
)
def test_arguments_that_are_not_described_are_found(text: str, faults: list[str]) -> None:
    body = f'"""{text}"""\n'
    assert undocumented(f"def f(a, *, b):\n    {body}") == faults
    assert undocumented(f"def _f(a, b):\n    {body}") == []
    assert undocumented(f"@router.get('/')\nasync def f(a, *b):\n    {body}") == [
        each for each in faults if "no Args" not in each
    ]
    assert undocumented(f"def outer():\n    def f(a, b):\n        {body}") == []


def test_arguments_of_methods_are_looked_at_too() -> None:
    source = 'class A:\n    async def f(self, a, **b):\n        """Does it."""\n'
    assert undocumented(source) == ["f: no Args"]
    assert undocumented(source.replace("a, **b", "a")) == []

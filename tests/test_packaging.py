"""What is installed: the wheel, its extras, the images, and what importing costs."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from pathlib import Path

import httpx
import pytest

import isslim

ROOT = Path(__file__).parent.parent
CLEAN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
"""The environment of processes that see nothing but what is installed for them."""
HEAVY = {"numpy", "torch", "onnx", "onnxruntime", "pydantic", "httpx", "dbos", "fastapi"}
SERVER_SIDE = {
    "dbos",
    "fastapi",
    "obstore",
    "onnx",
    "onnxruntime",
    "psycopg",
    "sqlalchemy",
    "torch",
    "uvicorn",
}


def loaded_by(statement: str, folder: Path) -> set[str]:
    """The top-level modules that a statement loads, in a process of its own."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True
    )
    return {name.partition(".")[0] for name in json.loads(ran.stdout)}


def test_importing_the_package_loads_nothing_heavy(tmp_path: Path) -> None:
    assert loaded_by("import isslim", tmp_path) & HEAVY == set()


def test_client_loads_no_server_side_library(tmp_path: Path) -> None:
    loaded = loaded_by("from isslim import Client, Recipe, Budget", tmp_path)
    assert "httpx" in loaded
    assert loaded & SERVER_SIDE == set()
    assert loaded_by("import isslim.client.cli", tmp_path) & SERVER_SIDE == set()


def test_public_names_are_there_and_others_are_not() -> None:
    assert all(getattr(isslim, name) is not None for name in isslim.__all__)
    assert set(isslim.__all__) <= set(dir(isslim))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = isslim.nothing


def test_version_is_written_in_one_place() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert isslim.__version__ == version
    written = re.compile(rf"[\"']{re.escape(version)}[\"']")
    repeated = [
        path for path in (ROOT / "isslim").rglob("*.py") if written.search(path.read_text())
    ]
    assert repeated == []


Image = set[Path]
"""The files below `isslim/` that an image holds."""


def images() -> dict[str, Image]:
    """The stages of the Dockerfile, each with the files that it and the stages below it copy."""
    found: dict[str, Image] = {}
    stage = ""
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if begins := re.match(r"FROM (\S+) AS (\S+)", line):
            stage = begins[2]
            found[stage] = set(found.get(begins[1], set()))
        if copies := re.match(r"COPY (isslim/.*) (isslim/\S*)$", line):
            for source in copies[1].split():
                path = ROOT / source
                assert path.exists(), line
                found[stage] |= set(path.rglob("*")) if path.is_dir() else {path}
    return found


def modules_imported_by(path: Path) -> set[str]:
    """The modules of this package that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("isslim."):
            found.add(str(node.module))
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names if each.name.startswith("isslim.")}
    return found


@pytest.mark.parametrize("image", ["service", "worker"])
def test_image_holds_every_module_that_its_modules_import(image: str) -> None:
    files = images()[image]
    missing = set()
    for path in files:
        # The package's own door imports lazily: what is not there is not asked for.
        if path.suffix != ".py" or path == ROOT / "isslim" / "__init__.py":
            continue
        for module in modules_imported_by(path):
            file = ROOT.joinpath(*module.split("."))
            target = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
            if target not in files:
                missing.add(f"{path.relative_to(ROOT)} imports {module}")
    assert missing == set()


def test_images_hold_no_folder_that_they_do_not_need() -> None:
    inside = {
        image: {path.relative_to(ROOT / "isslim").parts[0] for path in files} - {"py.typed"}
        for image, files in images().items()
    }
    assert not inside["service"] & {"compress", "client", "card"}
    assert not inside["worker"] & {"service", "client"}
    assert ROOT / "isslim" / "py.typed" in images()["base"]


def test_service_image_installs_no_torch_or_onnx() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    brought = {*project["dependencies"], *extras["service"], *extras["store"]}
    assert not brought & {"torch", "onnx", "safetensors", "matplotlib"}


def canonical(requirement: str) -> str:
    """The name of a requirement, as package indexes compare it."""
    return re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-")


def test_every_library_that_is_asked_for_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {canonical(each) for each in project["dependencies"]}
    for extra in project["optional-dependencies"].values():
        asked |= {canonical(each) for each in extra}
    pinned = {
        canonical(line)
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    assert asked - {"isslim"} - pinned == set()


def source_tree(folder: Path) -> Path:
    """A copy of what a build reads, so that it leaves nothing behind in the working tree."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "isslim", folder / "isslim", ignore=ignored)
    for name in ("store", "client"):
        (folder / f"{name}.py").write_text("raise ImportError('a module of the user')\n")
    return folder


def ran(*command: str | Path, folder: Path) -> str:
    """What a command prints in a folder, where it sees no package but those installed for it."""
    result = subprocess.run(command, cwd=folder, env=CLEAN, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def environment(folder: Path) -> Path:
    """The interpreter of a fresh virtual environment; skips where pip reaches no index."""
    ran(sys.executable, "-m", "venv", folder, folder=folder)
    made = folder / "bin" / "python"
    try:
        ran(made, "-m", "pip", "install", "-q", "setuptools>=77", folder=folder)
    except AssertionError as error:
        pytest.skip(f"no package index can be reached: {str(error).strip()[-200:]}")
    return made


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="module")
def wheel(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = source_tree(tmp_path_factory.mktemp("source"))
    out = tree / "out"
    options = ("-q", "--no-deps", "--no-build-isolation", "-w", out)
    ran(python, "-m", "pip", "wheel", *options, tree, folder=tree)
    (found,) = out.glob("*.whl")
    return found


@pytest.mark.slow
def test_wheel_holds_the_package_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    version = isslim.__version__
    assert {name.split("/")[0] for name in names} == {"isslim", f"isslim-{version}.dist-info"}
    assert {"isslim/py.typed", f"isslim-{version}.dist-info/licenses/LICENSE"} <= set(names)
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "isslim").rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py")}
    assert "isslim/service/static/docs.js" in names


@pytest.mark.slow
def test_source_archive_holds_licence_and_marker(python: Path, wheel: Path) -> None:
    tree = wheel.parent.parent
    code = "from setuptools import build_meta; print(build_meta.build_sdist('out'))"
    ran(python, "-c", code, folder=tree)
    (archive,) = (tree / "out").glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"LICENSE", "README.md", "isslim/py.typed", "isslim/__init__.py"} <= names


@pytest.mark.slow
def test_installed_client_is_alone_and_clashes_with_no_module_of_the_user(
    python: Path, wheel: Path, tmp_path: Path
) -> None:
    ran(python, "-m", "pip", "install", "-q", "--no-compile", f"{wheel}[client]", folder=tmp_path)
    assert installed(python, sorted(SERVER_SIDE), tmp_path) == "[]"
    for name in ("store", "client", "service", "compress", "runtime"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('a module of the user')\n")
    code = "from isslim import Client, Recipe\nwith Client('http://127.0.0.1:1'): print('works')"
    assert ran(python, "-c", code, folder=tmp_path) == "works"
    assert "compress" in ran(python.with_name("isslim"), "--help", folder=tmp_path)


PRELUDE = """import torch
from tagger import Tagger, trained
from tagger import batches as made

batches = made()
torch.save(trained().state_dict(), "tagger.pt")
"""
"""What a user has before the README's program: a class, its weights, its data."""


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(", minutes=0.05)", marks=pytest.mark.slow),
        pytest.param(")", marks=pytest.mark.long),  # as it is, it learns for minutes
    ],
    ids=["briefly", "as it is"],
)
def test_installed_library_runs_the_readme_s_program_and_brings_no_server(
    more: str, wheel: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    python = environment(tmp_path_factory.mktemp("library"))
    options = ("-q", "--no-compile", "-c", ROOT / "constraints.txt")
    ran(python, "-m", "pip", "install", *options, f"{wheel}[compress]", folder=tmp_path)
    unwanted = ["dbos", "sqlalchemy", "obstore", "psycopg", "fastapi", "uvicorn", "httpx", "typer"]
    assert installed(python, unwanted, tmp_path) == "[]"
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    (program,) = [block for block in blocks if "isslim.compress(" in block]
    assert "budget=0.02)" in program
    program = program.replace("budget=0.02)", f"budget=0.02{more}")
    shutil.copy(ROOT / "examples" / "tagger.py", tmp_path)
    ending = "print(type(module).__name__, module.encoder.hidden_size < 48)\n"
    (tmp_path / "program.py").write_text(PRELUDE + program + ending)
    assert ran(python, "program.py", folder=tmp_path).splitlines()[-1] == "Tagger True"


@pytest.mark.slow
def test_files_of_the_service_image_serve_without_torch(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    python = environment(tmp_path_factory.mktemp("image"))
    for path in images()["service"]:
        target = tmp_path / path.relative_to(ROOT)
        if path.is_file() and "__pycache__" not in path.parts:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    for name in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    options = ("-q", "--no-compile", "--no-build-isolation", "-c", "constraints.txt", ".[service]")
    ran(python, "-m", "pip", "install", *options, folder=tmp_path)
    unwanted = ["isslim.compress", "isslim.client", "torch", "onnx", "matplotlib", "httpx"]
    assert installed(python, unwanted, tmp_path) == "[]"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = CLEAN | {"ISS_HOME": str(tmp_path / "home"), "ISS_PORT": str(port)}
    process = subprocess.Popen([python, "-m", "isslim.service"], cwd=tmp_path, env=settings)
    try:
        assert answers(f"http://127.0.0.1:{port}/health/ready", process)
    finally:
        process.terminate()
        process.wait(timeout=30)


def installed(python: Path, names: list[str], folder: Path) -> str:
    """Which of some modules an interpreter finds, as a list in text."""
    code = f"from importlib.util import find_spec; print([n for n in {names} if find_spec(n)])"
    return ran(python, "-c", code, folder=folder)


def answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether an address answers within half a minute, while its process lives."""
    limit = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < limit:
        try:
            return bool(httpx.get(url).status_code == 200)
        except httpx.TransportError:
            time.sleep(0.1)
    return False

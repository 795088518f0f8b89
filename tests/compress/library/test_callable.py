"""`isslim.compress` is a function and a package: how it is imported, described and typed."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import isslim

ROOT = Path(__file__).parents[3]


def ran(code: str, folder: Path) -> str:
    """What a program prints, in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_signature_and_documentation_are_the_function_s() -> None:
    parameters = inspect.signature(isslim.compress).parameters
    assert list(parameters)[:3] == ["model", "data", "held_out"]
    assert parameters["latency"].default == "primary"
    documentation = isslim.compress.__call__.__doc__
    assert documentation is not None
    assert documentation.startswith("Removes what a recurrent network does without")


def test_help_shows_the_function(capsys: pytest.CaptureFixture[str]) -> None:
    help(isslim.compress)
    shown = capsys.readouterr().out
    beginning = shown[: shown.index("PACKAGE CONTENTS")]
    assert "isslim.compress - Removes what a recurrent network does without" in beginning
    assert "isslim.compress(model:" in beginning
    for words in ("held_out: what quality is evaluated on", "`decision_axis`", "confident"):
        assert words in beginning


@pytest.mark.parametrize(
    "code",
    [
        "import isslim; print(callable(isslim.compress))",
        "from isslim import compress; print(callable(compress))",
        "import isslim.compress.errors; print(callable(isslim.compress))",
        "from isslim.compress.errors import BudgetNotMet; import isslim; print(callable("
        "isslim.compress) and isslim.compress.errors.BudgetNotMet is BudgetNotMet)",
    ],
)
def test_it_is_callable_however_it_is_imported(code: str, tmp_path: Path) -> None:
    assert ran(code, tmp_path) == "True\n"


def test_importing_the_package_takes_no_time_and_no_torch(tmp_path: Path) -> None:
    code = (
        "import time, sys; began = time.process_time(); import isslim; "
        "print(time.process_time() - began, 'torch' in sys.modules)"
    )
    spent, torch = min(ran(code, tmp_path).split() for _ in range(3))
    assert float(spent) < 0.15
    assert torch == "False"


PROGRAM = """
from pathlib import Path
import torch
import isslim
from isslim import Budget, Compressed
from isslim.compress.errors import BudgetNotMet

def small(module: torch.nn.Module, calls: list[torch.Tensor]) -> Compressed:
    try:
        found = isslim.compress(module, calls, budget=Budget(output_change=0.1), seed=3)
    except BudgetNotMet as answer:
        print(answer.curve[0].loss)
        raise
    path: Path = found.to_onnx("small.onnx")
    inner: torch.nn.Module = found.module
    reveal_type(isslim.compress)
    return found
"""


@pytest.mark.long
def test_program_of_a_user_is_typed(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports", "silent", "program.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert checked.returncode == 0, checked.stdout
    assert 'Revealed type is "def (model: torch.nn' in checked.stdout

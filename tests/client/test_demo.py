"""`isslim demo` runs where every part is installed, and else says what is missing."""

from __future__ import annotations

import sys

import pytest
from typer.testing import CliRunner

from isslim.client.cli import app
from isslim.client.commands import demo as module
from isslim.demo.__main__ import TRAINED


def test_demo_replaces_the_command_with_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda file, words: run.append([file, *words]))
    done = CliRunner().invoke(app, "demo --minutes 0.5 --folder there")
    assert done.exit_code == 0, done.output
    options = ["--minutes", "0.5", "--folder", "there"]
    assert run == [[sys.executable, sys.executable, "-P", "-m", "isslim.demo", *options]]
    # Where nothing is said it trains as long as `make demo`.
    CliRunner().invoke(app, "demo")
    assert run[1][5:7] == ["--minutes", str(TRAINED)]


def test_what_the_demo_needs_is_named_where_it_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PARTS", {"worker": ("", ("torch", "no_such_package"))})
    done = CliRunner().invoke(app, "demo")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "needs no_such_package: pip install 'isslim[service,worker,client]'" in done.stderr

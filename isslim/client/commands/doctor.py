"""`isslim doctor`: does everything that isslim needs work on this machine?

The server's parts look at themselves, in processes of their own: the client knows neither.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import typer
from pydantic import ValidationError
from rich.console import Group
from rich.text import Text

import isslim
from isslim.client.api import Client, ProblemError, Unreachable, WrongSetting
from isslim.client.commands import exits
from isslim.client.commands.answers import Answers
from isslim.client.commands.options import HERE, AsJson, Url
from isslim.client.commands.serving import HOME, Home
from isslim.types.findings import FINDINGS, Finding
from isslim.types.hiding import shown_address, without_credentials

PARTS = {
    "service": ("isslim.service.doctor", ("fastapi", "onnxruntime", "dbos", "obstore")),
    "worker": ("isslim.compress.worker.doctor", ("torch", "onnx", "onnxruntime", "dbos")),
}
"""Extras: the module that looks, and the packages that it shows by."""
SECONDS = 120
"""How long a part may look; a database that does not answer is given up long before."""
_MARKS = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}


def doctor(home: Home = HOME, url: Url = HERE, as_json: AsJson = False) -> None:
    """Checks this machine: parts, service, database, devices.

    One line for each thing that was looked at, with what to do where something is wrong; then the
    exit code is 1. Nothing is changed.
    """
    answers = Answers(as_json)
    found = [*_installed(), *_service(url)]
    for part in PARTS:
        found += _part(part, home)
    answers.give(found, lambda: Group(*(_line(each) for each in found)))
    if any(each.state == "wrong" for each in found):
        raise typer.Exit(exits.REFUSED)


def _line(found: Finding) -> Text:
    style = {"ok": "green", "note": "yellow", "wrong": "bold red"}[found.state]
    advice = f"; to do: {found.advice}" if found.advice else ""
    return Text.assemble((_MARKS[found.state], style), f" {found.subject}: {found.detail}{advice}")


def _installed() -> Iterator[Finding]:
    """The package itself, and whether a shell finds its command."""
    detail = f"{isslim.__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield Finding(subject="isslim", state="ok", detail=detail)
    there = shutil.which("isslim")
    if there is not None:
        yield Finding(subject="command", state="ok", detail=there)
        return
    folder = Path(sys.executable).parent
    activate = folder / "activate"
    advice = f"source {activate}" if activate.exists() else f"add {folder} to PATH"
    yield Finding(subject="command", state="note", detail="no `isslim` on the PATH", advice=advice)


def _service(url: str) -> Iterator[Finding]:
    """Whether a service answers, and is of this release."""
    try:
        with Client(url) as client:
            about, health = client.about(), client.health()
    except WrongSetting as error:
        yield Finding(subject="service", state="wrong", detail=str(error), advice="correct it")
        return
    except Unreachable as error:
        advice = "start one: isslim serve; or name another: --url, or ISS_URL"
        yield Finding(subject="service", state="wrong", detail=str(error), advice=advice)
        return
    except ValidationError:
        detail = (
            f"what answers at {shown_address(url)} is no isslim service, or one of another version"
        )
        yield Finding(subject="service", state="wrong", detail=detail, advice="check --url")
        return
    except ProblemError as error:
        advice = "its log says more"
        yield Finding(subject="service", state="wrong", detail=error.detail, advice=advice)
        return
    same = about.version == isslim.__version__
    yield Finding(
        subject="service",
        state="ok" if same else "note",
        detail=f"{shown_address(url)}, version {about.version}, {health.detail}",
        advice="" if same else f"install the same version here; this is {isslim.__version__}",
    )


def _part(part: str, home: Path) -> list[Finding]:
    """What one part of the server finds, or that it is not installed here."""
    module, packages = PARTS[part]
    if missing := [each for each in packages if find_spec(each) is None]:
        detail = f"not installed here ({', '.join(missing)})"
        advice = f"where this machine is to be one: pip install 'isslim[{part}]'"
        return [Finding(subject=part, state="note", detail=detail, advice=advice)]
    versions = Finding(
        subject=f"packages of the {part}", state="ok", detail=", ".join(map(_version, packages))
    )
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module],
            env=os.environ | {"ISS_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        return [versions, *FINDINGS.validate_json(done.stdout)]
    except subprocess.TimeoutExpired:
        return [versions, _broken(part, f"it did not answer within {SECONDS} seconds")]
    except subprocess.CalledProcessError as error:
        return [versions, _broken(part, _last_line(error))]


def _last_line(error: subprocess.CalledProcessError) -> str:
    """What a process said last; it may quote its settings."""
    lines = error.stderr.strip().splitlines() or [f"it ended with status {error.returncode}"]
    return without_credentials(lines[-1])


def _broken(part: str, detail: str) -> Finding:
    advice = f"install it again: pip install --force-reinstall 'isslim[{part}]'"
    return Finding(subject=part, state="wrong", detail=detail, advice=advice)


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package  # such as onnxruntime-gpu, which has the module's name and not the package's

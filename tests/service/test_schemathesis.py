"""The service against its own OpenAPI document: every check of schemathesis, on a real server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Published
from tests.service.served import served

CONFIG = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
SECONDS = 60


def checked(url: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What schemathesis says of a service; what it keeps is in the folder."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={CONFIG}",
        "run",
        f"{url}/openapi.json",
        "--no-color",
        "--continue-on-failure",
        "--seed=1",
        "--generation-database=none",
        "--warnings=off",
        "--request-timeout=20",
        *options,
    ]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"SCHEMATHESIS_HOOKS": str(HOOKS)},
        timeout=SECONDS + 60,
    )


@pytest.mark.slow
def test_all_checks_are_clean(published: Published, tmp_path: Path) -> None:
    home = tmp_path / "home"  # its model may be deleted
    shutil.copytree(published.settings.home, home)
    with served(home, {}) as url:
        found = checked(url, tmp_path, f"--max-time={SECONDS}", "-n", "4")
    assert found.returncode == 0, found.stdout[-8000:] + found.stderr[-2000:]
    assert "Tested: " in found.stdout

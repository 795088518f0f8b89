"""Programs that tests need: their absence is a fault in CI, and a reason to skip elsewhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def program(name: str, package: str) -> str:
    """The path of a program.

    Args:
        name: of the program.
        package: of Debian that brings it.
    """
    found = shutil.which(name)
    if found is None:
        reason = f"`{name}` is not installed: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found

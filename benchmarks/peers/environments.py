"""Virtual environments of other tools, below the benchmarks' cache folder.

An environment is made once for each list of requirements, and is there only when it is whole.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.baseline import cache_folder

INSTALL_SECONDS = 900
_VERSIONS = """
import json
from importlib.metadata import distribution
import sys
print(json.dumps({name: distribution(name).version for name in sys.argv[1:]}))
"""


class NoEnvironment(Exception):
    """The requirements of a tool cannot be installed; the message is why."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment that is there.

    Attributes:
        python: its interpreter.
        versions: found in it, by package.
    """

    python: Path
    versions: dict[str, str]

    @property
    def note(self) -> str:
        """Packages and versions, in words."""
        return ", ".join(f"{name} {version}" for name, version in self.versions.items())


def environment(requirements: Sequence[str], *, shares_torch: bool = False) -> Environment:
    """The environment with these requirements; it is made where there is none yet.

    Args:
        requirements: pinned, as pip takes them (`openvino==2026.4.1`).
        shares_torch: whether it also sees the packages of the running interpreter, so that torch is
            not installed a second time. Its own packages come first.

    Raises:
        NoEnvironment: when pip cannot install them.
    """
    names = [each.split("==")[0] for each in requirements]
    key = json.dumps([*requirements, shares_torch, sys.version])
    folder = cache_folder() / "environments" / hashlib.sha256(key.encode()).hexdigest()[:12]
    python, whole = folder / "bin" / "python", folder / "whole"
    if not whole.exists():
        venv.create(folder, clear=True)
        if requirements:
            _run(
                [sys.executable, "-m", "pip", "--python", str(python), "install", "-q"],
                requirements,
            )
        if shares_torch:
            (packages,) = (folder / "lib").glob("python*/site-packages")
            (packages / "shared.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
            names.append("torch")
        whole.write_text(_run([str(python), "-c", _VERSIONS], names))
    return Environment(python, json.loads(whole.read_text()))


def _run(command: Sequence[str], names: Sequence[str]) -> str:
    try:
        return subprocess.run(
            [*command, *names], check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS
        ).stdout
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.startswith("ERROR")]
        raise NoEnvironment(lines[-1] if lines else error.stderr.strip()[-300:]) from error
    except subprocess.TimeoutExpired as error:
        raise NoEnvironment(f"pip did not end within {INSTALL_SECONDS} s") from error

"""Runs the tests of a module against one mutant after another, each in a process of its own.

The working tree is copied to a temporary folder, where each mutant is written in the place of its
module: nothing happens to the tree itself, and processes that tests start see the mutant too. The
process that is forked for each mutant has imported everything but the project's own code (torch
alone takes seconds), so a mutant costs what its module's tests take. A run of the unchanged module
tells what to import, and how long a mutant may take.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

COPIED = ("isslim", "tests", "benchmarks", "examples")
OWN = {*COPIED, "__main__"}
SLOWER, PATIENCE = 3.0, 4.0
"""A mutant may take so many times as long as the unchanged module, and so many seconds more."""
BUSY = 6.0
"""So many times longer by a clock on the wall than in CPU time: other processes want the machine
too."""
MEMORY = 16 << 30
"""Bytes of address space, since a mutant may ask for an array of any size."""


class BaselineFailed(Exception):
    """The tests fail on the unchanged module, or there are none."""


class Runner:
    """A module's tests, ready to be run against mutants of it."""

    def __init__(
        self, root: Path, module: str, tests: Sequence[str], *, patience: float = PATIENCE
    ) -> None:
        """Makes the runner in its own copy of the tree.

        Args:
            root: the copy.
            module: path of the mutated file in it.
            tests: arguments of pytest.
            patience: seconds that a mutant may take, and `SLOWER` times what its module takes.
        """
        self._patience = patience
        self._root, self._file, self._tests = root, root / module, list(tests)
        self._limit = 600.0

    def prepare(self) -> float:
        """Runs the tests on the unchanged module and imports what they imported.

        Returns:
            The CPU time that they took, once everything was imported, in seconds.

        Raises:
            BaselineFailed: when they do not pass.
        """
        self._expect_pass()
        for name in json.loads((self._root / "modules.json").read_text()):
            with contextlib.suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(name)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._expect_pass()
        for compiled in self._file.parent.glob(f"__pycache__/{self._file.stem}.*"):
            compiled.unlink()  # it would stand for a mutant of the same size and second
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self._limit = SLOWER * taken + self._patience
        return taken

    def kills(self, source: str) -> bool:
        """Whether the tests notice that the module has another text."""
        original = self._file.read_text()
        self._file.write_text(source)
        try:
            return self._run() != 0
        finally:
            self._file.write_text(original)

    def _expect_pass(self) -> None:
        if self._run(unchanged=True) != 0:
            raise BaselineFailed((self._root / "output.txt").read_text()[-4000:])

    def _run(self, *, unchanged: bool = False) -> int:
        """The status of the tests in a process of their own; what is left of it is ended."""
        pid = os.fork()
        if pid == 0:
            self._become_test(unchanged=unchanged)
        descriptor = os.pidfd_open(pid)
        try:
            ended, _, _ = select.select([descriptor], [], [], BUSY * self._limit)
        finally:
            os.close(descriptor)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status) if ended else -1

    def _become_test(self, *, unchanged: bool) -> None:
        """Runs pytest in this process, which ends."""
        status = 3
        try:
            os.setsid()
            limit = int(self._limit) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            output = os.open(self._root / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.stdout = sys.stderr = os.fdopen(output, "w", closefd=False)
            os.chdir(self._root)
            # A file of bytecode would stand for all mutants of one size that are made in a second.
            sys.dont_write_bytecode = not unchanged
            os.environ |= {
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONPATH": str(self._root),
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            }
            for name in [name for name in sys.modules if _is_own(name) and name != "__main__"]:
                del sys.modules[name]
            sys.path.insert(0, str(self._root))
            status = _pytest([*self._tests, "--basetemp", str(self._root / "temporary")])
            if unchanged:
                found = [name for name in sys.modules if not _is_own(name)]
                (self._root / "modules.json").write_text(json.dumps(found))
        finally:
            sys.stdout.flush()
            os._exit(status)


def _pytest(arguments: list[str]) -> int:
    import pytest

    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *arguments]))


def _is_own(name: str) -> bool:
    return name.partition(".")[0] in OWN


@contextlib.contextmanager
def copied_tree(root: Path) -> Iterator[Path]:
    """A temporary copy of what tests need of a working tree."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy, ignored = Path(folder), shutil.ignore_patterns("__pycache__")
        for name in COPIED:
            shutil.copytree(root / name, copy / name, symlinks=True, ignore=ignored)
        for path in (*root.glob("*.toml"), *root.glob("*.txt"), root / "README.md"):
            shutil.copy(path, copy / path.name)
        yield copy

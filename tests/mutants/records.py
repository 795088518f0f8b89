"""The last result of each module, and the mutants that may survive.

Results are in `benchmarks/records/mutants/`, a file for each module. A mutant may survive where it
does the same (an equivalent one), or where no caller could care. Each is listed with its reason in
`accepted/`, in a file named as the module's record:

    [[accepted]]
    change = "what stands in the changed line and not in the original"
    before = "the original line, where the change could be one of several lines"
    reason = "why that is right"
"""

from __future__ import annotations

import ast
import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.mutants.mutating import Mutant

HERE = Path(__file__).parent
FOLDER = Path("benchmarks/records/mutants")


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test noticed.

    Attributes:
        line: of the module when it was found.
        before: the lines as they are.
        after: the lines changed.
        reason: why that is right; empty where it is not.
    """

    line: int
    before: str
    after: str
    reason: str = ""


@dataclass
class Record:
    """What became of the mutants of a module.

    Attributes:
        module: its path.
        digest: of the module and its tests when they were tried.
        mutants: how many there are.
        done: how many were tried, in the order of the text.
        survivors: those that were not noticed.
    """

    module: str
    digest: str
    mutants: int
    done: int = 0
    survivors: list[Survivor] = field(default_factory=list)

    @property
    def open(self) -> list[Survivor]:
        """The survivors that are not accepted."""
        return [each for each in self.survivors if not each.reason]

    @property
    def killed(self) -> int:
        """How many were noticed."""
        return self.done - len(self.survivors)

    @property
    def share(self) -> float:
        """How many of those tried that had to be noticed were."""
        asked = self.killed + len(self.open)
        return self.killed / asked if asked else 1.0

    def write(self, root: Path) -> None:
        """Replaces the module's file."""
        path = record_path(root, self.module)
        path.parent.mkdir(parents=True, exist_ok=True)
        counts = {"killed": self.killed, "accepted": len(self.survivors) - len(self.open)}
        path.write_text(json.dumps({**asdict(self), **counts}, indent=1) + "\n")


def record_path(root: Path, module: str) -> Path:
    """Where the result of a module is kept."""
    return root / FOLDER / f"{_dotted(module)}.json"


def read_record(root: Path, module: str) -> Record | None:
    """The last result of a module; None where there is none."""
    path = record_path(root, module)
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    survivors = [Survivor(**each) for each in content["survivors"]]
    return Record(module, content["digest"], content["mutants"], content["done"], survivors)


def digest_of(root: Path, module: str, tests: Sequence[str]) -> str:
    """Of the code of a module, of its tests and of the mutants' maker; words and layout aside."""
    paths = [root / module, HERE / "mutating.py"]
    paths += [root / each for each in tests if not each.startswith("-")]
    found = hashlib.sha256()
    for path in paths:
        if path.exists():
            found.update(_code(path.read_text()).encode())
    return found.hexdigest()[:16]


def _code(source: str) -> str:
    """What runs: without comments, and without strings that stand alone."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not _is_text(each)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


class Acceptance:
    """The mutants of a module that may survive."""

    def __init__(self, module: str) -> None:
        """Reads the module's file, if there is one."""
        path = HERE / "accepted" / f"{_dotted(module)}.toml"
        entries = tomllib.loads(path.read_text())["accepted"] if path.exists() else []
        self._entries: list[dict[str, str]] = entries

    def judge(self, mutant: Mutant | Survivor) -> Survivor:
        """A survivor with its reason, where there is one."""
        reasons = (each["reason"] for each in self._entries if _is_of(each, mutant))
        return Survivor(mutant.line, mutant.before, mutant.after, next(reasons, ""))

    def unused(self, survivors: Sequence[Survivor]) -> list[str]:
        """Accepted changes that no survivor has: tests notice them now, or the line is gone."""
        return [
            entry["change"]
            for entry in self._entries
            if not any(_is_of(entry, each) for each in survivors)
        ]


def _is_of(entry: Mapping[str, str], mutant: Mutant | Survivor) -> bool:
    """Whether an entry of the accepted ones is about a mutant."""
    change = entry["change"]
    return (
        change in mutant.after
        and change not in mutant.before
        and entry.get("before", mutant.before) == mutant.before
    )


def _dotted(module: str) -> str:
    return module.removesuffix(".py").replace("/", ".")

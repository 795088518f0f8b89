"""What the benchmark knows of a published model: its files, its inputs, its task.

Everything is made of numbers: a speaker, or a page of text, has one, and those of calibration, of
the evaluation that a budget is kept to, and of the task's score are never the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

from benchmarks.speech import Spoken
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays
from isslim.types.recipe import Budget, Recipe

Speakers = Callable[[int], Spoken]
"""What the speaker of that number says."""
Streams = list[list[NamedArrays]]
"""Per speaker or page, runs in order."""
HELD_OUT = range(100, 103)
EQUAL = 0.002
"""What budgets allow of accuracy, F1 or error rate: 0.2 points of 100 count as the same."""
SCORED_FROM = 200
"""The first number that a task is scored on."""


class NotInstalled(Exception):
    """A package, or a file of it, is not there; the message says which."""


@dataclass(frozen=True)
class Task:
    """What a model is for, and how well it does that.

    Attributes:
        metric: in words, with its unit.
        better: which way.
        truth: what its answers are compared with.
        score: the metric of a graph, on speakers or pages from `SCORED_FROM`.
    """

    metric: str
    better: Literal["higher", "lower"]
    truth: str
    score: Callable[[GraphSession, Speakers], float]


@dataclass(frozen=True)
class Published:
    """A published model.

    Attributes:
        package: its distribution.
        file: the graph in it, or what `written` makes one of.
        streams: inputs of the speakers or pages of these numbers, per speaker or page in order;
            states are left out. They may hold targets (`target:<output>`).
        task: None: the change of its outputs is all that is known.
        limit: a metric, and the loss in it that the budget allows; None: the change of outputs that
            the command line allows.
        confident: see `Budget.confident`.
        written: writes the graph of that file to a path; None: the file is a graph.
        companions: further distributions, which hold texts or labels.
        states: inputs that carry a state, with the output that they are next time and their first
            value's shape.
        blank: of CTC, the class that stands for none.
        calibration: numbers of what is recorded for calibration: the more, the better distillation
            generalises.
        held_out: numbers of what the budget is kept to on.
    """

    package: str
    file: str
    streams: Callable[[Speakers, range], Streams]
    task: Task | None = None
    limit: tuple[str, float] | None = None
    confident: bool | None = None
    written: Callable[[Path, Path], None] | None = None
    companions: tuple[str, ...] = ()
    states: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    blank: int | None = None
    calibration: range = field(kw_only=True)
    held_out: range = HELD_OUT

    @property
    def name(self) -> str:
        """Package and file."""
        return f"{self.package}: {Path(self.file).name}"

    def graph(self, folder: Path) -> Path:
        """The graph's file.

        Args:
            folder: where it may be written.

        Raises:
            NotInstalled: when a package or the file is missing.
        """
        path = file_of(self.package, self.file)
        for package in self.companions:
            version_of(package)
        if self.written is None:
            return path
        made = folder / f"{path.stem}.onnx"
        self.written(path, made)
        return made

    def recipe(self, change: float, minutes: float | None) -> Recipe:
        """The recipe of its compression.

        Args:
            change: the change of outputs that is allowed where the model has no limit of its own.
            minutes: most minutes of distillation; None: the product's default.
        """
        metric, loss = self.limit or ("output_change", change)
        return Recipe(
            budget=Budget(loss=loss, confident=self.confident),
            metric=metric,
            blank=self.blank,
            # A budget on the change of outputs is kept run by run, and streams are shown beside it.
            stream=False if self.limit is None else None,
            minutes=minutes,
        )


def version_of(package: str) -> str:
    """The installed version of a distribution.

    Raises:
        NotInstalled: when it is not there.
    """
    try:
        return distribution(package).version
    except PackageNotFoundError:
        raise NotInstalled(f"the package {package} is not installed") from None


def file_of(package: str, file: str) -> Path:
    """A file of an installed distribution.

    Args:
        package: its name.
        file: relative to the folder of packages.

    Raises:
        NotInstalled: when either is not there.
    """
    version_of(package)
    path = Path(str(distribution(package).locate_file(file)))
    if not path.is_file():
        raise NotInstalled(f"the installed {package} ships no {file}")
    return path

"""What a network of some sizes costs: the time it will take where it is served, or a count.

The cost is relative to the original's. Besides what was asked for, the parameters count a little,
so that what takes no time, such as the rows of an embedding, goes where it is nearly free.

A narrow layer that was put in counts only where it pays: else it is left out, as `cut` does. Where
multiply-adds stand for time, a narrow recurrence of a small layer never does (`SCANNED`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from isslim.compress.contract import ModelTask
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import NetworkAxes
from isslim.compress.pruning.insertion import staying
from isslim.compress.pruning.narrow import without_narrow
from isslim.compress.pruning.network import Model
from isslim.runtime.shape import usual_size
from isslim.types.axis_names import units_of_recurrence
from isslim.types.kinds.registry import run_label

FILE = 0.1
"""What all parameters count for, where all the time (or all multiply-adds) counts for 1."""
SCANNED = 600
"""Units from which a narrow recurrence counts as such where multiply-adds stand for time.

It runs as a Scan, whose every step costs the dispatch of its nodes, or multiplied out, which saves
nothing. At 400 units the int8 Scan takes 1.20 times the time of the multiplied-out LSTM for one
step and 1.22 times for 30, at 650 units 1.02 and 0.70 times (`python -m benchmarks.int8_cells`).
"""
Count = Callable[[NetworkAxes], float]


@dataclass(frozen=True)
class Pricing:
    """The costs of networks of all sizes.

    Attributes:
        main: what was asked for: seconds or a count, of any unit.
        whole: the original's axes, whose cost is 1 plus `FILE`.
        basis: what `main` stands for.
        reason: the same in words.
        file: the parameters that count for the file.
    """

    main: Count
    whole: NetworkAxes
    basis: Literal["time", "multiply-adds", "parameters"]
    reason: str
    file: Count = axes.parameters

    def cost(self, declaration: NetworkAxes) -> float:
        """Relative to the original's, of the network exactly as it is declared."""
        time, size = self._of_whole
        return self.main(declaration) / time + FILE * (self.file(declaration) / size)

    @cached_property
    def _of_whole(self) -> tuple[float, float]:
        """What the original takes and how large it is: a search asks thousands of times."""
        return self.main(self.whole), self.file(self.whole)

    def cheapest(self, declaration: NetworkAxes) -> NetworkAxes:
        """The network without narrow layers and blocks that were put in and do not pay."""
        return staying(declaration, self.whole, self.cost)[1]


def price(task: ModelTask[Model], work: Path, progress: ProgressCallback) -> Pricing:
    """What the sizes of a model are to be chosen for, by its recipe.

    Args:
        task: the model, and how its time is measured.
        work: the compression's folder.
        progress: called with the share done and a message.
    """
    recipe, whole = task.recipe, task.original.declaration()
    if recipe.optimize == "size" or recipe.budget.size_ratio is not None:
        return Pricing(task.parameters, whole, "parameters", "sizes chosen by counting parameters")
    time = task.cost(work, progress)
    if time is not None:
        steps, batch = usual_size(task.optimized_shape)
        run = run_label(task.task, steps, batch)
        form = "float32" if recipe.budget.speedup is not None else "int8"
        return Pricing(
            time,
            whole,
            "time",
            f"sizes chosen by the time of {run} in {form}, measured where the model was compressed",
        )
    why = ", because the clock of the host was not steady" if task.timed else ""
    return Pricing(
        _as_run(task.work),
        whole,
        "multiply-adds",
        f"sizes chosen by counting multiply-adds{why}",
        _as_run(axes.parameters),
    )


def _as_run(count: Count) -> Count:
    """A count of networks in which narrow recurrences of small layers are multiplied out."""

    def counted(declaration: NetworkAxes) -> float:
        for place in declaration.narrow:
            units = units_of_recurrence(place.axis)
            if units is not None and declaration.axes[units] < SCANNED:
                declaration = without_narrow(declaration, place)
        return count(declaration)

    return counted

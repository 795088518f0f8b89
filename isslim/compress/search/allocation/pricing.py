"""What a network of some sizes costs: the time it will take where it is served, or a count.

The cost is relative to the original's. Besides what was asked for, the parameters count a little,
so that what takes no time, such as the rows of an embedding, goes where it is nearly free.

A narrow layer that was put in counts only where it pays: else it is left out, as `cut` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from isslim.compress.contract import ModelTask
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import NetworkAxes
from isslim.compress.pruning.blocks import DECODER
from isslim.compress.pruning.insertion import staying
from isslim.compress.pruning.narrow import without_narrow
from isslim.compress.pruning.network import Model
from isslim.runtime.shape import usual_size

FILE = 0.1
"""What all parameters count for, where all the time (or all multiply-adds) counts for 1."""
Count = Callable[[NetworkAxes], float]


@dataclass(frozen=True)
class Pricing:
    """The costs of networks of all sizes.

    Attributes:
        main: what was asked for: seconds or a count, of any unit.
        whole: the original's axes, whose cost is 1 plus `FILE`.
        basis: what `main` stands for.
        reason: the same in words.
    """

    main: Count
    whole: NetworkAxes
    basis: Literal["time", "multiply-adds", "parameters"]
    reason: str

    def cost(self, declaration: NetworkAxes) -> float:
        """Relative to the original's, of the network exactly as it is declared."""
        size = axes.parameters(declaration) / axes.parameters(self.whole)
        return self.main(declaration) / self.main(self.whole) + FILE * size

    def cheapest(self, declaration: NetworkAxes) -> NetworkAxes:
        """The network without narrow layers and blocks that were put in and do not pay."""
        spent = self.cost(declaration)
        for place in declaration.narrow:
            if place not in self.whole.narrow:
                plain = without_narrow(declaration, place)
                less = self.cost(plain)
                if less <= spent:
                    declaration, spent = plain, less
        in_blocks = any(place.site.startswith(f"{DECODER}.") for place in declaration.narrow)
        if declaration.indices and not self.whole.indices and not in_blocks:
            # Blocks of which none is narrow are one matrix again.
            return staying(declaration, self.whole, self.cost)[1]
        return declaration


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
        form = "float32" if recipe.budget.speedup is not None else "the form that is served"
        return Pricing(
            time,
            whole,
            "time",
            f"sizes chosen by the time of {steps} x {batch} tokens in {form}, measured on this "
            "host",
        )
    why = "counting, because this host could not be timed steadily"
    counted = why if task.timed else "counting multiply-adds"
    return Pricing(axes.mult_adds, whole, "multiply-adds", f"sizes chosen by {counted}")

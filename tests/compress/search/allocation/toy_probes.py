"""The speaker of `toy_text` as a task with probes: what a cut loses follows a rule of its sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from isslim.compress.pruning.axes import NetworkAxes
from isslim.compress.pruning.narrow import BOTTLENECK
from isslim.compress.pruning.ranking import RemovalPlan, rank_components
from isslim.types.recipe import Recipe
from tests.compress.search import toy_text
from tests.compress.search.toy import Toy, by_units
from tests.compress.search.toy_text import SpeakerTask

Sizes = Mapping[str, int]


def gently(sizes: Sizes) -> float:
    """Each axis loses by the square of what is gone; the bottleneck loses most."""
    weights = {"embedding": 0.001, "units": 0.004, BOTTLENECK.axis: 0.02}
    return sum(weights[axis] * (10 - size) ** 2 / 10 for axis, size in sizes.items())


@dataclass
class ProbedTask(SpeakerTask):
    """The kind; the sizes that were probed are kept."""

    loses: Callable[[Sizes], float] = gently
    probed: list[dict[str, int]] = field(default_factory=list)

    def probe_loss(self, network: Toy) -> float | None:
        if network is self.original:
            return 0.0
        self.probed.append(dict(network.declaration().axes))
        return self.loses(self.probed[-1])


def task_of(recipe: Recipe | None = None, loses: Callable[[Sizes], float] = gently) -> ProbedTask:
    """The task on a speaker of 10 units and an embedding of 10."""
    return ProbedTask(toy_text.drawn(), recipe or Recipe(), by_units(0.0), loses=loses)


def plan_of(task: ProbedTask) -> RemovalPlan:
    """Each axis in its order, a bottleneck put in."""
    declaration: NetworkAxes = task.original.declaration()
    return rank_components(
        task.original.arrays(),
        declaration,
        toy_text.observed(task.original),
        prunable=list(declaration.axes),
        count="components",
        narrow=[BOTTLENECK],
        equal=task.equal_axes(),
    )

"""What can be sized: an axis, or axes that keep one size, and the order in which it shrinks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isslim.compress.pruning.ranking import RemovalPlan


@dataclass(frozen=True, eq=False)
class Knob:
    """Axes that lose one component each at a time.

    Attributes:
        axes: their names.
        size: components of each of them, before any is removed.
        steps: the components that go in each step, one of each axis, M steps.
        costs: what the criterion says that the first m steps cost together, (M + 1,), from 0.
    """

    axes: tuple[str, ...]
    size: int
    steps: tuple[tuple[int, ...], ...]
    costs: NDArray[np.float64]

    def removed(self, start: int, end: int) -> list[tuple[str, int]]:
        """What goes in the steps `start` to `end` - 1, in order.

        Args:
            start: of the first step.
            end: behind the last one.
        """
        return [
            (axis, component)
            for step in self.steps[start:end]
            for axis, component in zip(self.axes, step, strict=True)
        ]

    def sizes(self, gone: int) -> dict[str, int]:
        """The size of each of its axes when the first `gone` steps are done."""
        return dict.fromkeys(self.axes, self.size - gone)


def knobs_of(removal_plan: RemovalPlan, equal: Sequence[Sequence[str]] = ()) -> list[Knob]:
    """What a plan may size, each in the plan's own order.

    Args:
        removal_plan: an order over all axes, with what each entry costs.
        equal: groups of axes that keep one size; a group that the plan does not shrink is ignored.
    """
    orders: dict[str, list[tuple[int, float]]] = {}
    costs = removal_plan.costs if len(removal_plan.costs) else np.ones(len(removal_plan.order))
    for (axis, component), cost in zip(removal_plan.order, costs.tolist(), strict=True):
        orders.setdefault(axis, []).append((component, cost))
    groups = [tuple(group) for group in equal if set(group) <= orders.keys()]
    bound = {axis for group in groups for axis in group}
    groups += [(axis,) for axis in orders if axis not in bound]
    knobs = []
    for group in groups:
        steps = list(zip(*(orders[axis] for axis in group), strict=True))
        lost = [sum(cost for _, cost in step) for step in steps]
        knobs.append(
            Knob(
                group,
                removal_plan.declaration.axes[group[0]],
                tuple(tuple(component for component, _ in step) for step in steps),
                np.concatenate([[0.0], np.cumsum(lost)]),
            )
        )
    return knobs

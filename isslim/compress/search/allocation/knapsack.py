"""Sizes from whole to smallest, each the cheapest for what it loses: a knapsack, greedily.

Losses add up over axes, but what a removal saves depends on the sizes of the others: a matrix has
two dimensions. So the path goes in jumps. Each is the one, of any axis and any length, that saves
most per loss at the current sizes of all other axes: a step to the lower convex hull of cost over
loss. A jump passes over what does not pay alone, such as the first components of an inserted narrow
layer, which save nothing until the layer is narrower than the matrix that it replaces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from isslim.compress.search.allocation.curves import Curve

Counts = tuple[int, ...]
"""Of each axis, how many steps of removal are done."""
EVALUATED = 240
"""About as many sizes are looked at, over all axes together: each takes a cost."""
FINEST, COARSEST = 48, 12
"""Sizes of one axis that are looked at."""
FREE = 1e-9
"""Nats added to each loss, so that a removal that loses nothing is not divided by it."""


@dataclass(frozen=True)
class Jump:
    """A part of the path: one axis, or group of axes, shrinks.

    Attributes:
        knob: which one, by its position.
        start: its steps of removal before.
        end: its steps afterwards.
        saving: of the cost, above 0.
        loss: that the jump adds.
    """

    knob: int
    start: int
    end: int
    saving: float
    loss: float


def path(curves: Sequence[Curve], cost: Callable[[Counts], float]) -> list[Jump]:
    """The path from whole to the smallest sizes that still save something.

    Args:
        curves: the loss of each axis after each number of steps, (M + 1,), never falling.
        cost: of a network, from the steps done of each axis.
    """
    grids = [_grid(len(curve) - 1, len(curves)) for curve in curves]
    done = [0] * len(curves)
    spent = cost(tuple(done))
    jumps: list[Jump] = []
    # What an axis saves shrinks with the others, so that a rate that was found earlier is an upper
    # bound of today's: only the best is looked at again.
    best: dict[int, tuple[float, Jump | None]] = {
        knob: (float("inf"), None) for knob in range(len(curves))
    }
    while best:
        fresh = set[int]()
        while best:
            knob = max(best, key=lambda each: best[each][0])
            if knob in fresh:
                break
            fresh.add(knob)
            found = _steepest(knob, done, curves[knob], grids[knob], cost, spent)
            if found is None:
                # It may save something again once others have shrunk, but then next to nothing.
                del best[knob]
            else:
                best[knob] = (found.saving / (found.loss + FREE), found)
        if not best:
            break
        _, jump = best[knob]
        assert jump is not None  # it is fresh
        done[knob] = jump.end
        spent -= jump.saving
        jumps.append(jump)
        best[knob] = (float("inf"), None)
    return jumps


def _steepest(
    knob: int,
    done: Sequence[int],
    curve: Curve,
    grid: Sequence[int],
    cost: Callable[[Counts], float],
    spent: float,
) -> Jump | None:
    """The jump of one axis that saves most per loss; None where none saves anything."""
    best: Jump | None = None
    start = done[knob]
    for end in grid:
        if end <= start:
            continue
        saving = spent - cost((*done[:knob], end, *done[knob + 1 :]))
        jump = Jump(knob, start, end, saving, float(curve[end] - curve[start]))
        if saving > 0 and (
            best is None or saving * (best.loss + FREE) > best.saving * (jump.loss + FREE)
        ):
            best = jump
    return best


def _grid(steps: int, axes: int) -> list[int]:
    """The numbers of steps that are looked at: all, or so many at even distances."""
    count = min(steps, max(COARSEST, min(FINEST, EVALUATED // axes)))
    return sorted({round(each) for each in np.linspace(0, steps, count + 1).tolist()})

"""Steps of removal, by what they cost for what they save: components of one axis, or of several.

Legend: H components of an axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isslim.compress.pruning.selection import RemovalOrder


@dataclass(frozen=True)
class Removal:
    """One component of every axis of a group, removed together.

    Attributes:
        cost: per saving.
        position: in the order of the group.
        group: the axes.
        components: one of each axis.
        saving: of all of them.
        loss: by the criterion, of all of them.
    """

    cost: float
    position: int
    group: tuple[str, ...]
    components: tuple[int, ...]
    saving: float
    loss: float


def groups_of(prunable: Sequence[str], equal: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """The axes that shrink, those that keep one size together.

    Args:
        prunable: axes that may shrink.
        equal: groups of axes that keep one size.
    """
    bound = {axis for group in equal for axis in group}
    whole = [tuple(group) for group in equal if set(group) <= set(prunable)]
    return [*whole, *((axis,) for axis in prunable if axis not in bound)]


def removals_of(
    group: tuple[str, ...], orders: Sequence[RemovalOrder], saving: float
) -> list[Removal]:
    """The removals of a group, one component of every axis at a time.

    Args:
        group: the axes.
        orders: of their components, one an axis.
        saving: of all that goes together.
    """
    losses = np.sum([order.costs for order in orders], axis=0)
    return [
        Removal(loss / saving, position, group, tuple(map(int, components)), saving, loss)
        for position, (loss, *components) in enumerate(
            zip(losses.tolist(), *(order.components for order in orders), strict=True)
        )
    ]


def by_loss(axis: str, losses: NDArray[np.float64], min_kept: int) -> RemovalOrder:
    """The order of a linear axis in its principal basis: the last component first.

    Args:
        axis: its name.
        losses: what its readers lose with each component (H,), falling (`rotation.principal`).
        min_kept: components that stay.
    """
    gone = np.arange(min_kept, len(losses))[::-1]
    return RemovalOrder(axis, gone, losses[gone])


def in_one_piece(removals: Sequence[Removal], hump: float) -> list[Removal]:
    """The removals of a narrow layer that begins with more cost than there is without it.

    Its first components together save nothing. So those that lose least together for what they save
    go first, at one price.

    Args:
        removals: one component at a time, in order.
        hump: how much more the layer costs at full width.

    Returns:
        The removals with other prices and savings; none where even all of them save nothing.
    """
    if hump <= 0 or not removals:
        return list(removals)
    saved = np.cumsum([each.saving for each in removals]) - hump
    lost = np.cumsum([each.loss for each in removals])
    prices = np.where(saved > 0, lost / np.where(saved > 0, saved, 1.0), np.inf)
    count = int(np.argmin(prices)) + 1
    if not np.isfinite(prices[count - 1]):
        return []
    price, saving = float(prices[count - 1]), float(saved[count - 1]) / count
    first = [replace(each, cost=price, saving=saving) for each in removals[:count]]
    return [*first, *removals[count:]]

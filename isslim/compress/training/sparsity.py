"""How sparse a network in training is: units that count as removed, and norms of all units.

The norm of a unit is that of its group of weights (see `learners/groups.py`): its gates, its
recurrent row and its readers, without biases. Nothing is decided here; the records of all runs have
these figures, whether there is a learner or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from isslim.compress.pruning.axes import Keep
from isslim.compress.training.learners.groups import Groups, prunable
from isslim.compress.training.network import TrainableNetwork

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Of the norms of a layer's units, in a record."""
DIGITS = 4
"""Significant digits of a norm in a record."""


@dataclass(frozen=True)
class Sparsity:
    """The figures of one network at one time, by axis.

    Attributes:
        removed: components that count as removed.
        group_norms: the `QUANTILES` of the norms of its units.
    """

    removed: dict[str, int]
    group_norms: dict[str, list[float]]


def sparsity_of(network: TrainableNetwork, living: Keep | None) -> Sparsity:
    """Counts and quantiles.

    Args:
        network: in training; it is left as it is.
        living: the components that a learner would keep now, per axis that loses some. None: there
            is no learner, and units count as removed when all their weights are exactly zero.
    """
    declaration = network.declaration()
    groups = Groups(declaration, prunable(declaration, embedding=False))
    parameters = dict(network.named_parameters())
    removed = {}
    for axis in groups.sizes:
        if living is None:
            removed[axis] = int((~groups.alive(parameters, axis)).sum())
        else:
            removed[axis] = groups.sizes[axis] - len(living.get(axis, range(groups.sizes[axis])))
    removed |= {
        axis: declaration.axes[axis] - len(index)
        for axis, index in (living or {}).items()
        if axis not in removed
    }
    wanted = torch.tensor(QUANTILES, dtype=torch.float64)
    norms = unit_norms(network)
    return Sparsity(
        removed,
        {
            axis: _rounded(torch.tensor(each, dtype=torch.float64).quantile(wanted).tolist())
            for axis, each in norms.items()
        },
    )


@torch.no_grad()
def unit_norms(network: TrainableNetwork) -> dict[str, list[float]]:
    """The norm of every unit's group, per axis of units, rounded.

    Args:
        network: of any sizes.
    """
    declaration = network.declaration()
    groups = Groups(declaration, prunable(declaration, embedding=False))
    parameters = dict(network.named_parameters())
    return {
        axis: _rounded(groups.squares(parameters, axis).sqrt().double().tolist())
        for axis in groups.sizes
    }


def _rounded(values: list[float]) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values]

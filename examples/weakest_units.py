"""A learner and a criterion of one's own, as small as they can be (docs/adding-a-learner.md).

--learner examples.weakest_units:WeakestUnits --learner-option each_epoch=0.1    of `train`
--criterion examples.weakest_units:reader_signal                                 of `cut`
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from isslim.compress.pruning.axes import Keep
from isslim.compress.pruning.selection import Matrix, RemovalOrder
from isslim.compress.training.learners.groups import Groups, prunable
from isslim.compress.training.network import NetworkType, TrainableNetwork


class WeakestUnits:
    """After every epoch a share of each layer's units goes: those with the smallest norms.

    Args:
        each_epoch: the share, 0 to 1.
        min_kept: units that every layer keeps.
    """

    def __init__(self, each_epoch: float, min_kept: int = 4) -> None:
        if not 0 < each_epoch < 1:
            raise ValueError(f"each_epoch = {each_epoch}: a share between 0 and 1 is expected")
        self.each_epoch, self.min_kept = each_epoch, min_kept
        self._network: TrainableNetwork | None = None

    def attach(self, network: TrainableNetwork) -> None:
        """Called with the network, and with the smaller one after each removal."""
        self._network = network

    def substituted(self) -> None:
        """The network runs with its own parameters."""

    def penalty(self) -> Tensor | None:
        """Nothing is added to the loss."""
        return None

    def after_step(self, learning_rate: float) -> None:
        """The weights stay as the optimizer left them."""

    def extra_parameters(self) -> list[Tensor]:
        """None of its own."""
        return []

    def after_epoch(self, valid_perplexity: float) -> Keep | None:
        """All but the weakest units; what is returned stays, the rest is taken out now."""
        assert self._network is not None, "the loop attaches the network first"
        parameters = dict(self._network.named_parameters())
        declaration = self._network.declaration()
        groups = Groups(declaration, prunable(declaration, embedding=False))
        alive = {}
        for axis, size in groups.sizes.items():
            norms = groups.squares(parameters, axis)
            alive[axis] = torch.ones(size, dtype=torch.bool)
            alive[axis][norms.argsort()[: int(self.each_epoch * size)]] = False
        return groups.keep(alive, self.min_kept)

    def living(self) -> Keep | None:
        """Nothing counts as removed that was not taken out already."""
        return None

    def evaluation_network(self, network: NetworkType) -> NetworkType:
        """The network as it is."""
        return network

    def state_dict(self) -> dict[str, Any]:
        """A resumed run needs nothing but the weights."""
        return {}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Nothing to take up."""


def reader_signal(
    axis: str, covariance: Matrix, energy: Matrix, *, min_kept: int = 1
) -> RemovalOrder:
    """Orders components by the signal that each alone brings to its readers: cost_k = G_kk C_kk.

    It is optimal brain surgeon without what the other components can predict.

    Args:
        axis: its name.
        covariance: C (H, H) of the activation over the calibration text.
        energy: G (H, H), sum over readers of W'W, each scaled to an output of unit energy.
        min_kept: how many components are never removed.
    """
    cost = np.diag(energy) * np.diag(covariance)
    order = np.argsort(cost, kind="stable")[: max(0, len(cost) - min_kept)]
    return RemovalOrder(axis, order, cost[order])

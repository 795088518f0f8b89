"""Group lasso over intrinsic sparse structures, exactly as in the paper's code.

The paper is arXiv 1709.05027, its code `wenwei202/iss-rnns`.

    penalty = strength * sum over axes and components of sqrt(sum of squares + 1e-8)

One joint norm for a component's gates, its recurrent row and its readers, with no factor for the
size of the group; biases in no group; the embedding's width in none either, unless it is one axis
with the units (tied, as in the RHN). Right after the optimizer's step every weight smaller than a
threshold becomes zero; there is no mask, so that a zero may grow again. A component counts as
removed when all of its slices are exactly zero. Nobody reads it then, whatever its biases make of
it, and taking it out changes nothing.

The strength is meant in the scale of a loss summed over the steps (`TrainingPlan.loss`), with plain
SGD: Adam would rescale the penalty's gradient weight by weight.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from isslim.compress.pruning.axes import Keep
from isslim.compress.training.learners.groups import Groups, prunable
from isslim.compress.training.network import NetworkType, TrainableNetwork

EPSILON = 1e-8
"""Inside the root: it keeps the gradient finite at zero, and stops pushing groups below a norm of
about 1e-4."""


class PaperGroupLasso:
    """The paper's learner.

    Args:
        strength: of the penalty (the paper: 0.00245 for the LSTM, 0.004 and 0.005 for the RHN).
        threshold: below which a weight becomes zero after each step (1e-4; RHN 4e-4).
        everywhere: the threshold acts on all parameters, embedding and biases included, as for the
            paper's LSTM; else on the grouped ones only, as for its RHN.
        shrink: dead components are taken out after each epoch. The paper keeps them to the end,
            where they may grow again.
        min_kept: components that every axis keeps at least.
    """

    def __init__(
        self,
        strength: float,
        threshold: float = 1e-4,
        *,
        everywhere: bool = True,
        shrink: bool = False,
        min_kept: int = 4,
    ) -> None:
        self.strength, self.threshold, self.everywhere = strength, threshold, everywhere
        self.shrink, self.min_kept = shrink, min_kept
        self._parameters: dict[str, Tensor] = {}
        self._groups: Groups | None = None

    @property
    def groups(self) -> Groups:
        """Of the attached network.

        Raises:
            RuntimeError: when there is none yet.
        """
        if self._groups is None:
            raise RuntimeError("the learner is not attached to a network")
        return self._groups

    def attach(self, network: TrainableNetwork) -> None:
        """Reads the groups off the network's declaration."""
        declaration = network.declaration()
        self._parameters = dict(network.named_parameters())
        self._groups = Groups(declaration, prunable(declaration, embedding=False))

    def substituted(self) -> None:
        """The network runs with its own parameters."""
        return

    def penalty(self) -> Tensor:
        """The scalar of the module's docstring."""
        norms = [
            (self.groups.squares(self._parameters, axis) + EPSILON).sqrt().sum()
            for axis in self.groups.sizes
        ]
        return self.strength * torch.stack(norms).sum()

    @torch.no_grad()
    def after_step(self, learning_rate: float) -> None:
        """Element by element, every step."""
        grouped = self.groups.parameters
        for name, parameter in self._parameters.items():
            if self.everywhere or name in grouped:
                parameter.masked_fill_(parameter.abs() < self.threshold, 0.0)

    def extra_parameters(self) -> list[Tensor]:
        """None of its own."""
        return []

    def after_epoch(self, valid_perplexity: float) -> Keep | None:
        """The living components, if dead ones are to be taken out."""
        return self.living() if self.shrink else None

    def living(self) -> Keep | None:
        """The components that are not removed by the paper's rule; None when all live."""
        alive = {axis: self.groups.alive(self._parameters, axis) for axis in self.groups.sizes}
        return self.groups.keep(alive, self.min_kept)

    def evaluation_network(self, network: NetworkType) -> NetworkType:
        """The network as it is: zeros are zeros."""
        return network

    def state_dict(self) -> dict[str, Any]:
        """It has no state beside the weights."""
        return {}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Nothing to take up."""

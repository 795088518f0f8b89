"""Group lasso by proximal steps: exact zeros, a target instead of a strength, axes that compare.

After each step of the optimizer components are pulled towards zero by the proximal operator of
their norm,

    w_k <- w_k * max(0, 1 - strength_k * scale / |w_k|)

where `scale` is the mean norm of its axis when the pulling began, so that one strength means the
same on every axis: the last layer's components hold a column of the vocabulary, and raw norms would
never let one go. The strength is the controller's: the share of components that ought to be dead by
now rises along a line up to the target, and only the weakest components that make up this share are
pulled, so hard that one of mean norm dies within a twentieth of the training. The loss may push one
back over another, which is pulled in its place; at the target nothing is pulled any more. (One
strength for all, raised until the line is met, was tried: it weakens all components alike until the
network is useless.) A dead component is held at zero until it is taken out after the epoch,
optimizer's memory and all.

(Wen et al., arXiv 1709.05027, take the subgradient and a threshold instead, see `group_lasso`: this
is not in the paper.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from isslim.compress.pruning.axes import Keep
from isslim.compress.training.hooks import Trainable
from isslim.compress.training.learners.groups import Groups, prunable
from isslim.compress.training.network import NetworkType

PATIENCE = 0.05
"""Share of the training within which a component of mean norm dies."""


class ProximalGroupLasso:
    """Drives a share of all components to exactly zero.

    Args:
        target: share of the components, over all axes, that goes; 0 to 1.
        steps: of training, over which it goes; the line reaches the target after 70 % of them.
        wait: steps before anything is pulled, of weights that know nothing yet.
        embedding: may the embedding's width shrink.
        min_kept: components that every axis keeps at least.
    """

    def __init__(
        self,
        target: float,
        steps: int,
        *,
        wait: int = 0,
        embedding: bool = True,
        min_kept: int = 4,
    ) -> None:
        self.target, self.wait, self.embedding, self.min_kept = (
            target,
            wait,
            embedding,
            min_kept,
        )
        self.steps, self.strength = (
            max(1, round(0.7 * (steps - wait))),
            1 / max(1, PATIENCE * (steps - wait)),
        )
        self._step = 0
        self._whole: dict[str, int] = {}
        self._scales: dict[str, float] = {}
        self._parameters: dict[str, Tensor] = {}
        self._groups: Groups | None = None
        self._held: dict[str, Tensor] = {}

    def attach(self, network: Trainable) -> None:
        """Reads the groups off the declaration; sizes are those of the first network."""
        declaration = network.declaration()
        self._parameters = dict(network.named_parameters())
        self._groups = Groups(declaration, prunable(declaration, embedding=self.embedding))
        if not self._whole:
            self._whole = dict(self._groups.sizes)
        self._held = {
            axis: self._groups.alive(self._parameters, axis) for axis in self._groups.sizes
        }

    def substituted(self) -> None:
        """The network runs with its own parameters."""
        return

    def penalty(self) -> None:
        """The proximal step is the penalty."""
        return

    @torch.no_grad()
    def after_step(self, learning_rate: float) -> None:
        """Pulls the weakest, and holds the dead."""
        groups = self._attached()
        self._step += 1
        if self._step <= self.wait:
            return
        norms = {axis: groups.squares(self._parameters, axis).sqrt() for axis in groups.sizes}
        self._scales = self._scales or {axis: float(found.mean()) for axis, found in norms.items()}
        relative = {
            axis: found / self._scales[axis] * self._held[axis] for axis, found in norms.items()
        }
        limit = self._limit(relative)
        for axis, found in relative.items():
            pulled = (found <= limit) & self._expendable(found)
            factors = torch.where(
                pulled, (1 - self.strength / found.clamp(min=1e-12)).clamp(min=0), 1.0
            )
            factors = factors * self._held[axis]
            groups.scale(self._parameters, axis, factors)
            self._held[axis] = factors > 0

    def removed_share(self) -> float:
        """Share of the first network's components that are dead or taken out."""
        living = sum(int(held.sum().item()) for held in self._held.values())
        return 1 - living / sum(self._whole.values())

    def extra_parameters(self) -> list[Tensor]:
        """None of its own."""
        return []

    def after_epoch(self, valid_perplexity: float) -> Keep | None:
        """The living components, if there are dead ones."""
        return self.living()

    def living(self) -> Keep | None:
        """The components that are not held at zero; None when all live."""
        return self._attached().keep(self._held, self.min_kept)

    def evaluation_network(self, network: NetworkType) -> NetworkType:
        """The network as it is: zeros are zeros."""
        return network

    def state_dict(self) -> dict[str, Any]:
        """Where the controller stands."""
        return {
            "step": self._step,
            "whole": self._whole,
            "scales": self._scales,
            "held": {axis: held.clone() for axis, held in self._held.items()},
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Takes up where `state_dict` was called."""
        self._step = saved["step"]
        self._whole, self._scales = dict(saved["whole"]), dict(saved["scales"])
        self._held = {axis: held.clone() for axis, held in saved["held"].items()}

    def _limit(self, relative: dict[str, Tensor]) -> float:
        """The norm, relative to its axis, up to which components are pulled in this step."""
        total = sum(self._whole.values())
        wanted = round(total * self.target * min(1.0, (self._step - self.wait) / self.steps))
        gone = total - sum(len(norms) for norms in relative.values())  # taken out before
        if wanted <= gone:
            return -1.0
        weakest = torch.cat(list(relative.values())).sort().values
        return float(weakest[min(wanted - gone, len(weakest)) - 1])

    def _expendable(self, norms: Tensor) -> Tensor:
        """All but the strongest `min_kept` of an axis."""
        free = torch.ones_like(norms, dtype=torch.bool)
        free[norms.argsort(descending=True)[: self.min_kept]] = False
        return free

    def _attached(self) -> Groups:
        if self._groups is None:
            raise RuntimeError("the learner is not attached to a network")
        return self._groups

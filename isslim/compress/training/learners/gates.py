"""L0 gates (Louizos et al., arXiv 1712.01312) on whole components, with a target for a strength.

A gate z_k in [0, 1] multiplies every column that reads component k: of the next layer, of the layer
itself, of the decoder. A gate at zero affects the readers like the removal of its component, so
the masked network equals the later one. Gates are sampled from the hard concrete distribution in
training; the expected number of open ones is held to a target that falls along a line, by a
Lagrangian whose two multipliers rise while it is missed (Wang et al., arXiv 1910.04732):

    penalty = l1 * d + l2 * d^2,   d = (expected open share - wanted share)

Where the network is evaluated, and at the end, gates take their middle value and are folded into
the readers.

Legend: H components of an axis.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from isslim.compress.devices import device_of
from isslim.compress.pruning.axes import Keep, NetworkAxes
from isslim.compress.training.learners.groups import Groups, prunable
from isslim.compress.training.network import NetworkType, TrainableNetwork

LOW, HIGH, TEMPERATURE = -0.1, 1.1, 2 / 3
"""The stretch of the concrete distribution and its temperature, as in the paper."""
SHUT = 0.05
"""A gate that is open less often than this, and shut in the middle, is dead."""
START = 2.5
"""log alpha to begin with: open with probability 0.98."""


class HardConcreteGates:
    """Learns which components' readers can be shut.

    Args:
        target: share of the components, over all axes, that goes; 0 to 1.
        steps: of training; the wanted share falls over the first half.
        embedding: may the embedding's width shrink.
        multiplier_rate: how fast the multipliers rise, per step; None: so that a share missed by a
            tenth for all of the training makes four.
        wait: steps before the wanted share begins to fall, of weights that know nothing yet.
        seed: of the draws.
        min_kept: components that every axis keeps at least.
    """

    def __init__(  # noqa: PLR0913 - settings with defaults
        self,
        target: float,
        steps: int,
        *,
        embedding: bool = True,
        multiplier_rate: float | None = None,
        wait: int = 0,
        seed: int = 1,
        min_kept: int = 4,
    ) -> None:
        self.target, self.steps, self.wait, self.embedding = (
            target,
            max(1, (steps - wait) // 2),
            wait,
            embedding,
        )
        self.multiplier_rate = (
            40 / max(1, steps - wait) if multiplier_rate is None else multiplier_rate
        )
        self.min_kept = min_kept
        self._generator = torch.Generator().manual_seed(seed)
        self._step, self._linear, self._quadratic = 0, 0.0, 0.0
        self._whole: dict[str, int] = {}
        self._kept: Keep = {}
        self._gates: dict[str, Tensor] = {}  # log alpha (H,) of each axis
        self._parameters: dict[str, Tensor] = {}
        self._declaration: NetworkAxes | None = None

    def attach(self, network: TrainableNetwork) -> None:
        """Gates for a new network, or what is left of them for one that has shrunk."""
        self._declaration = network.declaration()
        self._parameters = dict(network.named_parameters())
        axes = prunable(self._declaration, embedding=self.embedding)
        device = device_of(network)
        if not self._whole:
            self._whole = {axis: self._declaration.axes[axis] for axis in axes}
        for axis in axes:
            size, before = self._declaration.axes[axis], self._gates.get(axis)
            if before is None or (len(before) != size and axis not in self._kept):
                before = torch.full((size,), START, device=device)
            elif len(before) != size:
                before = before.detach()[torch.from_numpy(self._kept[axis]).to(device)]
            self._gates[axis] = before.detach().clone().requires_grad_()
        self._kept = {}

    def substituted(self) -> dict[str, Tensor] | None:
        """The readers, columns multiplied by this step's draw; None while the learner waits."""
        if self._step < self.wait:
            return None
        drawn = {}
        for axis, gate in self._gates.items():
            noise = (
                torch.rand(len(gate), generator=self._generator)
                .clamp(1e-6, 1 - 1e-6)
                .to(gate.device)
            )
            soft = torch.sigmoid((noise.log() - (-noise).log1p() + gate) / TEMPERATURE)
            drawn[axis] = (soft * (HIGH - LOW) + LOW).clamp(0, 1)
        return self._gated(drawn)

    def penalty(self) -> Tensor:
        """The Lagrangian of the module's docstring."""
        distance = self._distance()
        return self._linear * distance + self._quadratic * distance.square()

    def after_step(self, learning_rate: float) -> None:
        """The multipliers climb while the expected share is missed."""
        if self._step >= self.wait:
            distance = float(self._distance().detach())
            self._linear += self.multiplier_rate * distance
            self._quadratic += self.multiplier_rate * distance**2
        self._step += 1

    def extra_parameters(self) -> list[Tensor]:
        """The gates."""
        return list(self._gates.values())

    def after_epoch(self, valid_perplexity: float) -> Keep | None:
        """The components whose gates are not dead."""
        self._kept = self.living() or {}
        return self._kept or None

    def living(self) -> Keep | None:
        """The components whose gates are not dead; None when all live."""
        groups = Groups(self._attached(), list(self._gates))
        with torch.no_grad():
            alive = {
                axis: (_probability_open(gate) >= SHUT) | (_middle(gate) > 0)
                for axis, gate in self._gates.items()
            }
        return groups.keep(alive, self.min_kept)

    @torch.no_grad()
    def evaluation_network(self, network: NetworkType) -> NetworkType:
        """A copy with the gates' middle values folded into the readers."""
        middle = self._gated({axis: _middle(gate) for axis, gate in self._gates.items()})
        arrays = network.arrays() | {name: value.cpu().numpy() for name, value in middle.items()}
        return network.rebuilt(arrays, network.regularisation).to(device_of(network))

    def state_dict(self) -> dict[str, Any]:
        """Gates, multipliers, and the generator of the draws."""
        return {
            "step": self._step,
            "multipliers": (self._linear, self._quadratic),
            "whole": self._whole,
            "gates": {axis: gate.detach().clone() for axis, gate in self._gates.items()},
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Takes up where `state_dict` was called."""
        self._step, self._whole = saved["step"], dict(saved["whole"])
        self._linear, self._quadratic = saved["multipliers"]
        self._gates = {axis: gate.clone().requires_grad_() for axis, gate in saved["gates"].items()}
        self._generator.set_state(saved["generator"])

    def _gated(self, gates: dict[str, Tensor]) -> dict[str, Tensor]:
        declaration, gated = self._attached(), dict[str, Tensor]()
        for reader in (reader for site in declaration.sites for reader in site.readers):
            segments, weight = (
                declaration.dimensions[reader.parameter][1],
                self._parameters[reader.parameter],
            )
            if any(segment.axis in gates for segment in segments):
                opened = [
                    gates.get(str(segment.axis), weight.new_ones(segment.size))
                    for segment in segments
                ]
                gated[reader.parameter] = weight * torch.cat(opened)
        return gated

    def _expected(self) -> Tensor:
        opened = torch.stack([_probability_open(gate).sum() for gate in self._gates.values()]).sum()
        return opened / sum(self._whole.values())

    def _distance(self) -> Tensor:
        wanted = 1 - self.target * min(1.0, max(0, self._step - self.wait) / self.steps)
        return self._expected() - wanted

    def _attached(self) -> NetworkAxes:
        if self._declaration is None:
            raise RuntimeError("the learner is not attached to a network")
        return self._declaration


def _probability_open(gate: Tensor) -> Tensor:
    """P(z > 0) for log alpha (H,)."""
    return torch.sigmoid(gate - TEMPERATURE * math.log(-LOW / HIGH))


def _middle(gate: Tensor) -> Tensor:
    """The gate without noise: what the network is evaluated with."""
    return (torch.sigmoid(gate) * (HIGH - LOW) + LOW).clamp(0, 1)

"""What the tests of training share: a language that can be learnt, and a tiny network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import Keep
from isslim.compress.training.plan import TrainingPlan

SPEC = LstmSpec(12, 8, (10, 8))
PLAN = TrainingPlan(
    epochs=3, batch=4, steps=10, optimizer="adamw", learning_rate=1e-2, clip=0.5, seed=3
)
KEPT = {"units:lstm0": np.array([0, 1, 3, 4, 6, 7, 8]), "embedding": np.array([0, 2, 3, 4, 5, 7])}


def counting_text(length: int) -> Tensor:
    """A language in which the next token is certain: 0 1 2 ... 11 0 1 ..."""
    return torch.arange(length) % 12


def noisy_text(length: int) -> Tensor:
    """As above, with a tenth of the tokens random."""
    generator = torch.Generator().manual_seed(7)
    noise = torch.randint(12, (length,), generator=generator)
    return torch.where(torch.rand(length, generator=generator) < 0.1, noise, counting_text(length))


def fresh(dropout: float = 0.1) -> LstmLanguageModel:
    network = LstmLanguageModel(SPEC, dropout)
    network.initialise(0.1, torch.Generator().manual_seed(0))
    return network


def same(left: LanguageModel, right: LanguageModel) -> bool:
    """Whether two networks have the same weights, bit for bit."""
    pairs = zip(left.named_parameters(), right.named_parameters(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


class Executioner:
    """A learner that masks all but `KEPT`; the others go after the first epoch, or never."""

    def __init__(self, *, removes: bool = True) -> None:
        self.removes, self.done, self.steps = removes, False, 0
        self.masks: dict[str, NDArray[np.float32]] = {}
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.network: LanguageModel | None = None

    def attach(self, network: LanguageModel) -> None:
        self.network = network
        keep = {} if network.declaration().axes["units:lstm0"] < 10 else KEPT
        ones = {name: np.ones_like(array) for name, array in network.arrays().items()}
        self.masks = axes.mask_components(ones, network.declaration(), keep)
        self.after_step(0.0)

    def substituted(self) -> dict[str, Tensor] | None:
        assert self.network is not None
        return {"decoder.bias": dict(self.network.named_parameters())["decoder.bias"] * self.scale}

    def penalty(self) -> Tensor | None:
        return 0.01 * self.scale.square()

    def after_step(self, learning_rate: float) -> None:
        assert self.network is not None
        self.steps += 1
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.mul_(torch.from_numpy(self.masks[name]))

    def extra_parameters(self) -> list[Tensor]:
        return [self.scale]

    def after_epoch(self, valid_perplexity: float) -> Keep | None:
        if self.done or not self.removes:
            return None
        self.done = True
        return KEPT

    def living(self) -> Keep | None:
        return None if self.done or not self.removes else KEPT

    def evaluation_network(self, network: LanguageModel) -> LanguageModel:
        return network

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.done, "steps": self.steps, "scale": self.scale.detach()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.done, self.steps = saved["done"], saved["steps"]
        with torch.no_grad():
            self.scale.copy_(saved["scale"])

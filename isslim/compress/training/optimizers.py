"""The optimizers of a plan, and the averaged weights of (NT-)ASGD.

Averaging is torch's: `ASGD` without its decay (`lambd` 0) is plain SGD that keeps, per parameter,
the mean `ax` of the weights since its step `t0`. Until averaging starts `t0` is infinite. When
NT-ASGD starts is decided by the validations (Merity et al., arXiv 1708.02182, algorithm 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from isslim.compress.training.plan import TrainingPlan


def optimizer_of(network: nn.Module, plan: TrainingPlan) -> torch.optim.Optimizer:
    """The optimizer that the plan names, on the network's parameters.

    Args:
        network: to train.
        plan: of the training.
    """
    rate, decay = plan.learning_rate, plan.weight_decay
    if plan.optimizer == "adamw":
        return torch.optim.AdamW(
            network.parameters(), lr=rate, weight_decay=decay, betas=(0.9, 0.99)
        )
    if plan.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), lr=rate, weight_decay=decay)
    return torch.optim.ASGD(
        network.parameters(), lr=rate, lambd=0.0, t0=math.inf, weight_decay=decay
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the rate of the next step.

    Args:
        optimizer: of the training.
        rate: of learning.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    if isinstance(optimizer, torch.optim.ASGD):
        # ASGD steps with the rate that it saw at the end of the step before; the schedule means
        # this step.
        for state in optimizer.state.values():
            state["eta"].fill_(rate)


def averages(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the weights are being averaged."""
    return isinstance(optimizer, torch.optim.ASGD) and math.isfinite(
        optimizer.param_groups[0]["t0"]
    )


def start_averaging(optimizer: torch.optim.Optimizer) -> None:
    """The mean begins with the weights of the next step."""
    taken = max((int(state["step"]) for state in optimizer.state.values()), default=0)
    for group in optimizer.param_groups:
        group["t0"] = taken


def has_stalled(perplexities: Sequence[float], patience: int) -> bool:
    """Whether the last validation is worse than the best before the last `patience` ones.

    Args:
        perplexities: of all validations so far, the last one last; at least one.
        patience: how many validations before the last one are not compared with.
    """
    *before, last = perplexities
    return len(before) > patience and last > min(before[:-patience])


@contextmanager
def averaged_weights(network: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """A context in which the network holds the averaged weights, if any; then its own again.

    Args:
        network: in training.
        optimizer: that trains it.
    """
    own: dict[nn.Parameter, Tensor] = {}
    if averages(optimizer):
        own = {
            p: p.detach().clone()
            for p in network.parameters()
            if "ax" in optimizer.state.get(p, {})
        }
    try:
        with torch.no_grad():
            for parameter in own:
                parameter.copy_(optimizer.state[parameter]["ax"])
        yield
    finally:
        with torch.no_grad():
            for parameter, weights in own.items():
                parameter.copy_(weights)

"""Removes components from a network in the middle of its training: weights and the optimizer's memory of them.

The next step of the smaller network is that of the larger one with the components dead: every tensor of the optimizer's
state that has its parameter's shape is indexed as the parameter is, scalars stay.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from compress import axes
from compress.networks.contract import LanguageModel


def shrink(
    network: LanguageModel, optimizer: torch.optim.Optimizer, keep: axes.Keep
) -> tuple[LanguageModel, torch.optim.Optimizer]:
    """The network of the kept components and its optimizer; both arguments are left alone.

    Args:
        network: in training.
        optimizer: on the network's parameters, one group.
        keep: per axis the kept indices (K,), ascending; an axis not named stays whole.
    """
    declaration = network.declaration()
    arrays, _ = axes.take(network.arrays(), declaration, keep)
    smaller = network.rebuilt(arrays, dropout=network.regularisation)
    smaller = smaller.to(next(network.parameters()).device).train(network.training)
    options = {name: value for name, value in optimizer.param_groups[0].items() if name != "params"}
    kind: Any = type(optimizer)
    rebuilt: torch.optim.Optimizer = kind([{"params": list(smaller.parameters()), **options}])
    new = dict(smaller.named_parameters())
    for name, parameter in network.named_parameters():
        state = {}
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape and value.ndim:
                whole = {**network.arrays(), name: value.detach().cpu().numpy()}
                taken = axes.take(whole, declaration, keep)[0][name]
                state[key] = torch.from_numpy(np.ascontiguousarray(taken)).to(value.device)
            else:
                state[key] = value.clone() if isinstance(value, torch.Tensor) else value
        if state:
            rebuilt.state[new[name]] = state
    return smaller, rebuilt

"""Removes components in the middle of a training: weights, and the optimizer's memory of them.

The next step of the smaller network is that of the larger one with the components dead: every
tensor of the optimizer's state that has its parameter's shape is indexed as the parameter is,
scalars stay. What the optimizer remembers of the removed components goes with them.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from isslim.compress.devices import device_of
from isslim.compress.pruning import axes
from isslim.compress.training.network import TrainableNetwork

Shrinkable = TypeVar("Shrinkable", bound=TrainableNetwork)


def shrink(
    network: Shrinkable, optimizer: torch.optim.Optimizer, keep: axes.Keep
) -> tuple[Shrinkable, torch.optim.Optimizer]:
    """The network of the kept components and its optimizer; both arguments are left alone.

    Args:
        network: in training.
        optimizer: on the network's parameters, one group.
        keep: per axis the kept indices (K,), ascending; an axis not named stays whole.

    Raises:
        ValueError: when the optimizer has more than one group, of which some would lose their
            options.
    """
    if len(optimizer.param_groups) != 1:
        raise ValueError(
            f"the optimizer has {len(optimizer.param_groups)} groups of parameters; one can be "
            "shrunk"
        )
    declaration, arrays = network.declaration(), network.arrays()
    smaller = network.rebuilt(
        axes.select_components(arrays, declaration, keep)[0], dropout=network.regularisation
    )
    smaller = smaller.to(device_of(network)).train(network.training)
    options = {name: value for name, value in optimizer.param_groups[0].items() if name != "params"}
    kind: Any = type(optimizer)
    rebuilt: torch.optim.Optimizer = kind([{"params": list(smaller.parameters()), **options}])
    old, new = dict(network.named_parameters()), dict(smaller.named_parameters())
    before = {
        name: optimizer.state[parameter]
        for name, parameter in old.items()
        if parameter in optimizer.state
    }
    for name, state in before.items():
        rebuilt.state[new[name]] = {
            key: value.clone() if isinstance(value, Tensor) else value
            for key, value in state.items()
            if not _follows(value, old[name])
        }
    # One pass over the network for each kind of memory (momentum, squares, averages), not one for
    # each tensor of it.
    for key in dict.fromkeys(key for state in before.values() for key in state):
        found = {
            name: state[key]
            for name, state in before.items()
            if _follows(state.get(key), old[name])
        }
        whole = arrays | {name: value.detach().cpu().numpy() for name, value in found.items()}
        taken = axes.select_components(whole, declaration, keep)[0]
        for name, value in found.items():
            # Copied: what nothing was taken from would still be the memory of the given optimizer.
            rebuilt.state[new[name]][key] = torch.from_numpy(np.array(taken[name])).to(value.device)
    return smaller, rebuilt


def _follows(value: Any, parameter: Tensor) -> bool:
    """Whether a value of the optimizer's state has an entry for each weight."""
    return isinstance(value, Tensor) and value.ndim > 0 and value.shape == parameter.shape

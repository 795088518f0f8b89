"""Where networks are trained and judged: on the GPU where there is one. Everything else is done on the processor.

A network lives on the processor and goes to the device for as long as it works there: what is
written, compared or proven never has to ask where a network is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from isslim.compress.errors import DeviceFailed

FAULTS = (torch.AcceleratorError, torch.OutOfMemoryError)


def device_named(name: str = "auto") -> torch.device:
    """The device of a name: `cpu`, `cuda`, `cuda:1`, or `auto`: a GPU if there is one.

    Raises:
        ValueError: when it is not there.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError(
            f"the device '{name}' is not there: torch sees no GPU; take 'cpu' or 'auto'"
        )
    return torch.device("cuda" if name == "auto" else name)


def device_of(network: nn.Module) -> torch.device:
    """Where a network is."""
    return next(network.parameters()).device


def random_state(device: torch.device) -> Tensor | None:
    """Of a GPU's generator; None: the device draws by torch's own."""
    return torch.cuda.get_rng_state() if device.type == "cuda" else None


def restore_random_state(device: torch.device, state: Tensor | None) -> None:
    """What `random_state` gave; of another kind of device it says nothing here."""
    if state is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state)


@contextmanager
def placed(*networks: nn.Module) -> Iterator[torch.device]:
    """Within it the networks are on the device of `auto`, afterwards where they were.

    Raises:
        DeviceFailed: when the device is lost or its memory is full; the networks are then of no
            further use.
    """
    there = device_named()
    before = [device_of(network) for network in networks]
    try:
        try:
            for network in networks:
                network.to(there)
            yield there
        finally:
            for network, place in zip(networks, before, strict=True):
                network.to(place)
    except FAULTS as fault:
        raise DeviceFailed(
            f"the device '{there}' failed: {fault}; nothing was published. Ask again, or start the worker with "
            "CUDA_VISIBLE_DEVICES= (empty) to let it train on the processor"
        ) from fault

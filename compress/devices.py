"""Where networks are trained and judged: on the GPU where there is one. Everything else is done on the processor.

A network lives on the processor and goes to the device for as long as it works there: what is written, compared or proven
never has to ask where a network is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from compress.errors import DeviceFailed

FAULTS = (torch.AcceleratorError, torch.OutOfMemoryError)


def device_named(name: str = "auto") -> torch.device:
    """The device of a name: `cpu`, `cuda`, `cuda:1`, or `auto`: a GPU if there is one.

    Raises:
        ValueError: when it is not there.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError(f"the device '{name}' is not there: torch sees no GPU; take 'cpu' or 'auto'")
    return torch.device("cuda" if name == "auto" else name)


@contextmanager
def placed(*networks: nn.Module) -> Iterator[torch.device]:
    """Within it the networks are on the device of `auto`, afterwards where they were.

    Raises:
        DeviceFailed: when the device is lost or its memory is full; the networks are then of no further use.
    """
    there = device_named()
    before = [next(network.parameters()).device for network in networks]
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

"""Where networks are trained and evaluated: on the GPU if there is one, all else on the CPU.

A network lives on the CPU and is moved to the device only while it works there, so that code that
writes, compares or verifies networks need not ask where they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from isslim.compress.errors import DeviceFailed

FAULTS = (torch.AcceleratorError, torch.OutOfMemoryError)


def device_named(name: str = "auto") -> torch.device:
    """The device of a name.

    Args:
        name: `cpu`, `cuda`, `cuda:1`, or `auto`: a GPU if there is one, else the CPU.

    Raises:
        ValueError: when torch sees no such device.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError(
            f"the device '{name}' is not there: torch sees no GPU; take 'cpu' or 'auto'"
        )
    return torch.device("cuda" if name == "auto" else name)


def device_of(network: nn.Module) -> torch.device:
    """The device that a network's parameters are on."""
    return next(network.parameters()).device


def random_state(device: torch.device) -> Tensor | None:
    """State of a GPU's random generator; None for the CPU, which uses torch's global one."""
    return torch.cuda.get_rng_state() if device.type == "cuda" else None


def restore_random_state(device: torch.device, state: Tensor | None) -> None:
    """Restores what `random_state` returned.

    A state of another kind of device is ignored: a run may resume on a machine without a GPU.

    Args:
        device: where the network is now.
        state: as `random_state` returned it.
    """
    if state is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state)


@contextmanager
def _quiet_about_weights(device: torch.device) -> Iterator[None]:
    """Hides that fused layers on a GPU gather their weights in every call.

    `isslim.compress.layers.recurrent` has them do so, for a reason. On the CPU there is no such
    warning, and the filters, which belong to the whole process, are not touched.
    """
    if device.type == "cpu":
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="RNN module weights are not part of single contiguous chunk"
        )
        yield


@contextmanager
def placed(*networks: nn.Module) -> Iterator[torch.device]:
    """Moves networks to the device of `auto` for the duration of the context, then back.

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
            with _quiet_about_weights(there):
                yield there
        finally:
            for network, place in zip(networks, before, strict=True):
                network.to(place)
    except FAULTS as fault:
        raise DeviceFailed(
            f"the device '{there}' failed: {fault}; nothing was published. Ask again, or start the "
            "worker with CUDA_VISIBLE_DEVICES= (empty) to let it train on the processor"
        ) from fault

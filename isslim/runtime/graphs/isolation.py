"""Variants in processes of their own: there, callers may run any inputs on any kind of model."""

from __future__ import annotations

from typing import Any

from isslim.runtime.bundle import LoadedModel
from isslim.runtime.graphs.subprocess_session import SubprocessGraphSession
from isslim.runtime.run_control import stopped_after

WARM_SECONDS = 300.0
"""Time limit of a graph's first run in its own process."""


def isolated(
    model: LoadedModel[Any], variant: str, device: str, threads: int, memory_bytes: int
) -> SubprocessGraphSession:
    """The process of a variant, started and warmed up if necessary; it belongs to the model.

    Args:
        model: of any kind.
        variant: its name.
        device: one of `isslim.runtime.opening.devices()`.
        threads: how many one run may use.
        memory_bytes: that a run may take.

    Raises:
        UnknownVariant: when there is none of that name.
        DeviceUnavailable: when the device is not there.
    """
    path, key = model.path(variant), (variant, device, threads)
    # First without the lock, which is held while another variant is started.
    graph = model.processes.get(key)
    if isinstance(graph, SubprocessGraphSession):
        return graph
    with model.starting:
        graph = model.processes.get(key)
        if not isinstance(graph, SubprocessGraphSession):
            graph = SubprocessGraphSession(
                path, threads=threads, device=device, memory_bytes=memory_bytes
            )
            inputs = model.first_inputs()
            if inputs is not None:
                with stopped_after(WARM_SECONDS) as control:
                    graph.bound(control).run(graph.checked(inputs), list(graph.outputs))
            model.processes[key] = graph
    return graph


def is_isolated(model: LoadedModel[Any], variant: str, device: str, threads: int) -> bool:
    """Whether `isolated` returns without waiting for a process to start.

    Args:
        model: of any kind.
        variant: its name.
        device: on which it runs.
        threads: how many one run may use.
    """
    return (variant, device, threads) in model.processes

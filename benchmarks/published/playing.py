"""Runs a published model as its caller does: window by window, states fed back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from isslim.runtime.graphs.recorded_inputs import TARGET, GraphSession, NamedArrays

States = Mapping[str, tuple[str, tuple[int, ...]]]
"""Inputs that carry a state, with the output that they are next time and their first shape."""


def streamed(
    states: States, graph: GraphSession, stream: list[NamedArrays]
) -> list[tuple[NamedArrays, NamedArrays]]:
    """Inputs, states and targets among them, and outputs of every run of a stream.

    Args:
        states: zero at the beginning.
        graph: a session.
        stream: runs in order, without states.
    """
    carried: NamedArrays = {
        name: np.zeros(shape, np.float32) for name, (_, shape) in states.items()
    }
    ran: list[tuple[NamedArrays, NamedArrays]] = []
    for given in stream:
        targets = {name: array for name, array in given.items() if name.startswith(TARGET)}
        inputs = {name: array for name, array in given.items() if name not in targets}
        whole = graph.checked({**inputs, **carried})
        outputs = graph.run(whole)
        ran.append(({**whole, **targets}, outputs))
        carried = {name: outputs[output] for name, (output, _) in states.items()}
    return ran


def answers(
    states: States, graph: GraphSession, streams: list[list[NamedArrays]], output: str
) -> list[list[tuple[NDArray[np.float32], NDArray[np.int64]]]]:
    """An output and its target, of every run of every stream.

    Args:
        states: see `streamed`.
        graph: a session.
        streams: runs with targets of that output.
        output: its name.
    """
    return [
        [
            (outputs[output], given[f"{TARGET}{output}"])
            for given, outputs in streamed(states, graph, stream)
        ]
        for stream in streams
    ]

"""What the numbers of an input are: a signal, ids, or something that must stay as it was recorded.

The graph tells which inputs are states and which are looked up in a table; the recordings tell the
rest. What is not surely a signal or ids stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isslim.compress.onnx.model.recurrent import C0, H0, view
from isslim.compress.onnx.model.split_model import given, nodes
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.carried_states import MOVES
from isslim.runtime.graphs.recorded_inputs import NamedArrays

MASK_VALUES = 2
"""Distinct numbers of a mask, at most."""
CENTRED = 0.1
"""Share of its deviation within which a signal's mean is that of a sound, about zero."""
SampleOf = NDArray[Any]
"""Numbers of an input, of all runs together."""


@dataclass(frozen=True)
class InputKind:
    """What an input holds.

    Attributes:
        family: a `signal` of floats, `ids` of a table, or `fixed`: masks, lengths, states, single
            numbers.
        centred: of a signal: whether its numbers lie around zero, or are none below it, so that
            louder is more of it; else louder is an offset, as in a logarithm.
        lowest: of its numbers in all recordings.
        highest: of them.
        deviation: theirs from their mean.
        known: the ids in the recordings, ascending.
        steps: of a signal: the dimension in which time passes; None: there is none.
    """

    family: Literal["signal", "ids", "fixed"]
    centred: bool = False
    lowest: float = 0.0
    highest: float = 0.0
    deviation: float = 0.0
    known: tuple[int, ...] = ()
    steps: int | None = None


FIXED = InputKind("fixed")


def input_kinds(
    network: GraphNetwork,
    runs: Sequence[NamedArrays],
    apart: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, InputKind]:
    """What each input holds.

    Args:
        network: the original.
        runs: recorded inputs, at least one.
        apart: by input the dimension of independent sequences, in which no time passes.
    """
    states, tables = initial_states(network), _looked_up(network)
    found = {}
    for name in runs[0]:
        arrays = [run[name] for run in runs]
        if name in states:
            found[name] = FIXED
        elif arrays[0].dtype.kind == "f":
            found[name] = _signal(arrays, apart.get(name))
        else:
            found[name] = _ids(arrays) if name in tables else FIXED
    return found


def initial_states(network: GraphNetwork) -> set[str]:
    """The inputs that recurrent layers begin with, as they are or moved only."""
    graph = network.source.structure.graph
    inputs, found = {port.name for port in graph.input}, set[str]()
    makers = {name: node for node in nodes(graph) for name in node.output}
    for node in nodes(graph):
        seen = view(node)
        waiting = [given(node, place) for place in (H0, C0)] if seen is not None else []
        while waiting:
            name = waiting.pop()
            if name in inputs:
                found.add(name)
            elif name in makers and makers[name].op_type in MOVES | {"Concat"}:
                made = makers[name]
                waiting += list(made.input) if made.op_type == "Concat" else [made.input[0]]
    return found | set(network.carried_states().values())


def _looked_up(network: GraphNetwork) -> set[str]:
    """The inputs of whole numbers that select rows of a table, and do nothing else."""
    graph, constants = network.source.structure.graph, network.source.constants
    readers: dict[str, list[tuple[str, str]]] = {}
    for node in nodes(graph):
        for place, name in enumerate(node.input):
            selects = node.op_type == "Gather" and place == 1 and node.input[0] in constants
            moves = node.op_type in ("Identity", "Cast", "Transpose") and place == 0
            means = "table" if selects else node.output[0] if moves else ""
            # Their shape says nothing of what they are.
            if node.op_type != "Shape":
                readers.setdefault(name, []).append((node.op_type, means))

    def is_only_looked_up(name: str) -> bool:
        there = readers.get(name, [])
        return bool(there) and all(
            means == "table" or (bool(means) and is_only_looked_up(means)) for _, means in there
        )

    return {port.name for port in graph.input if is_only_looked_up(port.name)}


def _ids(arrays: Sequence[SampleOf]) -> InputKind:
    known = np.unique(np.concatenate([array.reshape(-1) for array in arrays]))
    if len(known) <= MASK_VALUES:
        return FIXED
    return InputKind("ids", known=tuple(int(each) for each in known))


def _signal(arrays: Sequence[SampleOf], apart: int | None) -> InputKind:
    """A signal; fixed where it holds single, few different, whole or not finite numbers."""
    values = np.concatenate([array.reshape(-1) for array in arrays]).astype(np.float64)
    single = max(array.size for array in arrays) < MASK_VALUES
    if single or not np.isfinite(values).all() or len(np.unique(values)) <= MASK_VALUES:
        return FIXED
    lowest, highest, deviation = float(values.min()), float(values.max()), float(values.std())
    few = max(array.size for array in arrays) <= 2 * arrays[0].shape[0]
    if few and (values == np.rint(values)).all():  # a length or count for each sequence
        return FIXED
    is_centred = lowest >= 0 or abs(float(values.mean())) <= CENTRED * deviation
    return InputKind(
        "signal",
        is_centred,
        lowest,
        highest,
        deviation,
        steps=_steps([a.shape for a in arrays], apart),
    )


def _steps(shapes: Sequence[tuple[int, ...]], apart: int | None) -> int | None:
    """The dimension in which time passes: one that differs between runs, else the longest one."""
    places = [place for place in range(len(shapes[0])) if place != apart]
    moving = [place for place in places if len({shape[place] for shape in shapes}) > 1]
    if len(moving) == 1:
        return moving[0]
    longest = max(moving or places, key=lambda place: shapes[0][place], default=None)
    return longest if longest is not None and shapes[0][longest] > 1 else None

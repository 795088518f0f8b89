"""Which outputs of a graph are random, which are not finite, and which depend on an axis.

A random output differs from itself; one that is not finite is equal to everything or to nothing;
one that does not change when all units of a layer are masked cannot distinguish an intact layer
from a destroyed one. None of them can be evaluated.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from isslim.compress.kinds.graphs.comparing import Outputs
from isslim.compress.onnx.model.attributes import subgraphs
from isslim.compress.onnx.model.split_model import label, nodes
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.trace.types import RANDOM_OPERATORS
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays

SEEN = 1e-6
"""The least change of an output, relative to its largest entry, that counts as a dependence."""


def redrawn_outputs(
    graph: GraphSession, runs: Sequence[NamedArrays], operators: Collection[str]
) -> list[str]:
    """Outputs that differ between two runs of the same inputs.

    Args:
        graph: the session.
        runs: its inputs.
        operators: the types of the graph's nodes. With a random one the graph is also run without
            optimisations: those of ONNX Runtime remove a Dropout in training mode, other runtimes
            do not.
    """
    ways = [
        graph,
        *(
            [GraphSession(graph.path, optimized=False)]
            if RANDOM_OPERATORS.intersection(operators)
            else []
        ),
    ]
    pairs = [(way.run(run), way.run(run)) for way in ways for run in runs]
    return [
        name
        for name in graph.outputs
        if any(_change(one[name], other[name]) > SEEN for one, other in pairs)
    ]


def random_operators(model: ModelProto, output: str) -> list[str]:
    """The random operators that an output depends on, such as `RandomNormalLike 'noise'`.

    Args:
        model: the graph; its nodes have unique names.
        output: the name of one of its outputs.
    """
    makers = {name: node for node in model.graph.node for name in node.output if name}
    found, seen, waiting = list[str](), set[str](), [output]
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        inner = [each for graph in subgraphs(node) for each in nodes(graph)]
        found += [
            f"{each.op_type} '{label(each)}'"
            for each in (node, *inner)
            if each.op_type in RANDOM_OPERATORS
        ]
        waiting += [name for each in (node, *inner) for name in each.input]
    return sorted(set(found))


def strange_values(outputs: Outputs) -> dict[str, str]:
    """Outputs of one run that hold NaN or infinity, each with a line on where.

    Minus infinity is allowed, as the logarithm of zero.
    """
    found = {}
    for name, array in outputs.items():
        if array.dtype.kind == "f" and (bad := np.isnan(array) | (array == np.inf)).any():
            first = [int(index) for index in np.argwhere(bad)[0]]
            found[name] = (
                f"{int(bad.sum())} of {array.size} values are NaN or infinite, the first at {first}"
            )
    return found


def without_units(network: GraphNetwork, axes: Sequence[str]) -> ModelProto:
    """The graph with all units of some axes masked.

    Args:
        network: the original.
        axes: names of its axes.
    """
    nothing: dict[str, NDArray[np.int64]] = {axis: np.zeros(0, np.int64) for axis in axes}
    return network.masked_reference(nothing)


def changes(
    masked: GraphSession, graph: GraphSession, runs: Sequence[NamedArrays], names: Sequence[str]
) -> dict[str, float]:
    """How much outputs change when units are masked.

    Args:
        masked: a session of what `without_units` returned.
        graph: a session of the original.
        runs: tried one after the other until an output changes: a layer may lie in a branch that
            few runs take.
        names: of the outputs.

    Returns:
        By output its largest change, relative to its largest entry; infinity where only one of the
        two is finite.
    """
    found = dict.fromkeys(names, 0.0)
    for run in runs:
        one, other = masked.run(run, list(names)), graph.run(run, list(names))
        found = {name: max(found[name], _change(one[name], other[name])) for name in names}
        if max(found.values(), default=1.0) > SEEN:
            break
    return found


def _change(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    """The largest difference relative to the largest entry; absolute where all entries are zero."""
    if found.shape != wanted.shape:
        return float("inf")
    if wanted.dtype.kind not in "fiub" or not wanted.size:
        return 0.0
    ours, whole = found.astype(np.float64), wanted.astype(np.float64)
    same = (ours == whole) | (np.isnan(ours) & np.isnan(whole))
    with np.errstate(invalid="ignore"):
        off = np.abs(ours - whole)[~same]
    largest = float(np.abs(whole[np.isfinite(whole)]).max(initial=0.0))
    return float(np.where(np.isfinite(off), off, np.inf).max(initial=0.0)) / (largest or 1.0)

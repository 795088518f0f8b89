"""Random inputs of a graph's declared types and shapes, for uploads without recorded inputs.

Floats are standard normal; an integer that selects rows of a constant is a valid row; lengths are
full. Free dimensions of one name have one size; sizes are random for every run. What a graph does
not declare is found by trying: smaller and simpler sizes, until a run succeeds.

Legend: T steps, B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.compress.onnx.model.recurrent import LENGTHS, view
from isslim.compress.onnx.model.split_model import given
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import KINDS, GraphSession, NamedArrays

STEPS, BATCH = (8, 32), (1, 4)
"""Smallest and largest sizes."""
MAX_INDEX = 10
"""Upper bound (exclusive) of integers whose meaning is unknown."""


def random_runs(trace: AxisFacts, graph: GraphSession, count: int, seed: int) -> list[NamedArrays]:
    """Random inputs on which the graph can be run.

    Args:
        trace: the facts about the graph's axes.
        graph: a session of the same graph.
        count: the number of runs.
        seed: of the random generator.

    Raises:
        InputsRefused: when the graph refuses inputs of all sizes that are tried; the issues are
            those of the last try.
    """
    generator, refused = np.random.default_rng(seed), InputsRefused(["nothing was tried"])
    for sizes in _ways(graph, generator):
        try:
            runs = []
            for _ in range(count):
                run = _random_run(trace, graph, sizes(), generator)
                graph.run(run)
                runs.append(run)
        except InputsRefused as fault:
            refused = fault
            continue
        return runs
    raise refused


DimensionSizes = dict[str, int]


def _ways(
    graph: GraphSession, generator: np.random.Generator
) -> Iterator[Callable[[], DimensionSizes]]:
    """Ways to choose sizes of the free dimensions, the most informative runs first."""
    names = {
        str(size): position
        for _, shape in graph.inputs.values()
        for position, size in enumerate(shape)
        if not isinstance(size, int)
    }
    batches = [
        name
        for name in names
        if any(word in name.lower() for word in ("batch", "n_b", "bsz")) or name in "Bb"
    ]
    # Where no name tells the batch: it is the first dimension, or the second one of graphs whose
    # first is the steps.
    for guess in (
        batches,
        [name for name, place in names.items() if place == 0],
        [n for n, p in names.items() if p == 1],
    ):
        yield lambda guess=guess: {  # type: ignore[misc]
            name: int(generator.integers(*(BATCH if name in guess else STEPS), endpoint=True))
            for name in names
        }
    yield lambda: dict.fromkeys(names, 1)
    for size in (8, 16, 64, 256, 512):
        yield lambda size=size: {name: 1 if name in batches else size for name in names}  # type: ignore[misc]


def _random_run(
    trace: AxisFacts, graph: GraphSession, sizes: DimensionSizes, generator: np.random.Generator
) -> NamedArrays:
    run: NamedArrays = {}
    for name, (kind, shape) in graph.inputs.items():
        if kind not in KINDS or kind == "tensor(string)":
            raise InputsRefused([f"input '{name}' is a {kind}, which cannot be generated"])
        whole = [size if isinstance(size, int) else sizes[str(size)] for size in shape]
        run[name] = _values(trace, name, whole, np.dtype(KINDS[kind]), generator, run)
    return run


def _values(
    trace: AxisFacts,
    name: str,
    shape: list[int],
    kind: np.dtype[Any],
    generator: np.random.Generator,
    run: NamedArrays,
) -> NDArray[Any]:
    readers = trace.consumers.get(name, [])
    if kind.kind == "f":
        return generator.standard_normal(shape).astype(kind)
    if kind.kind == "b":
        return generator.integers(0, 2, shape).astype(bool)
    for node in readers:
        seen = view(node)
        if seen is not None and given(node, LENGTHS) == name:
            steps = next((array.shape[0] for array in run.values() if array.ndim >= 2), STEPS[0])
            return np.full(shape, steps, kind)
    rows = [
        len(trace.parts.constants[node.input[0]])
        for node in readers
        if node.op_type == "Gather"
        and node.input[0] in trace.parts.constants
        and node.input[1] == name
    ]
    return generator.integers(0, min(rows, default=MAX_INDEX), shape).astype(kind)

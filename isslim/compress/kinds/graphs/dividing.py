"""Splits recorded runs into calibration and held-out data, also where there are very few runs.

Whole runs are held out where there are enough, else sequences (`sequences`), else steps. A
dimension holds steps when a part of them can be run and every output has as many steps as the
input: a run of the second half alone then begins from the recorded first state, and is a sample of
its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from isslim.compress.kinds.graphs.comparing import Outputs
from isslim.compress.kinds.graphs.sequences import (
    MARK,
    Along,
    digest,
    each_sequence,
    free_dimensions,
    inputs_of,
    length_of,
    moving_dimension,
    part,
)
from isslim.compress.kinds.graphs.targets.labelling import Labelling
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays

ENOUGH_RUNS = 5
"""From this number on, a fifth of the runs is held out; of fewer, sequences or steps are held out
where that is sound."""
MIN_ROWS = 20
"""Rows of held-out outputs: fewer hardly give a confidence interval."""
MIN_STEPS = 4
"""Steps of a run that is cut in two."""


@dataclass(frozen=True)
class Divided:
    """Runs split into calibration and held-out data.

    Attributes:
        observed: calibration runs.
        held_out: held-out runs; those of `observed` where there is a problem.
        description: what the held-out runs are.
        problem: the clause that says of the only run why nothing of it could be held out; None
            where something was.
    """

    observed: list[NamedArrays]
    held_out: list[NamedArrays]
    description: str
    problem: str | None = None


@dataclass(frozen=True)
class OutputRoles:
    """The outputs that have to follow a split into steps.

    Attributes:
        evaluated: names of the outputs that are evaluated.
        states: of those, the ones that hold a state after the last step, which have no steps.
        labelling: of the targets among the arrays of a run; None: there are none.
    """

    evaluated: Sequence[str]
    states: Collection[str]
    labelling: Labelling | None = None


def divide(
    graph: GraphSession,
    trace: AxisFacts,
    runs: Sequence[NamedArrays],
    rows: Sequence[int],
    along: Along | None,
    outputs: OutputRoles,
) -> Divided:
    """Splits runs in two: whole runs where there are enough, else sequences, else runs, else steps.

    Args:
        graph: the original.
        trace: the facts about its axes.
        runs: no two of them equal, at least one.
        rows: by run, the smallest number of rows of its outputs.
        along: the result of `sequences_of`.
        outputs: the outputs that have to follow a split into steps.
    """
    found = None
    if len(runs) < ENOUGH_RUNS and along is not None:
        found = _by_sequences(runs, along)
    if found is None and len(runs) > 1:
        found = _by_runs(runs, rows)
    if found is None:
        found = _by_steps(graph, trace, runs[0], along, outputs)
    if found is not None:
        return found
    return Divided(
        list(runs),
        list(runs),
        "the calibration inputs themselves",
        "which calibration needs, and it cannot be divided: neither into sequences that the graph "
        "answers one by one, nor into steps with one entry each in every output",
    )


def _by_runs(runs: Sequence[NamedArrays], rows: Sequence[int]) -> Divided:
    """Holds out the last fifth of the runs, or up to half of them to reach `MIN_ROWS` rows."""
    most, cut = (len(runs) + 1) // 2, len(runs) * 4 // 5 or 1
    while cut > most and sum(rows[cut:]) < MIN_ROWS:
        cut -= 1
    share, counted = _share(len(runs) - cut, len(runs)), _counted(len(runs) - cut, "run")
    description = f"the last {share} of the uploaded inputs, used for nothing else ({counted})"
    return Divided(list(runs[:cut]), list(runs[cut:]), description)


def _share(count: int, whole: int) -> str:
    """The word for a share: of few runs the last "fifth" may be a third, which is called a part."""
    return "fifth" if 5 * count <= 1.5 * whole else "part"


def _by_sequences(runs: Sequence[NamedArrays], along: Along) -> Divided | None:
    """Holds out the last fifth of the distinct sequences of every run that has several."""
    seen: set[str] = set()
    observed, evaluated, counts = list[NamedArrays](), list[NamedArrays](), [0, 0]
    for run in runs:
        rows = []
        for index, each in enumerate(each_sequence(run, along)):
            name = digest(each)
            if name not in seen:
                seen.add(name)
                rows.append(index)
        if not rows:
            continue
        cut = len(rows) * 4 // 5 or 1
        observed.append(part(run, along, rows[:cut]))
        counts[0] += cut
        if rows[cut:]:
            evaluated.append(part(run, along, rows[cut:]))
            counts[1] += len(rows) - cut
    if not evaluated:
        return None
    description = (
        f"the last {_share(counts[1], sum(counts))} of the sequences of "
        f"{'the uploaded run' if len(runs) == 1 else 'every uploaded run'}, used for nothing else "
        f"({counts[1]} of {sum(counts)} sequences)"
    )
    return Divided(observed, evaluated, description)


def _by_steps(
    graph: GraphSession,
    trace: AxisFacts,
    run: NamedArrays,
    along: Along | None,
    outputs: OutputRoles,
) -> Divided | None:
    """Holds out the second half of the steps.

    Half, and not a fifth: the held-out part begins from the recorded first state again, and needs
    steps enough to get away from it.
    """
    named = _named_steps(graph, trace)
    candidates = [
        each for each in free_dimensions(graph, run) if along is None or dict(each) != dict(along)
    ]
    for steps in [
        each for each in candidates if each.keys() & named.keys() and _agrees(each, named)
    ] or candidates:
        length = length_of(run, steps)
        if length < MIN_STEPS:
            continue
        parts = [part(run, steps, range(length // 2)), part(run, steps, range(length // 2, length))]
        try:
            whole, *found = (graph.run(inputs_of(each)) for each in (run, *parts))
        except InputsRefused:
            continue
        sizes = (length, length // 2, length - length // 2)
        seen = [name for name in outputs.evaluated if name not in outputs.states]
        if seen and all(
            _has_steps([whole[name].shape, *(each[name].shape for each in found)], sizes)
            for name in seen
        ):
            halves = _target_halves(run, whole, found, outputs.labelling, length)
            if halves is None:
                continue
            parts = [each | half for each, half in zip(parts, halves, strict=True)]
            description = (
                "the second half of the steps of the one uploaded run, used for nothing else "
                f"({sizes[2]} of {length} steps)"
            )
            return Divided(parts[:1], parts[1:], description)
    return None


def _target_halves(
    run: NamedArrays,
    whole: Outputs,
    found: Sequence[Outputs],
    labelling: Labelling | None,
    length: int,
) -> list[NamedArrays] | None:
    """The targets of both halves of a run's steps; None where they cannot be divided."""
    name = "" if labelling is None else f"{MARK}{labelling.output}"
    if labelling is None or name not in run:
        return [{}, {}]
    moving = moving_dimension([each[labelling.output].shape for each in (whole, *found)])
    place = None if moving is None else labelling.place(run[name], whole[labelling.output], moving)
    if place is None or run[name].shape[place] != length:
        return None
    return [
        {name: np.take(run[name], range(*ends), axis=place)}
        for ends in ((length // 2,), (length // 2, length))
    ]


def _named_steps(graph: GraphSession, trace: AxisFacts) -> dict[str, int]:
    """By input, the dimension whose declared name is that of the steps of a recurrent layer."""
    names = set()
    for layer in trace.layers:
        layout = trace.layout(layer.recurrent.node.input[0])
        if layout is not None and isinstance(layout.dims[0], str):
            names.add(layout.dims[0])
    return {
        name: place
        for name, (_, shape) in graph.inputs.items()
        for place, size in enumerate(shape)
        if isinstance(size, str) and size in names
    }


def _agrees(along: Along, named: Mapping[str, int]) -> bool:
    return all(along[name] == place for name, place in named.items() if name in along)


def _has_steps(shapes: Sequence[tuple[int, ...]], sizes: tuple[int, int, int]) -> bool:
    """Whether exactly one dimension of an output follows the number of steps.

    A graph may make one step of several (strides, pooling), so sizes are compared within an eighth.

    Args:
        shapes: of the output for the whole run, its first and its second part.
        sizes: steps of the whole run, its first and its second part.
    """
    place = moving_dimension(shapes)
    if place is None:
        return False
    whole, first, second = (shape[place] for shape in shapes)
    return (
        min(first, second) > 0
        and abs(whole - first - second) <= max(2, whole // 8)
        and whole <= 2 * sizes[0]
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"

"""Recorded or random runs of a graph: read, checked, split in calibration and held-out data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from isslim.compress.errors import RunsUnusable
from isslim.compress.kinds.graphs.dividing import Divided, OutputRoles, divide
from isslim.compress.kinds.graphs.output_checks import redrawn_outputs, strange_values
from isslim.compress.kinds.graphs.random_inputs import random_runs
from isslim.compress.kinds.graphs.sequences import digest, sequences_of, without_known
from isslim.compress.kinds.graphs.values import MAX_LEFT_OUT, whole_runs
from isslim.compress.onnx.model.split_model import nodes
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays, read_numbered_runs

RANDOM_RUNS = 24
PROBED_RUNS = 2
"""Runs that are repeated to find random outputs."""


@dataclass(frozen=True)
class Recorded:
    """Calibration and held-out runs, and what is known of them.

    Attributes:
        calibration: runs that activations are collected on.
        held_out: runs that quality is evaluated on.
        calibration_origin: where the calibration runs come from, in words.
        held_out_origin: where the held-out runs come from, in words.
        labels: names of the calibration runs, for messages.
        random: whether the inputs are random, because none were sent.
        not_evaluated: why no run could be held out: then `held_out` holds the calibration runs.
        left_out: a line on every run that is not used, with the reason.
        redrawn: outputs that differ between two runs of the same inputs.
        not_finite: outputs that hold NaN or infinity on too many runs to leave these out, each with
            a line on where.
        sent: the runs before they were split; empty where they were not.
    """

    calibration: list[NamedArrays]
    held_out: list[NamedArrays]
    calibration_origin: str
    held_out_origin: str
    labels: Sequence[str]
    random: bool = False
    not_evaluated: str | None = None
    left_out: tuple[str, ...] = ()
    redrawn: tuple[str, ...] = ()
    not_finite: Mapping[str, str] = field(default_factory=dict)
    sent: Sequence[NamedArrays] = ()

    @property
    def all(self) -> list[NamedArrays]:
        """Every run once, whole."""
        return list(
            self.sent or {id(run): run for run in (*self.calibration, *self.held_out)}.values()
        )


@dataclass(frozen=True)
class _Runs:
    """Runs of one origin, and their names for messages."""

    runs: list[NamedArrays]
    labels: list[str]

    def only(self, index: Sequence[int]) -> _Runs:
        """Some of them."""
        return _Runs([self.runs[each] for each in index], [self.labels[each] for each in index])

    def __add__(self, other: _Runs) -> _Runs:
        return _Runs(self.runs + other.runs, self.labels + other.labels)


def recorded_runs(
    graph: GraphSession,
    trace: AxisFacts,
    calibration: Path | None,
    held_out: Path | None,
    seed: int,
    states: Collection[str] = (),
) -> Recorded:
    """Reads the runs of a job. Calibration runs are never held-out runs as well.

    Runs that hold NaN or the like (`values`), or on which the graph itself gives such values, are
    left out, and so are duplicates. Where only one file was sent, it is split (`dividing`).

    Args:
        graph: a session of the uploaded graph.
        trace: the facts about its axes.
        calibration: npz file; None: inputs are random where `held_out` is None too.
        held_out: npz file; None: a part of the others.
        seed: of random inputs.
        states: outputs that are states returned to the caller.

    Raises:
        RunsUnusable: when the runs do not fit the graph, too many of them are unusable, or no
            random inputs fit the graph.
    """
    if calibration is None and held_out is None:
        return _random_runs(graph, trace, seed)
    left_out: list[str] = []
    given = [
        (path, prefix)
        for path, prefix in ((calibration, ""), (held_out, "held-out "))
        if path is not None
    ]
    operators = _operators(trace)
    observed, *others = [
        _usable(_read(graph, path, prefix), operators, left_out) for path, prefix in given
    ]
    evaluated = _unknown(others[0], observed, left_out) if others else _Runs([], [])
    rows, not_finite = _answered(graph, observed + evaluated, left_out)
    observed, evaluated = (
        each.only([i for i, label in enumerate(each.labels) if label in rows])
        for each in (observed, evaluated)
    )
    if not observed.runs:
        observed, evaluated = evaluated, observed
    anew = redrawn_outputs(graph, observed.runs[:PROBED_RUNS], operators)
    compared = [name for name in graph.outputs if name not in anew and name not in not_finite]
    along = sequences_of(graph, observed.runs + evaluated.runs, compared) if compared else None
    kept, dropped = without_known(evaluated.runs, observed.runs, along)
    if dropped:
        left_out.append(f"{dropped} held-out sequences are among the calibration runs as well")
    if kept:
        found = Divided(observed.runs, kept, f"uploaded inputs ({_counted(kept)})")
    else:
        found = divide(
            graph,
            trace,
            observed.runs,
            [rows[each] for each in observed.labels],
            along,
            OutputRoles(compared, states),
        )
    names = {id(run): label for run, label in zip(observed.runs, observed.labels, strict=True)}
    return Recorded(
        found.observed,
        found.held_out,
        f"uploaded inputs ({_counted(found.observed)})",
        found.description,
        [
            names.get(id(run), f"part {number} of the uploaded runs")
            for number, run in enumerate(found.observed)
        ],
        not_evaluated=found.problem,
        left_out=tuple(left_out),
        redrawn=tuple(anew),
        not_finite=not_finite,
        sent=observed.runs + evaluated.runs,
    )


def _operators(trace: AxisFacts) -> set[str]:
    return {node.op_type for node in nodes(trace.parts.structure.graph)}


def _unknown(runs: _Runs, known: _Runs, left_out: list[str]) -> _Runs:
    """The held-out runs that are not among the calibration runs."""
    names = {digest(run): label for run, label in zip(known.runs, known.labels, strict=True)}
    fresh = []
    for index, (run, label) in enumerate(zip(runs.runs, runs.labels, strict=True)):
        twin = names.get(digest(run))
        if twin is None:
            fresh.append(index)
        else:
            left_out.append(f"{label} is {twin} of the calibration inputs")
    return runs.only(fresh)


def _answered(
    graph: GraphSession, given: _Runs, left_out: list[str]
) -> tuple[dict[str, int], dict[str, str]]:
    """Runs the graph, and leaves out runs on which an output is not finite.

    Returns:
        By label of a run that is left, the number of rows of its shortest output; and by output
        that is not finite on too many runs to leave these out, a line on where.

    Raises:
        RunsUnusable: when the graph cannot be run on one.
    """
    strange: dict[str, dict[str, str]] = {}  # per output and run
    rows: dict[str, int] = {}
    for run, label in zip(given.runs, given.labels, strict=True):
        try:
            outputs = graph.run(run)
        except InputsRefused as refused:
            raise RunsUnusable(
                f"the graph cannot be run on its inputs ({label}): {refused.issues[0]}",
                refused.issues,
            ) from refused
        rows[label] = min(
            (
                array.size // (array.shape or (1,))[-1] if array.size else 0
                for array in outputs.values()
            ),
            default=0,
        )
        for name, line in strange_values(outputs).items():
            strange.setdefault(name, {})[label] = line
    not_finite = {}
    for name, lines in strange.items():
        if len(lines) > MAX_LEFT_OUT * len(given.runs):
            label, line = next(iter(lines.items()))
            not_finite[name] = f"on {len(lines)} of {len(given.runs)} runs, such as {label}: {line}"
            continue
        left_out += [
            f"{label}, output {name} of the original: {line}"
            for label, line in lines.items()
            if label in rows
        ]
        rows = {label: count for label, count in rows.items() if label not in lines}
    return rows, not_finite


def _usable(file: _Runs, operators: Collection[str], left_out: list[str]) -> _Runs:
    """The distinct runs that hold no NaN or the like."""
    index, lines = whole_runs(file.runs, file.labels, operators)
    left_out += lines
    first: dict[str, int] = {}
    for each in index:
        name = digest(file.runs[each])
        if name in first:
            left_out.append(f"{file.labels[each]} is {file.labels[first[name]]} once more")
        else:
            first[name] = each
    return file.only(list(first.values()))


def _random_runs(graph: GraphSession, trace: AxisFacts, seed: int) -> Recorded:
    try:
        runs = random_runs(trace, graph, 2 * RANDOM_RUNS, seed)
    except InputsRefused as refused:
        raise RunsUnusable(
            "no inputs were sent, and the graph cannot be run on random inputs of its declared "
            "types and shapes: send `calibration`, an npz of recorded inputs",
            refused.issues,
        ) from refused
    left_out: list[str] = []
    given = _Runs(runs, [f"random run {number}" for number in range(len(runs))])
    answered, not_finite = _answered(graph, given, left_out)
    observed, evaluated = (
        [run for run, label in part if label in answered]
        for part in (
            list(zip(runs, given.labels, strict=True))[half]
            for half in (slice(RANDOM_RUNS), slice(RANDOM_RUNS, None))
        )
    )
    return Recorded(
        observed,
        evaluated,
        f"random inputs ({_counted(observed)})",
        f"random inputs ({_counted(evaluated)})",
        [f"random run {number}" for number in range(len(observed))],
        random=True,
        left_out=tuple(left_out),
        redrawn=tuple(redrawn_outputs(graph, observed[:PROBED_RUNS], _operators(trace))),
        not_finite=not_finite,
    )


def _read(graph: GraphSession, path: Path, prefix: str) -> _Runs:
    try:
        runs = read_numbered_runs(path.read_bytes())
        return _Runs(
            [graph.checked(run) for run in runs.values()],
            [f"{prefix}run {number}" for number in runs],
        )
    except InputsRefused as refused:
        raise RunsUnusable(
            f"the recorded inputs are not those of the graph: {refused.issues[0]}", refused.issues
        ) from refused


def _counted(runs: Sequence[NamedArrays]) -> str:
    return "1 run" if len(runs) == 1 else f"{len(runs)} runs"

"""Recorded or random runs of a graph: read, checked, split in calibration and held-out data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from isslim.compress.errors import RunsUnusable
from isslim.compress.kinds.graphs.dividing import Divided, OutputRoles, divide
from isslim.compress.kinds.graphs.output_checks import redrawn_outputs, strange_values
from isslim.compress.kinds.graphs.random_inputs import random_runs
from isslim.compress.kinds.graphs.sequences import (
    MARK,
    digest,
    inputs_of,
    sequences_of,
    with_targets,
    without_known,
)
from isslim.compress.kinds.graphs.targets.labelling import Labelling
from isslim.compress.kinds.graphs.targets.reading import (
    TargetCheck,
    as_rows,
    labelling_of,
    unused_targets,
)
from isslim.compress.kinds.graphs.values import (
    MAX_LEFT_OUT,
    refuse_many,
    whole_runs,
    without_content,
)
from isslim.compress.onnx.model.split_model import nodes
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import (
    GraphSession,
    NamedArrays,
    read_numbered_runs,
    split_targets,
)
from isslim.types.arrays import MAX_BYTES
from isslim.types.recipe import Recipe

UNPACKED_BYTES, UNPACKED_TIMES = 256 << 20, 8
"""Bytes that recorded arrays may take, and more for each of the file's: what hardly compresses is
no recording. A file that is not compressed takes as much as its arrays."""
RANDOM_RUNS = 24
PROBED_RUNS = 2
"""Runs that are repeated to find random outputs."""
MOST_LINES = 100
"""On runs that are left out: there may be a hundred thousand of them."""


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
        left_out: lines on the runs that are not used, with the reasons; at most `MOST_LINES`, and
            one on how many more there are.
        redrawn: outputs that differ between two runs of the same inputs.
        not_finite: outputs that hold NaN or infinity on too many runs to leave these out, each with
            a line on where.
        sent: the runs before they were split; empty where they were not.
        labelling: what targets mean; None: the metric uses none.
        targets: of each held-out run, the target of the labelled output; None where it has none.
        notes: reservations about the recorded arrays.
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
    labelling: Labelling | None = None
    targets: Sequence[NDArray[Any] | None] = ()
    notes: tuple[str, ...] = ()

    @property
    def all(self) -> list[NamedArrays]:
        """Every run once, whole."""
        return list(
            self.sent or {id(run): run for run in (*self.calibration, *self.held_out)}.values()
        )


@dataclass(frozen=True)
class _Runs:
    """Runs of one origin, with targets (`sequences.MARK`), and their names for messages."""

    runs: list[NamedArrays]
    labels: list[str]

    @property
    def inputs(self) -> list[NamedArrays]:
        """The runs without targets."""
        return [inputs_of(run) for run in self.runs]

    def labelled(self, labelling: Labelling | None) -> _Runs:
        """The same with no targets but those that are used."""
        return _Runs(
            [
                {
                    name: as_rows(labelling, array) if name.startswith(MARK) else array
                    for name, array in run.items()
                    if not name.startswith(MARK) or name == _key(labelling)
                }
                for run in self.runs
            ],
            self.labels,
        )

    def only(self, index: Sequence[int]) -> _Runs:
        """Some of them."""
        return _Runs([self.runs[each] for each in index], [self.labels[each] for each in index])

    def __add__(self, other: _Runs) -> _Runs:
        return _Runs(self.runs + other.runs, self.labels + other.labels)


def recorded_runs(
    graph: GraphSession,
    network: GraphNetwork,
    calibration: Path | None,
    held_out: Path | None,
    recipe: Recipe,
) -> Recorded:
    """Reads the runs of a job. Calibration runs are never held-out runs as well.

    Runs that hold NaN or the like (`values`), or on which the graph itself gives such values, are
    left out, and so are duplicates, unless they are windows of a stream. Where only one file was
    sent, it is split (`dividing`), and targets go with their inputs.

    Args:
        graph: a session of the uploaded graph.
        network: the original.
        calibration: npz file; None: inputs are random where `held_out` is None too.
        held_out: npz file; None: a part of the others.
        recipe: its metric may need targets.

    Raises:
        RunsUnusable: when the runs do not fit the graph, too many of them are unusable, or no
            random inputs fit the graph.
        CompressError: when targets are missing, or it is open which ones count.
    """
    trace, states = network.trace, network.state_outputs()
    paths = [(calibration, ""), (held_out, "held-out ")]
    given = [_read(graph, path, prefix) for path, prefix in paths if path is not None]
    named = sorted(
        {
            name.removeprefix(MARK)
            for file in given
            for run in file.runs
            for name in run
            if name.startswith(MARK)
        }
    )
    labelling = labelling_of(network, graph, recipe, named)
    if not given:
        return _random_runs(graph, trace, recipe.seed)
    left_out: list[str] = []
    operators, stream = _operators(trace), bool(recipe.stream)
    observed, *others = [
        _usable(file.labelled(labelling), operators, left_out, stream=stream) for file in given
    ]
    evaluated = _unknown(others[0], observed, left_out, stream=stream) if others else _Runs([], [])
    check = None if labelling is None else TargetCheck(labelling)
    rows, not_finite = _answered(graph, observed + evaluated, left_out, check)
    labelling = None if check is None else check.checked()
    observed, evaluated = (
        each.only([i for i, label in enumerate(each.labels) if label in rows])
        for each in (observed, evaluated)
    )
    if not observed.runs:
        observed, evaluated = evaluated, observed
    anew = redrawn_outputs(graph, observed.inputs[:PROBED_RUNS], operators)
    compared = [name for name in graph.outputs if name not in anew and name not in not_finite]
    both = observed + evaluated
    along = sequences_of(graph, both.inputs, compared) if compared else None
    if labelling is not None:
        along = with_targets(graph, both.runs, along, labelling)
    kept, dropped = without_known(evaluated.runs, observed.runs, None if stream else along)
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
            OutputRoles(compared, states, labelling),
        )
    names = {id(run): label for run, label in zip(observed.runs, observed.labels, strict=True)}
    return Recorded(
        [inputs_of(run) for run in found.observed],
        [inputs_of(run) for run in found.held_out],
        f"uploaded inputs ({_counted(found.observed)})",
        found.description,
        [
            names.get(id(run), f"part {number} of the uploaded runs")
            for number, run in enumerate(found.observed)
        ],
        not_evaluated=found.problem and f"{_only(given)}, {found.problem}",
        left_out=_most(left_out),
        redrawn=tuple(anew),
        not_finite=not_finite,
        sent=both.inputs,
        labelling=labelling,
        targets=[run.get(_key(labelling)) for run in found.held_out],
        notes=(*unused_targets(named, recipe, labelling), *without_content(both.inputs)),
    )


def _key(labelling: Labelling | None) -> str:
    return "" if labelling is None else f"{MARK}{labelling.output}"


def _operators(trace: AxisFacts) -> set[str]:
    return {node.op_type for node in nodes(trace.parts.structure.graph)}


def _unknown(runs: _Runs, known: _Runs, left_out: list[str], *, stream: bool) -> _Runs:
    """The held-out runs that are not among the calibration runs; windows of a stream may be."""
    names = {digest(run): label for run, label in zip(known.runs, known.labels, strict=True)}
    fresh, twins = list[int](), list[str]()
    for index, (run, label) in enumerate(zip(runs.runs, runs.labels, strict=True)):
        twin = names.get(digest(run))
        if twin is None:
            fresh.append(index)
        else:
            twins.append(f"{label} is {twin} of the calibration inputs")
    if stream and twins:
        refuse_many(len(twins), len(runs.labels), "are calibration runs as well", twins)
        return runs
    left_out += twins
    return runs.only(fresh)


def _answered(
    graph: GraphSession, given: _Runs, left_out: list[str], check: TargetCheck | None = None
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
            outputs = graph.run(inputs_of(run))
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
        for name in [each for each in run if each.startswith(MARK)]:
            if check is not None:
                check.see(label, run[name], outputs[name.removeprefix(MARK)])
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


def _usable(file: _Runs, operators: Collection[str], left_out: list[str], *, stream: bool) -> _Runs:
    """The runs that hold no NaN or the like: distinct ones, or the windows of a stream."""
    index, lines = whole_runs(file.inputs, file.labels, operators)
    left_out += lines
    if stream:
        return file.only(index)
    equal: dict[str, list[int]] = {}
    for each in index:
        equal.setdefault(digest(file.runs[each]), []).append(each)
    for first, *again in equal.values():
        if again:
            others = f" and {len(again) - 1:,} more are" if again[1:] else " is"
            left_out.append(f"{file.labels[again[0]]}{others} {file.labels[first]} once more")
    return file.only([runs[0] for runs in equal.values()])


def _most(lines: Sequence[str]) -> tuple[str, ...]:
    more = len(lines) - MOST_LINES
    return (*lines[:MOST_LINES], *([f"{more:,} more lines like these"] if more > 0 else []))


def _only(given: Sequence[_Runs]) -> str:
    """Begins the sentence on the one run that is used, of those that were sent."""
    sent = sum(len(file.runs) for file in given)
    if sent == 1:
        return "one recorded run was sent"
    return f"of {sent:,} recorded runs that were sent, one is left"


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
        left_out=_most(left_out),
        redrawn=tuple(redrawn_outputs(graph, observed[:PROBED_RUNS], _operators(trace))),
        not_finite=not_finite,
    )


def _read(graph: GraphSession, path: Path, prefix: str) -> _Runs:
    issues, found = list[str](), list[NamedArrays]()
    try:
        content = path.read_bytes()
        largest = min(MAX_BYTES, UNPACKED_BYTES + UNPACKED_TIMES * len(content))
        runs = read_numbered_runs(content, largest)
    except InputsRefused as refused:
        runs, issues = {}, refused.issues
    for number, run in runs.items():
        inputs, targets = split_targets(run, graph.inputs)
        try:
            checked = graph.checked(inputs)
        except InputsRefused as refused:
            which = f"{prefix}run {number}: " if len(runs) > 1 else ""
            issues += [f"{which}{issue}" for issue in refused.issues]
            continue
        found.append(checked | {f"{MARK}{name}": each for name, each in targets.items()})
    if issues:
        raise RunsUnusable(
            f"the recorded {prefix}inputs are not those of the graph: {issues[0]}", issues
        )
    return _Runs(found, [f"{prefix}run {number}" for number in runs])


def _counted(runs: Sequence[NamedArrays]) -> str:
    return "1 run" if len(runs) == 1 else f"{len(runs)} runs"

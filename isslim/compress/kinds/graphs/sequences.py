"""Independent sequences of recorded runs, and targets that go with them.

A graph declares which dimensions of its inputs are free, but not what they mean, so the original is
run to find out: a dimension holds independent sequences when the graph gives the same rows for a
part of them as for all.

Legend: N sequences.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from isslim.compress.kinds.graphs.comparing import Outputs, difference
from isslim.compress.kinds.graphs.targets.labelling import Labelling
from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays

TOLERANCE = 1e-4
"""Within which rows of a part equal those of the whole: float32 sums in different orders."""
MARK = "\0target:"
"""Before an output in a run that also holds targets: no input of a graph has such a name."""
MAX_TRIED, TRIED_SEQUENCES = 12, 6
"""Sets of dimensions that are tried, and the sequences that they are tried on."""

Along = Mapping[str, int]
"""By input, the position of one dimension that inputs have in common, such as the batch."""


def digest(run: NamedArrays) -> str:
    """A hash of the names, dtypes, shapes and values of a run's inputs."""
    found = hashlib.sha256()
    for name in sorted(run):
        if name.startswith(MARK):
            continue
        array = np.ascontiguousarray(run[name])
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(repr(array.tolist()).encode() if array.dtype.kind in "OU" else array.tobytes())
    return found.hexdigest()


def sequences_of(
    graph: GraphSession, runs: Sequence[NamedArrays], outputs: Sequence[str]
) -> Along | None:
    """The dimension of every input along which independent sequences lie.

    Args:
        graph: the original.
        runs: recorded inputs.
        outputs: names of the outputs that are compared, at least one. None of them may be random:
            its values would differ for every part.

    Returns:
        The first set of dimensions that passes; None where none does.
    """
    longest: dict[tuple[tuple[str, int], ...], tuple[Along, NamedArrays]] = {}
    for run in runs:
        for along in free_dimensions(graph, run):
            name = tuple(sorted(along.items()))
            if name not in longest or length_of(run, along) > length_of(longest[name][1], along):
                longest[name] = along, run
    for along, run in list(longest.values())[:MAX_TRIED]:
        if all(length_of(each, along) for each in runs) and _independent(
            graph, run, along, outputs
        ):
            return along
    return None


def with_targets(
    graph: GraphSession, runs: Sequence[NamedArrays], along: Along | None, labelling: Labelling
) -> Along | None:
    """The dimension of sequences, of targets as well.

    Args:
        graph: the original.
        runs: recorded inputs, with targets.
        along: of their inputs.
        labelling: of the targets.

    Returns:
        None where it cannot be told: then targets are divided with whole runs only.
    """
    name = f"{MARK}{labelling.output}"
    both = [run for run in runs if name in run]
    run = max(both, key=lambda each: length_of(each, along or {}), default=None)
    if along is None or run is None or length_of(run, along) < 2:
        return along
    whole, one = (
        graph.run(inputs_of(each), [labelling.output])[labelling.output]
        for each in (run, part(run, along, [0]))
    )
    moving = moving_dimension([whole.shape, one.shape])
    place = None if moving is None else labelling.place(run[name], whole, moving)
    return None if place is None else {**along, name: place}


def without_known(
    runs: Sequence[NamedArrays], known: Sequence[NamedArrays], along: Along | None
) -> tuple[list[NamedArrays], int]:
    """Drops the sequences that other runs hold as well.

    Args:
        runs: the runs to filter.
        known: the others.
        along: the result of `sequences_of`; None: nothing is dropped.

    Returns:
        The runs that have sequences left, and the number of sequences dropped.
    """
    if along is None:
        return list(runs), 0
    seen = {digest(each) for run in known for each in each_sequence(run, along)}
    kept, dropped = [], 0
    for run in runs:
        rows = [
            index
            for index, each in enumerate(each_sequence(run, along))
            if digest(each) not in seen
        ]
        dropped += length_of(run, along) - len(rows)
        if rows:
            kept.append(run if len(rows) == length_of(run, along) else part(run, along, rows))
    return kept, dropped


def part(run: NamedArrays, along: Along, index: Sequence[int]) -> NamedArrays:
    """Selects sequences or steps of a run.

    Args:
        run: the whole.
        along: the dimension of each input that is indexed; other inputs stay whole.
        index: positions along it.
    """
    return {
        name: np.ascontiguousarray(np.take(array, index, axis=along[name]))
        if name in along
        else array
        for name, array in run.items()
    }


def free_dimensions(graph: GraphSession, run: NamedArrays, least: int = 2) -> Iterator[Along]:
    """Sets of free dimensions that may be one and the same.

    In order: of one declared name; of one position and size; of one size.

    Args:
        graph: the original.
        run: recorded inputs.
        least: size in that run, at least.
    """
    places = [
        (name, place, size)
        for name, (_, shape) in graph.inputs.items()
        for place, size in enumerate(shape)
        if not isinstance(size, int) and run[name].ndim == len(shape)
    ]
    groups: list[dict[object, list[tuple[str, int]]]] = [{}, {}, {}]
    for name, place, token in places:
        length = run[name].shape[place]
        keys = (token or (name, place), (place, length), length)
        for group, key in zip(groups, keys, strict=True):
            group.setdefault(key, []).append((name, place))
    seen: list[dict[str, int]] = []
    for found in (each for group in groups for each in group.values()):
        along = dict(found)
        if len(along) == len(found) and along not in seen and length_of(run, along) >= least:
            seen.append(along)
            yield along


def length_of(run: NamedArrays, along: Along) -> int:
    """The size of a set of dimensions; 0 where their sizes differ.

    Args:
        run: recorded inputs.
        along: the dimensions.
    """
    found = {
        run[name].shape[place]
        for name, place in along.items()
        if name in run and place < run[name].ndim
    }
    return found.pop() if len(found) == 1 else 0


def each_sequence(run: NamedArrays, along: Along) -> Iterator[NamedArrays]:
    """Every sequence of a run by itself, with the inputs that all share.

    Args:
        run: recorded inputs.
        along: the dimension of sequences.
    """
    for index in range(length_of(run, along)):
        yield part(run, along, [index])


def inputs_of(run: NamedArrays) -> NamedArrays:
    """The inputs of a run that holds targets as well."""
    return {name: array for name, array in run.items() if not name.startswith(MARK)}


def moving_dimension(shapes: Sequence[tuple[int, ...]]) -> int | None:
    """The only dimension in which shapes differ; None where there is not exactly one."""
    if len({len(shape) for shape in shapes}) != 1:
        return None
    moving = [
        place for place in range(len(shapes[0])) if len({shape[place] for shape in shapes}) > 1
    ]
    return moving[0] if len(moving) == 1 else None


def _independent(
    graph: GraphSession, run: NamedArrays, along: Along, outputs: Sequence[str]
) -> bool:
    """Whether two parts, run one after the other, give the same rows as both together."""
    count = min(length_of(run, along), TRIED_SEQUENCES)
    cut = max(1, count // 3)
    try:
        whole, *parts = (
            graph.run(part(run, along, index))
            for index in (range(count), range(cut), range(cut, count))
        )
    except InputsRefused:
        return False
    return all(_rows_equal(whole, parts, name, (count, cut, count - cut)) for name in outputs)


def _rows_equal(
    whole: Outputs, parts: Sequence[Outputs], name: str, sizes: tuple[int, int, int]
) -> bool:
    shapes = [each[name].shape for each in (whole, *parts)]
    for place in range(whole[name].ndim):
        others = {shape[:place] + shape[place + 1 :] for shape in shapes if len(shape) > place}
        if (
            len(others) == 1
            and tuple(shape[place] for shape in shapes if len(shape) > place) == sizes
        ):
            joined = np.concatenate([each[name] for each in parts], axis=place)
            if difference([{name: joined}], [{name: whole[name]}]) <= TOLERANCE:
                return True
    return False

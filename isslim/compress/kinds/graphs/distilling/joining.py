"""Which dimensions join runs into one: several recordings are then one batch.

A graph does not say which of its dimensions hold independent sequences, so the original is run to
find out: joined runs must give what each of them gives alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from isslim.compress.kinds.graphs.comparing import Outputs, difference
from isslim.compress.kinds.graphs.sequences import (
    TOLERANCE,
    Along,
    each_sequence,
    free_dimensions,
)
from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays

TRIED = 4
"""Pairs of runs that a set of dimensions is tried on."""


@dataclass(frozen=True)
class Joint:
    """How runs are joined.

    Attributes:
        along: the dimension of each input; others are the same in all runs that are joined.
    """

    along: Along

    def parts(self, run: NamedArrays) -> list[NamedArrays]:
        """The sequences of a run, each as a run of its own."""
        return list(each_sequence(run, self.along))

    def fit(self, one: NamedArrays, other: NamedArrays) -> bool:
        """Whether two runs can be joined.

        Args:
            one: a run.
            other: another one.
        """
        for name, array in one.items():
            if name in self.along:
                shapes = [list(each.shape) for each in (array, other[name])]
                for shape in shapes:
                    shape[self.along[name]] = 1
                if shapes[0] != shapes[1]:
                    return False
            elif not np.array_equal(array, other[name]):
                return False
        return True

    def joined(self, runs: Sequence[NamedArrays]) -> NamedArrays:
        """One run of several that fit."""
        return {
            name: np.concatenate([run[name] for run in runs], axis=self.along[name])
            if name in self.along
            else array
            for name, array in runs[0].items()
        }


def joint_of(
    graph: GraphSession, runs: Sequence[NamedArrays], outputs: Sequence[str]
) -> Joint | None:
    """How the runs of a graph are joined.

    Args:
        graph: the original.
        runs: recorded inputs, some of which have the same shapes.
        outputs: names of those that count, and of states that are carried; none of them random.

    Returns:
        None where they cannot be, or no two of them are alike.
    """
    if not runs or not outputs:
        return None
    for along in free_dimensions(graph, runs[0], least=1):
        joint = Joint(along)
        pairs = list(_pairs(joint, runs))[:TRIED]
        if pairs and all(_independent(graph, joint, pair, outputs) for pair in pairs):
            return joint
    return None


def _pairs(joint: Joint, runs: Sequence[NamedArrays]) -> Iterator[tuple[NamedArrays, NamedArrays]]:
    """Runs that can be joined, of one sequence each where there are several."""
    singles = [each for run in runs for each in joint.parts(run)[:2]]
    for place, one in enumerate(singles):
        other = next((each for each in singles[place + 1 :] if joint.fit(one, each)), None)
        if other is not None:
            yield one, other


def _independent(
    graph: GraphSession,
    joint: Joint,
    pair: tuple[NamedArrays, NamedArrays],
    outputs: Sequence[str],
) -> bool:
    try:
        whole, *parts = (graph.run(each, outputs) for each in (joint.joined(pair), *pair))
    except InputsRefused:
        return False
    return all(_is_joined(whole, parts, name) for name in outputs)


def _is_joined(whole: Mapping[str, np.ndarray], parts: Sequence[Outputs], name: str) -> bool:
    """Whether an output of joined runs is those of its parts side by side."""
    for place in range(whole[name].ndim):
        try:
            joined = np.concatenate([each[name] for each in parts], axis=place)
        except ValueError:  # they differ in another dimension
            continue
        if difference([{name: joined}], [{name: whole[name]}]) <= TOLERANCE:
            return True
    return False

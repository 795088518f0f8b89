"""What a cut graph learns from: recorded passages, varied, with the original's answers.

Some of the recordings are held back: networks are compared on them, and none is trained on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from isslim.compress.kinds.graphs.comparing import Outputs
from isslim.compress.kinds.graphs.distilling.input_kinds import InputKind
from isslim.compress.kinds.graphs.distilling.joining import Joint
from isslim.compress.kinds.graphs.distilling.passages import Passage
from isslim.compress.kinds.graphs.distilling.varying import varied
from isslim.compress.kinds.graphs.output_checks import strange_values
from isslim.compress.kinds.graphs.streams import Stream, run_stream
from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import GraphSession

HELD_BACK = 0.2
"""Share of the passages that is held back, at the end of the recordings."""
FEWEST, MOST, NUMBERS = 8, 128, 1 << 17
"""Passages that are joined: as many as have inputs of so many numbers in one run, at least and at
most so many. A few runs of one step each say little of which way to go."""
MOST_NUMBERS = 1 << 24
"""Of all inputs of joined passages, at most."""
TRIES = 3
"""Of a variation, before the passage is taken as it was recorded."""


@dataclass(frozen=True)
class Divided:
    """Passages to learn from, and those that are held back.

    Attributes:
        training: at least one.
        held_back: at least one.
    """

    training: list[Passage]
    held_back: list[Passage]


def divide(passages: Sequence[Passage]) -> Divided | None:
    """Holds the last passages back, or the end of the only one; None where that has one run.

    Args:
        passages: in the order of the recordings: neighbours may be of one speaker.
    """
    if len(passages) > 1:
        cut = len(passages) - max(1, round(HELD_BACK * len(passages)))
        return Divided(list(passages[:cut]), list(passages[cut:]))
    runs = passages[0] if passages else []
    if len(runs) < 2:
        return None
    cut = len(runs) - max(1, round(HELD_BACK * len(runs)))
    return Divided([runs[:cut]], [runs[cut:]])


@dataclass(frozen=True)
class Examples:
    """Draws passages to learn from.

    Attributes:
        graph: the original.
        passages: to learn from.
        kinds: of the inputs; nothing is varied where there are none.
        carried: by output that holds a state, the input that it is passed to in the next run.
        outputs: names of the outputs that count.
        joint: how runs are joined; None: they are not.
    """

    graph: GraphSession
    passages: Sequence[Passage]
    kinds: Mapping[str, InputKind]
    carried: Mapping[str, str]
    outputs: Sequence[str]
    joint: Joint | None

    def draw(self, generator: np.random.Generator) -> Stream:
        """Passages side by side, one where they cannot be joined, with the original's answers.

        A variation on which the original cannot be run, or answers with what is no number, is
        dropped.

        Args:
            generator: of all choices.
        """
        first = self.passages[int(generator.integers(len(self.passages)))]
        group = [first]
        if self.joint is not None:
            alike = [each for each in self.passages if self._fit(first, each)]
            numbers = max(1, sum(array.size for array in first[0].values()))
            count = max(FEWEST, min(MOST, NUMBERS // numbers))
            count = max(1, min(count, MOST_NUMBERS // (numbers * len(first))))
            group += [alike[int(at)] for at in generator.integers(len(alike), size=count - 1)]
        for _ in range(TRIES if self.kinds else 0):
            drawn = self._joined([self._varied(passage, generator) for passage in group])
            try:
                found = self.answered(drawn)
            except InputsRefused:
                continue
            if _are_sound(found.wanted):
                return found
        return self.answered(self._joined(group))

    def answered(self, passage: Passage) -> Stream:
        """A passage with the original's answers, each run begun with its own states."""
        names = [*self.outputs, *(name for name in self.carried if name not in self.outputs)]
        wanted = run_stream(self.graph, passage, self.carried, names)
        return Stream(list(passage), self.carried, wanted)

    def _fit(self, one: Passage, other: Passage) -> bool:
        joint = self.joint
        return joint is not None and len(one) == len(other) and all(map(joint.fit, one, other))

    def _joined(self, group: Sequence[Passage]) -> Passage:
        if self.joint is None or len(group) == 1:
            return list(group[0])
        return [self.joint.joined(runs) for runs in zip(*group, strict=True)]

    def _varied(self, passage: Passage, generator: np.random.Generator) -> Passage:
        other = self.passages[int(generator.integers(len(self.passages)))]
        return varied(passage, other[: len(passage)], self.kinds, generator)


def _are_sound(answers: Sequence[Outputs]) -> bool:
    """Whether all are numbers; minus infinity is the logarithm of zero."""
    return not any(strange_values(outputs) for outputs in answers)

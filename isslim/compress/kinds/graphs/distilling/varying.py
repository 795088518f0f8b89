"""Variations of recorded inputs: what the original would be asked too, had more been recorded.

The original answers any input, so that new ones cost only its runs. A variation stays near the
recordings: nothing is louder, longer or of other ids than what was recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.compress.kinds.graphs.distilling.input_kinds import InputKind
from isslim.runtime.graphs.recorded_inputs import NamedArrays

LEFT_ALONE = 0.7
"""Share of the runs that are learnt as they were recorded: what is evaluated is like these."""
GAIN = (0.3, 2.0)
"""Factors of a signal's level, drawn on a logarithmic scale."""
OFFSET = 0.3
"""Deviation of the offset of a signal that does not lie around zero, in deviations of its own."""
NOISE = (0.003, 0.1)
"""Levels of noise, in deviations of the signal, drawn on a logarithmic scale."""
HIDDEN = 0.2
"""Share of the steps of a stretch that is replaced by the mean, at most."""
SUBSTITUTED = 0.1
"""Share of the ids that are replaced by others of the recordings."""
HALF = 0.5
"""Probability of each single change."""

Array = NDArray[Any]


def varied(
    runs: Sequence[NamedArrays],
    others: Sequence[NamedArrays],
    kinds: Mapping[str, InputKind],
    generator: np.random.Generator,
) -> list[NamedArrays]:
    """Runs that follow each other, changed alike.

    Args:
        runs: recorded inputs; they are not changed.
        others: as many of another recording, to mix in where shapes are the same; or none.
        kinds: of the inputs; what is fixed stays as it is.
        generator: of all choices.

    Returns:
        Runs of the same shapes and types.
    """
    if generator.random() < LEFT_ALONE:
        return list(runs)
    found = [dict(run) for run in runs]
    alone = len(runs) == 1 and "fixed" not in {kind.family for kind in kinds.values()}
    # The same for all inputs and runs: those of one moment belong together.
    shift, hidden = generator.random(), generator.random(2)
    rolls, hides = (alone and generator.random() < HALF for _ in range(2))
    for name, kind in kinds.items():
        own = [run[name] for run in runs]
        if kind.family == "ids":
            own = [_substituted(each, kind, generator) for each in own]
        elif kind.family == "signal":
            own = _louder(
                _mixed(own, [run[name] for run in others], kind, generator), kind, generator
            )
            own = _noisy(own, kind, generator)
            if rolls:
                own = [_rolled(each, kind, shift) for each in own]
            if hides:
                own = [_hidden(each, kind, hidden) for each in own]
        for run, before, array in zip(found, runs, own, strict=True):
            run[name] = _within(array, kind, before[name])
    return found


def _within(array: Array, kind: InputKind, before: Array) -> Array:
    """An array within what was recorded, and of its type."""
    if kind.family == "signal":
        array = np.clip(array, kind.lowest, kind.highest)
    return np.ascontiguousarray(array.astype(before.dtype))


def _logarithmic(low: float, high: float, generator: np.random.Generator) -> float:
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def _mixed(
    own: list[Array], others: list[Array], kind: InputKind, generator: np.random.Generator
) -> list[Array]:
    """With another recording: added, or where that would be an offset, between both."""
    fits = len(own) == len(others) and all(
        one.shape == other.shape for one, other in zip(own, others, strict=True)
    )
    if not fits or generator.random() >= HALF:
        return own
    share = float(generator.uniform(0.1, 0.5))
    kept = 1.0 if kind.centred else 1.0 - share
    return [kept * one + share * other for one, other in zip(own, others, strict=True)]


def _louder(own: list[Array], kind: InputKind, generator: np.random.Generator) -> list[Array]:
    """At another level."""
    if generator.random() >= HALF:
        return own
    if kind.centred:
        factor = _logarithmic(*GAIN, generator)
        return [factor * each for each in own]
    offset = float(generator.normal(0, OFFSET)) * kind.deviation
    return [each + offset for each in own]


def _noisy(own: list[Array], kind: InputKind, generator: np.random.Generator) -> list[Array]:
    if generator.random() >= HALF:
        return own
    level = _logarithmic(*NOISE, generator) * kind.deviation
    return [each + generator.normal(0, level, each.shape) for each in own]


def _rolled(array: Array, kind: InputKind, shift: float) -> Array:
    """Begun at another step, with what was before it at the end."""
    if kind.steps is None or kind.steps >= array.ndim:
        return array
    return np.roll(array, int(shift * array.shape[kind.steps]), kind.steps)


def _hidden(array: Array, kind: InputKind, hidden: Array) -> Array:
    """With a stretch of steps at the mean."""
    if kind.steps is None or kind.steps >= array.ndim:
        return array
    steps = array.shape[kind.steps]
    length = int(HIDDEN * hidden[0] * steps)
    start = int(hidden[1] * (steps - length))
    found = array.copy()
    stretch = np.moveaxis(found, kind.steps, 0)[start : start + length]
    stretch[...] = array.mean()
    return found


def _substituted(array: Array, kind: InputKind, generator: np.random.Generator) -> Array:
    """With some ids replaced."""
    others = generator.choice(np.array(kind.known, array.dtype), array.shape)
    return np.where(generator.random(array.shape) < SUBSTITUTED, others, array)

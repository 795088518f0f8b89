"""Scores of tasks: error rates, F1, AUC, SI-SDR; and the decoding of what they are of.

Legend: T steps, C classes.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.compress.kinds.graphs.targets.decoding import edits
from isslim.compress.kinds.graphs.targets.scoring import placements

Floats = NDArray[np.floating[Any]]


def error_rate(pairs: Iterable[tuple[Sequence[int], Sequence[int]]]) -> float:
    """Insertions, deletions and substitutions for 100 symbols of the truth.

    Args:
        pairs: found and true symbols.
    """
    wrong = symbols = 0
    for found, wanted in pairs:
        wrong += edits(np.asarray(found, np.int64), np.asarray(wanted, np.int64))
        symbols += len(wanted)
    return 100 * wrong / symbols


def f1(pairs: Iterable[tuple[Collection[Hashable], Collection[Hashable]]]) -> float:
    """The harmonic mean of precision and recall, in points of 100, over all pairs together.

    Args:
        pairs: what was found, and what is true.
    """
    right = total = 0
    for found, wanted in pairs:
        right += len(set(found) & set(wanted))
        total += len(set(found)) + len(set(wanted))
    return 100 * 2 * right / max(total, 1)


def auc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """The area under the receiver operating characteristic, in points of 100.

    Args:
        scores: of every case.
        positive: whether it is one of what is looked for.
    """
    return 100 * float(placements(np.asarray(scores, np.float64), positive)[positive].mean())


def si_sdr(found: Floats, clean: Floats) -> float:
    """The scale-invariant signal-to-distortion ratio, dB.

    J. Le Roux et al., SDR - half-baked or well done?, ICASSP 2019.

    Args:
        found: samples.
        clean: as many, of the reference.
    """
    found, clean = found - found.mean(), clean - clean.mean()
    target = (found @ clean) / (clean @ clean) * clean
    rest = found - target
    return 10 * float(np.log10((target @ target) / (rest @ rest)))


def spans(starts: NDArray[np.bool_]) -> set[tuple[int, int]]:
    """The pieces of a sequence: first step, and the one after the last.

    Args:
        starts: (T,) whether a piece begins; the first step always does.
    """
    begins = [0, *(np.flatnonzero(starts[1:]) + 1).tolist()]
    return set(zip(begins, [*begins[1:], len(starts)], strict=True))


def best_path(
    scores: Floats, transitions: Floats, first: Floats | None = None, last: Floats | None = None
) -> NDArray[np.int64]:
    """The likeliest classes of a conditional random field (Viterbi), (T,).

    Args:
        scores: (T, C).
        transitions: (C, C), from a class to the next.
        first: (C,) added at the first step.
        last: (C,) added at the last step.
    """
    best = scores[0] + (0 if first is None else first)
    origins = []
    for step in scores[1:]:
        through = best[:, None] + transitions
        origins.append(through.argmax(0))
        best = through.max(0) + step
    path = [int((best + (0 if last is None else last)).argmax())]
    for origin in reversed(origins):
        path.append(int(origin[path[-1]]))
    return np.array(path[::-1], np.int64)
